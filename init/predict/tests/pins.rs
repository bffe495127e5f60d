//! What pins each part of a boot, and the attacks that were shown (qemu/cc-firmware; decisions/0034).
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

#[expect(dead_code, reason = "these tests need one kind of image")]
mod images;

use predict::direct::{Boot, KernelSignature};
use predict::{Condition, Firmware, Named, Part, Pins, Prediction, SecureBoot, State, pins};

/// The smallest PE image: headers only.
fn pe() -> Vec<u8> {
    let mut image = vec![0; 0x200];
    for (at, bytes) in [(0, &b"MZ"[..]), (0x3c, &[0x40]), (0x40, b"PE\0\0"), (0x58, &[0x0b, 2]), (0x58 + 61, &[2])] {
        image.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }
    image
}

fn direct(signature: KernelSignature, initrd: &[u8]) -> Prediction {
    Boot { kernel: &pe(), initrd, command_line: "a b" }.predict_with(signature).unwrap()
}

fn decided(expected: &Prediction, others: &[&Prediction], firmware: Firmware, named: Named) -> Pins {
    let state = |prediction| State { name: "in a state", prediction };
    let others: Vec<State<'_>> = others.iter().map(|other| state(*other)).collect();
    pins(state(expected), &others, firmware, named)
}

fn by(pins: &Pins, part: Part) -> Option<Vec<u32>> {
    pins.parts.iter().find(|(found, _)| *found == part).unwrap().1.clone().ok()
}

#[test]
fn direct_boot_is_pinned_only_by_a_firmware_without_a_tpm_driver() {
    let (verified, refused) = (direct(KernelSignature::Verified, b"initrd"), direct(KernelSignature::NotVerified, b"initrd"));
    let pins = decided(&verified, &[&refused], Firmware::Td, Named::USUAL);
    assert_eq!(pins.conditions, [Condition::NoTpmDriver]);
    assert_eq!(Part::PINNED.map(|part| by(&pins, part)), [Some(vec![1]), Some(vec![1, 2]), Some(vec![1, 2])]);
    // With a TPM the kernel's stub leaves RTMR2 zero, and a host's initrd extends it.
    let pins = decided(&verified, &[&refused], Firmware::TdWithTpm, Named::USUAL);
    assert_eq!(Part::PINNED.map(|part| by(&pins, part)), [Some(vec![1]), None, None]);
    assert!(!pins.all());
    assert_eq!(verified.rtmr(2, Firmware::TdWithTpm), vec![0; 48]);
    // RTMR0 does not help: it may be equal, and says nothing of the initrd.
    assert!(!decided(&verified, &[&refused], Firmware::TdWithTpm, Named { rtmr0: true, ..Named::USUAL }).all());
}

#[test]
fn kernel_that_secure_boot_refuses_is_pinned_by_nothing() {
    let (verified, refused) = (direct(KernelSignature::Verified, b"initrd"), direct(KernelSignature::NotVerified, b"initrd"));
    for firmware in [Firmware::Td, Firmware::TdOlder, Firmware::TdWithTpm, Firmware::TdWithTpmOlder] {
        let pins = decided(&refused, &[&verified], firmware, Named::USUAL);
        assert_eq!(Part::PINNED.map(|part| by(&pins, part)), [None, None, None], "{firmware:?}");
    }
}

#[test]
fn initrd_that_the_image_does_not_have_is_not_admitted() {
    let pins = decided(&direct(KernelSignature::Verified, b""), &[], Firmware::Td, Named::USUAL);
    assert_eq!(by(&pins, Part::Initrd), Some(vec![1, 2]));
}

fn given_uki(secure_boot: SecureBoot) -> Prediction {
    predict::direct::uki(&images::uki(&[]), secure_boot).unwrap()
}

/// The firmware measures the hypervisor's UKI, has no memory to load it, and starts the kernel inside from a disk of the host: RTMR1 is that
/// of a UKI with Secure Boot off. With a TPM, nothing extends RTMR2, so that the host's initrd can.
#[test]
fn a_uki_that_is_measured_and_does_not_fit_into_memory_pins_nothing_with_a_tpm_driver() {
    let (on, off) = (given_uki(SecureBoot::On), given_uki(SecureBoot::Off));
    let pins = decided(&off, &[&on], Firmware::Td, Named::USUAL);
    assert_eq!(pins.conditions, [Condition::NoTpmDriver]);
    let pins = decided(&off, &[&on], Firmware::TdWithTpm, Named::USUAL);
    assert_eq!(Part::PINNED.map(|part| by(&pins, part)), [Some(vec![1]), None, None]);
    // With Secure Boot on, RTMR1 has no further program, so nothing runs after the image was measured.
    for firmware in [Firmware::Td, Firmware::TdWithTpm] {
        let pins = decided(&on, &[&off], firmware, Named::USUAL);
        assert!(pins.all() && pins.conditions.is_empty(), "{pins:?}");
    }
}

