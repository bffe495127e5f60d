//! Whether a policy is printed, and what is said about it.

use predict::{Chain, Pins};

use super::Prediction;

/// Why no policy is printed; empty if one is.
pub(super) fn refusal(predicted: &Prediction) -> Vec<String> {
    let Prediction { subject, firmware, pins, .. } = predicted;
    let fold = firmware.name();
    if !firmware.has_cc() {
        return vec![format!(
            "no policy: --fold {fold} predicts PCRs, and a key policy names registers of a TD: give --registers-only, or --fold td"
        )];
    }
    if pins.all() {
        return Vec::new();
    }
    let mut lines = vec![format!(
        "no policy for {} with --fold {fold}: expected kernel, initrd and command line each to be pinned by a register that the policy names",
        subject.chain.name()
    )];
    for (part, why) in unpinned(pins) {
        lines.push(format!("{part} is not pinned: {why}"));
    }
    lines.push(format!("instead: {}", advice(predicted)));
    lines.push("--registers-only prints registers and events without a policy".to_owned());
    lines
}

/// Each part that is not pinned, and why.
pub(super) fn unpinned(pins: &Pins) -> Vec<(&'static str, String)> {
    let why = |(part, pinned): &(predict::Part, Result<Vec<u32>, predict::Attack>)| {
        pinned.as_ref().err().map(|attack| (part.name(), attack.to_string()))
    };
    pins.parts.iter().filter_map(why).collect()
}

fn advice(predicted: &Prediction) -> &'static str {
    match predicted.subject.chain {
        Chain::Grub => {
            "boot a unified kernel image. Or, where the vaults compare RTMR0, turn Secure Boot on and give --rtmr0 of a verified quote and \
             --nodes-match rtmr0"
        }
        Chain::Direct if predicted.firmware.has_tpm() => {
            "boot without a TPM under a firmware that has no driver for one (--fold td), or a unified kernel image (--kernel UKI, or an image \
             with one)"
        }
        Chain::Direct => {
            "sign the kernel by a key in db and give --kernel-signature verified, or boot a unified kernel image that is signed so"
        }
        Chain::DirectUki => {
            "sign the unified kernel image by a key in db and turn Secure Boot on, or boot without a TPM under a firmware that has no driver \
             for one (--fold td)"
        }
        Chain::Uki => "give the registers that the policy names",
    }
}

/// The name of a condition on RTMR0, which cannot be seen in its value.
pub(super) const RTMR0_CONDITION: &str = "rtmr0-with-secure-boot";

/// The condition on RTMR0, where the policy pins the boot only with it.
pub(super) fn rtmr0_condition(predicted: &Prediction) -> Option<&'static str> {
    let needs = predicted.subject.chain == Chain::Grub && predicted.rtmr0.is_some() && predicted.pins.all();
    needs.then_some(
        "RTMR0 must be that of a boot with Secure Boot on, and with a db in which you trust every key: cvmctl measure rtmr0 says both of the \
         boot that it is from. With the RTMR0 of a boot without Secure Boot, a host starts a kernel of its own",
    )
}

/// What an operator must know about a policy that is printed.
pub(super) fn notes(predicted: &Prediction) -> Vec<String> {
    let mut lines: Vec<String> = predicted
        .pins
        .conditions
        .iter()
        .map(|condition| format!("condition {}: {}", condition.name(), condition.text()))
        .collect();
    if predicted.mrtd.is_none() {
        lines.push(
            "MRTD is null in the policy, and vaults refuse it so: without MRTD the host chooses the firmware, and no register pins \
             anything. Give --firmware or --mrtd"
                .to_owned(),
        );
    }
    lines.extend(rtmr0_condition(predicted).map(|text| format!("condition {RTMR0_CONDITION}: {text}")));
    lines.push(match predicted.rtmr0 {
        Some(_) => {
            "RTMR0 is in the policy: read the policy back from each vault, since a vault that does not know the field drops it"
                .to_owned()
        }
        None => {
            "RTMR0 is not in the policy: memory, CPUs, devices and ACPI tables of the machine are not checked, and the kernel runs code \
             (AML) of the host's ACPI tables"
                .to_owned()
        }
    });
    lines
}
