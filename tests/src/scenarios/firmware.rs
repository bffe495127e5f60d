//! Boots through firmware that measures as that of a TD (qemu/cc-firmware): the registers and each event of the log are as predicted, and
//! vaults decide by them.

use std::path::{Path, PathBuf};
use std::process::Command;

use eventlog::ccel::{Kind, Log};
use eventlog::register::Hash;
use predict::{Divergence, Prediction};
use qemu::{Disk, Register, TdInfo};

use super::TestContext;
use super::root::assert_field;
use crate::boot_chain::BootChain;
use crate::{Boot, BootResult, Context, DataDisk, Failure, Vaults, artifacts};
use encoding::hex::encode as hex;

pub(super) fn measures_a_uki_as_predicted(context: &TestContext) -> Result<(), Failure> {
    measures_as_predicted(context, [BootChain::Uki, BootChain::Open])?;
    // As the hypervisor's kernel.
    let uki = context.artifacts.top.join("target/image/uki/cvm.efi");
    let boot = |uki| Boot::new(context).uki_of_hypervisor(uki).cc().tpm(false);
    to_kernel_as_predicted(boot(uki.clone())).context("of the hypervisor, Secure Boot off")?;
    to_kernel_as_predicted(boot(signed(context, &uki)?).secure_boot()).context("of the hypervisor, Secure Boot on")
}

pub(super) fn measures_shim_and_grub_as_predicted(context: &TestContext) -> Result<(), Failure> {
    measures_as_predicted(context, [BootChain::Grub, BootChain::OpenGrub])
}

fn measures_as_predicted(context: &TestContext, chains: [BootChain; 2]) -> Result<(), Failure> {
    for (chain, tpm) in chains.into_iter().flat_map(|chain| [(chain, false), (chain, true)]) {
        let boot = Boot::new(context).chain(chain)?.cc().tpm(tpm);
        to_kernel_as_predicted(boot).context(&format!("{chain:?}, TPM {tpm}"))?;
    }
    Ok(())
}

pub(super) fn measures_a_direct_boot_as_predicted(context: &TestContext) -> Result<(), Failure> {
    // OVMF starts a kernel that no key in `db` signed all the same, and measures neither it nor the command line.
    let signed = signed(context, &context.artifacts.kernel)?;
    for tpm in [false, true] {
        let boot = || Boot::new(context).cc().tpm(tpm);
        for (what, boot) in [
            ("Secure Boot off", boot()),
            ("Secure Boot on", boot().secure_boot()),
            ("Secure Boot on, kernel signed", boot().secure_boot().signed_kernel(signed.clone())),
        ] {
            to_kernel_as_predicted(boot).context(&format!("{what}, TPM {tpm}"))?;
        }
    }
    Ok(())
}

/// A copy of a kernel or UKI that the tests' builder signed.
fn signed(context: &TestContext, program: &Path) -> Result<PathBuf, Failure> {
    let (builder, signed) = (context.artifacts.top.join("target/builder"), context.folder.join("signed.efi"));
    let output = Command::new("/usr/lib/systemd/systemd-sbsign")
        .args(["sign", "--private-key"])
        .arg(builder.join("key.pem"))
        .arg("--certificate")
        .arg(builder.join("cert.pem"))
        .arg("--output")
        .args([&signed, program])
        .output()
        .context("signing the kernel")?;
    if output.status.success() {
        Ok(signed)
    } else {
        Err(Failure(format!("signing the kernel: {}", String::from_utf8_lossy(&output.stderr))))
    }
}

/// Vaults give the key by registers that firmware made, under a policy that was predicted from the files.
pub(super) fn unlocks_by_measured_registers(context: &TestContext) -> Result<(), Failure> {
    let (vaults, data) = (Vaults::up(&context.artifacts, 2, 3)?, DataDisk::blank(&context.folder)?);
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").cc().tpm(false);
    let boot = boot.cmdline("cvm.measure.require-cmdline=yes").tasks("firmware");
    let (prediction, firmware) = (boot.prediction()?, boot.firmware_kind());
    let result = boot.run()?;
    result.reached_the_real_system()?;
    is_predicted(&result, &prediction, firmware)?;
    guest_sees_the_log(&result)?;
    let report = result.boot_report()?;
    assert_field(&report, "/data/open_mode", &"formatted")?;
    assert_field(&report, "/measurement/command_line/measured", &"yes")?;
    assert_field(&report, "/measurement/command_line/log", &"ccel")?;
    assert_field(&report, "/measurement/command_line/by", &"the kernel's EFI stub")?;

    // With a TPM the stub tells the TPM alone, which PID 1 in a TD does not trust.
    let boot = Boot::new(context).data(&data, &vaults).cc().tpm(true).cmdline("cvm.measure.require-cmdline=yes");
    let result = boot.run()?;
    result.powered_off_with(97)?;
    result.no_line("phase net")
}