/// systemd-stub takes words, add-ons and credentials of the host, and measures them into RTMR2: RTMR1 stays the same.
#[test]
fn rtmr1_alone_pins_the_kernel_of_a_uki_and_not_what_the_host_adds() {
    let (on, off) = (given_uki(SecureBoot::On), given_uki(SecureBoot::Off));
    let pins = decided(&on, &[&off], Firmware::Td, Named::USUAL);
    assert_eq!(Part::PINNED.map(|part| by(&pins, part)), [Some(vec![1]), Some(vec![1, 2]), Some(vec![1, 2])]);
    let pins = decided(&on, &[&off], Firmware::Td, Named { rtmr2: false, ..Named::USUAL });
    assert_eq!(Part::PINNED.map(|part| by(&pins, part)), [Some(vec![1]), None, None]);
}

#[test]
fn each_register_that_is_not_named_leaves_something_open() {
    let verified = direct(KernelSignature::Verified, b"initrd");
    for named in
        [Named { mrtd: false, ..Named::USUAL }, Named { rtmr1: false, ..Named::USUAL }, Named { rtmr2: false, ..Named::USUAL }]
    {
        assert!(!decided(&verified, &[], Firmware::Td, named).all(), "{named:?}");
    }
    assert!(!decided(&verified, &[], Firmware::Tpm, Named::USUAL).all(), "firmware without RTMRs");
}

#[test]
fn attacks_say_what_a_host_does() {
    let verified = direct(KernelSignature::Verified, b"initrd");
    let pins = decided(&verified, &[], Firmware::TdWithTpm, Named::USUAL);
    let why =
        pins.parts.iter().find_map(|(part, pinned)| (*part == Part::CommandLine).then(|| pinned.clone().unwrap_err())).unwrap();
    assert_eq!(
        why.to_string(),
        "in a state and with a TPM, a host can replace the command line before anything measures it into a named register"
    );
}

#[test]
fn tables_have_a_row_for_each_chain_and_firmware() {
    let text = predict::markdown().unwrap();
    for row in [
        "| unified kernel image | on | no TPM | MRTD, RTMR1, RTMR2 | RTMR1 | RTMR1 + RTMR2 | RTMR1 + RTMR2 | `no-legacy-loader` |",
        "| direct boot of a unified kernel image | on | TPM | MRTD, RTMR1, RTMR2 | RTMR1 | RTMR1 + RTMR2 | RTMR1 + RTMR2 | none |",
        "| direct boot of a unified kernel image | off | no TPM | MRTD, RTMR1, RTMR2 | RTMR1 | RTMR1 + RTMR2 | RTMR1 + RTMR2 | `no-tpm-driver` |",
        "| direct boot of a unified kernel image | off | TPM | MRTD, RTMR1, RTMR2 | RTMR1 | **nothing** | **nothing** | no policy is printed |",
        "| direct boot | off | no TPM | MRTD, RTMR1, RTMR2 | RTMR1 | RTMR1 + RTMR2 | RTMR1 + RTMR2 | `no-tpm-driver` |",
        "| direct boot | on | TPM | MRTD, RTMR1, RTMR2 | RTMR1 | **nothing** | **nothing** | no policy is printed |",
        "| shim and GRUB | on | no TPM | MRTD, RTMR1, RTMR2 | **nothing** | **nothing** | **nothing** | no policy is printed |",
        "| shim and GRUB | off | TPM | MRTD, RTMR1, RTMR2 | **nothing** | **nothing** | **nothing** | no policy is printed |",
        "| shim and GRUB | on | no TPM | RTMR0 too | RTMR0 + RTMR1 | RTMR0 + RTMR1 + RTMR2 | RTMR0 + RTMR1 + RTMR2 | `no-legacy-loader` |",
        "| GRUB | files that it reads | RTMR2, PCR 9 | nowhere | RTMR and PCR |",
        "| the kernel's EFI stub | command line (load options) and initrd | RTMR2, PCR 9 | RTMR | PCR alone |",
        "| firmware | programs that it loads | RTMR1, PCR 4 | RTMR | RTMR |",
    ] {
        assert!(text.contains(row), "{row}\n{text}");
    }
}