/// A blank disk that the firmware tries first: RTMR1 counts the attempt, and the policy for the image's disk as the first boot option
/// does not match.
pub(super) fn counts_a_boot_option_that_fails(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::stapling(&context.artifacts, 2, 3)?;
    let blank = context.folder.join("blank.raw");
    let file = std::fs::File::create(&blank).context("making a blank disk")?;
    file.set_len(16 << 20).context("making a blank disk")?;
    let chain = || Boot::new(context).chain(BootChain::Uki).map(|boot| boot.cc().tpm(false));
    let boot = chain()?.qemu_arguments([
        "-drive".to_owned(),
        format!("if=none,id=blank,format=raw,file={}", blank.display()),
        "-device".to_owned(),
        "virtio-blk-pci,drive=blank,bootindex=0".to_owned(),
    ]);
    let (td, firmware) = (boot.measurement()?, boot.firmware_kind());
    let prediction = boot.prediction()?.after_failed_boot_options(1);
    let result = boot.run_to_kernel()?;
    is_predicted(&result, &prediction, firmware)?;
    vaults.grant(&td)?;
    refuses(&vaults, &of(&result, &td)?, "a TD with another boot option before the image's")?;
    // Behind the image's disk it changes nothing.
    let result = chain()?.disk(Disk::raw("blank", &blank)).run_to_kernel()?;
    gives(&vaults, &of(&result, &td)?, "a TD with another disk behind the image's")
}

/// Arguments of the host for systemd-stub, in SMBIOS or a boot option: RTMR2 has them, so the vaults give nothing.
pub(super) fn arguments_of_the_host_change_rtmr2(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::stapling(&context.artifacts, 2, 3)?;
    let boot = || Boot::new(context).chain(BootChain::Uki).map(|boot| boot.cc().tpm(false));
    let td = boot()?.measurement()?;
    vaults.grant(&td)?;
    gives(&vaults, &of(&boot()?.run_to_kernel()?, &td)?, "the genuine TD")?;
    let words = "type=11,value=io.systemd.stub.kernel-cmdline-extra=init=/bin/sh";
    let result = boot()?.qemu_arguments(["-smbios", words]).run_to_kernel()?;
    refuses_changed_rtmr2(&vaults, &of(&result, &td)?, &td)?;

    // systemd-stub ignores those of a boot option while Secure Boot is on.
    let option = boot_option(&BootChain::Uki.image(&context.artifacts), "init=/bin/sh")?;
    let result = boot()?.efi_variables(option.clone()).run_to_kernel()?;
    gives(&vaults, &of(&result, &td)?, "a TD that ignores the arguments of its boot option")?;
    let boot = Boot::new(context).chain(BootChain::Open)?.cc().tpm(false).efi_variables(option);
    let td = boot.measurement()?;
    vaults.grant(&td)?;
    refuses_changed_rtmr2(&vaults, &of(&boot.run_to_kernel()?, &td)?, &td)
}

/// Expects another RTMR2 than that of `td`, the same RTMR1, and no share for it.
fn refuses_changed_rtmr2(vaults: &Vaults, changed: &TdInfo, td: &TdInfo) -> Result<(), Failure> {
    let ([_, rtmr1, rtmr2, _], [_, same, other, _]) = (changed.rtmrs, td.rtmrs);
    if rtmr1 != same || rtmr2 == other {
        return Err(Failure("expected another RTMR2 and the same RTMR1 with arguments of the host".to_owned()));
    }
    refuses(vaults, changed, "a TD with arguments of the host")
}

/// EFI variables with one boot option for the image's first partition, which gives its program these arguments.
///
/// Source: UEFI 2.10, sections 3.1.3 (load options) and 10.3.5 (device paths of media).
fn boot_option(image: &Path, arguments: &str) -> Result<String, Failure> {
    let wide = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let partitions = artifacts::read_table(image)?;
    let esp = partitions.first().ok_or_else(|| Failure("the image has no partition".to_owned()))?;
    let mut path = vec![4, 1, 42, 0];
    path.extend(u32::from(esp.number).to_le_bytes());
    path.extend([esp.first, esp.sectors()].map(u64::to_le_bytes).concat());
    path.extend(esp.uuid.to_bytes_le());
    path.extend([2, 2]);
    let file = wide("\\EFI\\BOOT\\BOOTX64.EFI");
    path.extend([4, 4]);
    path.extend(u16::try_from(4 + file.len()).context("the length of a path")?.to_le_bytes());
    path.extend(file);
    path.extend([0x7f, 0xff, 4, 0]);
    let length = u16::try_from(path.len()).context("the length of a path")?.to_le_bytes();
    let option = [&[1, 0, 0, 0][..], &length, &wide("of the host"), &path, &wide(arguments)].concat();
    let variable = |name: &str, data: &[u8]| serde_json::json!({"name": name, "guid": "8be4df61-93ca-11d2-aa0d-00e098032b8c", "attr": 7, "data": hex(data)});
    let variables = [variable("Boot0000", &option), variable("BootOrder", &[0, 0])];
    Ok(serde_json::json!({"version": 2, "variables": variables}).to_string())
}

/// Secure Boot on, and a kernel that no key in `db` signed: the firmware's old loader measures neither kernel nor command line.
pub(super) fn a_kernel_outside_db_gets_nothing(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::stapling(&context.artifacts, 2, 3)?;
    let td = Boot::new(context).cc().tpm(false).measurement()?;
    vaults.grant(&td)?;
    let result = Boot::new(context).cc().tpm(false).secure_boot().run_to_kernel()?;
    refuses(&vaults, &of(&result, &td)?, "a TD whose firmware did not measure the kernel")
}

/// The TD of `td` with the registers that firmware made.
pub(super) fn of(result: &BootResult, td: &TdInfo) -> Result<TdInfo, Failure> {
    Ok(TdInfo { rtmrs: result.cc()?.rtmrs, ..td.clone() })
}

pub(super) fn gives(vaults: &Vaults, td: &TdInfo, whom: &str) -> Result<(), Failure> {
    if vaults.give_key_to(td)? { Ok(()) } else { Err(Failure(format!("the vaults refused {whom}"))) }
}

pub(super) fn refuses(vaults: &Vaults, td: &TdInfo, whom: &str) -> Result<(), Failure> {
    if vaults.give_key_to(td)? { Err(Failure(format!("the vaults gave their shares to {whom}"))) } else { Ok(()) }
}

/// Expects the ACPI table CCEL of the guest to contain the log that firmware made, and filling.
pub(super) fn guest_sees_the_log(result: &BootResult) -> Result<(), Failure> {
    let (seen, log) = (result.dump("ccel")?, &result.cc()?.log);
    match seen.strip_prefix(log.as_slice()) {
        Some(rest) if seen.len() == 64 << 10 && rest.iter().all(|byte| *byte == 0xff) => Ok(()),
        _ => Err(Failure(format!("expected 64 KiB with the log of {} bytes, found {} bytes", log.len(), seen.len()))),
    }
}

/// Boots until the kernel runs; expects log and registers as predicted.
fn to_kernel_as_predicted(boot: Boot<'_>) -> Result<(), Failure> {
    let (prediction, firmware) = (boot.prediction()?, boot.firmware_kind());
    is_predicted(&boot.run_to_kernel()?, &prediction, firmware)
}

/// Expects that the log replays to the registers, and that RTMR1 and RTMR2 and each of their events are as predicted.
pub(super) fn is_predicted(result: &BootResult, prediction: &Prediction, firmware: predict::Firmware) -> Result<(), Failure> {
    let cc = result.cc()?;
    let log = Log::parse(&cc.log).context("parsing the firmware's event log")?;
    if let Err(divergence) = predict::compare(&log, Kind::Cc, Hash::Sha384, prediction, firmware) {
        let Divergence { equal, expected, found } = *divergence;
        let expected = expected.map(|event| (event.rtmr(), event.what.clone(), hex(&event.digest(Hash::Sha384))));
        let found = found.map(|event| (event.register, hex(&event.digest), log.events.get(event.index).cloned()));
        return Err(Failure(format!("event {equal}: expected {expected:?}, found {found:?}")));
    }
    for (number, register) in (0_u32..).zip(&cc.rtmrs) {
        // In the log 0 is MRTD.
        let events = log.events.iter().filter(|event| event.is_extended() && event.register == number + 1);
        let digests: Option<Vec<&[u8]>> = events.map(|event| event.digest(Hash::Sha384)).collect();
        let replayed = digests.map(|digests| Register::from_bytes(&Hash::Sha384.replay(digests)));
        if replayed != Some(*register) {
            return Err(Failure(format!("the log does not replay to RTMR{number}")));
        }
        if matches!(number, 1 | 2) && hex(&register.0) != hex(&prediction.rtmr(number, firmware)) {
            return Err(Failure(format!("RTMR{number} is not as predicted")));
        }
    }
    Ok(())
}
