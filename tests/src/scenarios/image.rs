//! The image around PID 1: how firmware boots it, and how it is hardened.

use std::process::Command;
use std::time::Duration;

use qemu::Exit;

use super::TestContext;
use super::root::assert_field;
use super::{firmware, measure};
use crate::boot_chain::BootChain;
use crate::{Boot, BootResult, Context, DataDisk, Failure, RootDisk, Vaults};

/// The longest that firmware, boot loader and kernel may take under emulation: usually ten seconds.
const FIRMWARE: Duration = Duration::from_secs(60);

/// From the power button to the end of systemd.
const SHUTDOWN: Duration = Duration::from_secs(10);

pub(super) fn boots_a_signed_uki_through_firmware(context: &TestContext) -> Result<(), Failure> {
    let (vaults, data) =
        (Vaults::of_images(&context.artifacts, 2, 3)?.listening_at(&BootChain::Uki.ports())?, DataDisk::blank(&context.folder)?);
    // The vaults' policy is predicted from the image; the registers are those that firmware made.
    let result = boots_through_firmware(context, BootChain::Uki, &vaults, &data, |boot| boot.cc().tpm(false))?;
    result.line("secureboot: Secure boot enabled")?;
    assert_field(&result.boot_report()?, "/data/open_mode", &"formatted")?;

    // The host turns Secure Boot off and sets a variable with arguments for systemd. No policy measures the variable, so the
    // image must ignore it.
    let result = boots_through_firmware(context, BootChain::Open, &vaults, &data, |boot| boot)?;
    result.line("secureboot: Secure boot disabled")?;
    exactly(&result, "host is named cvm")?;
    assert_field(&result.boot_report()?, "/data/open_mode", &"opened")
}

pub(super) fn boots_shim_and_grub_through_firmware(context: &TestContext) -> Result<(), Failure> {
    let (vaults, data) =
        (Vaults::of_images(&context.artifacts, 2, 3)?.listening_at(&BootChain::Grub.ports())?, DataDisk::blank(&context.folder)?);
    // GRUB measures into RTMRs only where there is a TPM too.
    let result = boots_through_firmware(context, BootChain::Grub, &vaults, &data, Boot::cc)?;
    result.line("secureboot: Secure boot enabled")?;
    assert_field(&result.boot_report()?, "/data/open_mode", &"formatted")?;

    // Without Secure Boot GRUB loads the kernel without verification, so firmware does not measure it as a program, and RTMR1
    // differs. A second scenario could not use the same ports of the image's vaults.
    let result = boots_through_firmware(context, BootChain::OpenGrub, &vaults, &data, |boot| boot)?;
    result.line("secureboot: Secure boot disabled")?;
    assert_field(&result.boot_report()?, "/data/open_mode", &"opened")
}

/// Boots with production's whole command line: the firmware contains the key that signed the simulated module. Expects the
/// firmware's event log to be as predicted from the image: that of a TD, else that of a TPM.
fn boots_through_firmware<'a>(
    context: &'a TestContext,
    chain: BootChain,
    vaults: &'a Vaults,
    data: &'a DataDisk,
    with_firmware: impl FnOnce(Boot<'a>) -> Boot<'a>,
) -> Result<BootResult, Failure> {
    let boot = with_firmware(Boot::new(context).chain(chain)?.data(data, vaults).systemd());
    let (prediction, shape, kind) = (boot.prediction()?, boot.firmware_shape(), boot.firmware_kind());
    let result = boot.run()?;
    result.reached_the_real_system()?;
    if shape.cc {
        firmware::is_predicted(&result, &prediction, kind)?;
        firmware::guest_sees_the_log(&result)?;
        let report = result.boot_report()?;
        assert_field(&report, "/measurement/command_line/measured", &"yes")?;
        assert_field(&report, "/measurement/command_line/log", &"ccel")?;
    } else {
        measure::is_predicted(&result, &prediction)?;
    }
    // The host controls the TPM of a TD: PID 1 sends it nothing.
    exactly(&result, "no /run/log/systemd/tpm2-measure.log")?;
    if shape.tpm {
        measure::pcr_is_untouched(&result)?;
    }
    exactly(&result, "efi variables: ")?;
    result.line("cvm-tests: wrote through-the-chain")?;
    result.line("cvm-tests: 0 failed units")?;
    is_closed(&result)?;
    Ok(result)
}

fn is_closed(result: &BootResult) -> Result<(), Failure> {
    result.line("cvm-tests: lockdown none [integrity] confidentiality")?;
    result.line("cvm-tests: signed module loaded")?;
    result.line(
        "cvm-tests: unsigned module: insmod: ERROR: could not insert module /run/unsigned.ko: Key was rejected by service",
    )?;
    result
        .line("cvm-tests: changed module: insmod: ERROR: could not insert module /run/changed.ko: Key was rejected by service")?;
    result.line("cvm-tests: memory: dd: failed to open '/dev/mem': Operation not permitted")?;
    result.line("cvm-tests: root is root:x:0:0:root:/root:/usr/bin/false root:!")?;
    exactly(result, "package manager: ")?;
    exactly(result, "writable: ")?;
    exactly(result, "machine-id 33")?;
    // In the order in which the task program reads them: 40-command-line.conf and 60-cvm.conf.
    exactly(result, "settings 0 1 2 1 2 1 3 1 2 0 0")?;
    exactly(result, "debugfs none")?;
    exactly(result, "logins ")
}

/// Expects a line of the task program that ends with this text.
fn exactly(result: &BootResult, text: &str) -> Result<(), Failure> {
    let line = result.line(&format!("cvm-tests: {}", text.trim_end()))?;
    let printed = line.split_once("cvm-tests: ").map_or(line, |(_, printed)| printed);
    if printed.trim_end() == text.trim_end() {
        Ok(())
    } else {
        Err(Failure(format!("expected the line to end after {text:?}, found {printed:?}")))
    }
}

pub(super) fn firmware_refuses_a_changed_uki(context: &TestContext) -> Result<(), Failure> {
    let image = BootChain::Uki.image(&context.artifacts);
    let mut bytes = std::fs::read(&image).context("reading the image")?;
    let initrd = std::fs::read(&context.artifacts.simulated).context("reading the simulated initrd")?;
    let begin = initrd.get(..64).unwrap_or_default();
    // The ESP's free clusters may contain the unsigned initrd as well.
    let found: Vec<usize> = bytes.windows(64).enumerate().filter(|(_, window)| *window == begin).map(|(at, _)| at).collect();
    if found.is_empty() {
        return Err(Failure("the image does not contain the initrd".to_owned()));
    }
    for at in found {
        if let Some(byte) = bytes.get_mut(at + 1000) {
            *byte ^= 1;
        }
    }
    let changed = context.folder.join("changed.raw");
    std::fs::write(&changed, bytes).context("writing the changed image")?;
    let root = RootDisk::of(changed);
    let boot = Boot::new(context).chain(BootChain::Uki)?.root(root).for_at_most(Duration::ZERO);
    let result = boot.run_with(|vm| {
        vm.console().wait_for("Access Denied", FIRMWARE).map(|_| ()).context("waiting for the firmware to refuse the image")
    })?;
    result.no_line("Linux version")?;
    result.no_line("cvm-init:")
}

pub(super) fn production_image_is_hardened(context: &TestContext) -> Result<(), Failure> {
    let result = Boot::new(context).production().systemd().tasks("hardened,units").run()?;
    result.reached_the_real_system()?;
    result.line("cvm-tests: 0 failed units")?;
    is_closed(&result)
}

/// A tmpfiles credential in SMBIOS that systemd would import; it leaves a file.
const CREDENTIAL: &str = "type=11,value=io.systemd.credential:tmpfiles.extra=f /run/credential-of-the-host 0644 - - - it came";

pub(super) fn ignores_credentials_and_partitions_of_the_host(context: &TestContext) -> Result<(), Failure> {
    let root = with_partitions_of_the_host(context)?;
    let boot = |cmdline: &[&str]| {
        let boot = Boot::new(context).root(root.clone()).systemd().tasks("host").qemu_arguments(["-smbios", CREDENTIAL]);
        cmdline.iter().fold(boot, |boot, argument| boot.cmdline(*argument)).run()
    };
    let closed = boot(&[])?;
    closed.reached_the_real_system()?;
    closed.line("cvm-tests: host: looked")?;
    closed.no_line("cvm-tests: taken")?;
    // Without production's arguments systemd takes all of them, so the test shows something.
    let open = boot(&["systemd.import_credentials=yes", "systemd.gpt_auto=yes", "systemd.swap=yes"])?;
    open.reached_the_real_system()?;
    open.line("cvm-tests: taken: /run/credential-of-the-host")?;
    open.line("cvm-tests: taken: /srv/partition-of-the-host")?;
    open.line("cvm-tests: taken: /dev/")?;
    Ok(())
}

/// Copies the image and adds a file system for /srv and a swap area, as a host can.
pub(super) fn with_partitions_of_the_host(context: &TestContext) -> Result<RootDisk, Failure> {
    let file = context.folder.join("root-and-more.raw");
    let script = r#"
        set -e
        cp --sparse=always "$1" "$2"; truncate -s +64M "$2"
        mkdir "$3"; echo it came > "$3/partition-of-the-host"
        truncate -s 16M "$4"; mkfs.ext4 -q -d "$3" "$4"
        truncate -s 16M "$5"; mkswap -q "$5"
        printf 'size=16M, type=3B8F8425-20E0-4F3B-907F-1A25A76F98E8\nsize=16M, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\n' |
            sfdisk --quiet --append "$2"
        set -- "$2" "$4" "$5" $(sfdisk --dump "$2" | sed -n 's/.*start= *\([0-9]*\),.*type=\(3B8F8425\|0657FD6D\).*/\1/p')
        dd if="$2" of="$1" bs=512 seek="$4" conv=notrunc status=none
        dd if="$3" of="$1" bs=512 seek="$5" conv=notrunc status=none"#;
    let parts = ["files", "srv", "swap"].map(|name| context.folder.join(name));
    let made = Command::new("sh").args(["-c", script, "sh"]).arg(&context.artifacts.image).arg(&file).args(parts).output();
    let made = made.context("adding the host's partitions")?;
    if !made.status.success() {
        return Err(Failure(format!("partitions of the host: {}", String::from_utf8_lossy(&made.stderr))));
    }
    Ok(RootDisk::of(file))
}

pub(super) fn boots_an_image_of_another_project(context: &TestContext) -> Result<(), Failure> {
    let result = Boot::new(context).of_another_project()?.systemd().run_with(|vm| {
        vm.console().wait_for("example: a service of another project runs", FIRMWARE).context("waiting for the service")?;
        vm.console().wait_for("system-up: the real system runs", FIRMWARE).context("waiting for the real system")?;
        // The kernel ignores the button until its driver is loaded, so it is pressed again.
        let pressed = (0..10).any(|_| vm.press_power_button().is_ok() && vm.console().wait_for("Powering off", SHUTDOWN).is_ok());
        if pressed {
            Ok(())
        } else {
            Err(Failure("the machine did not power off after ten presses of the power button".to_owned()))
        }
    })?;
    result.line("cvm-init: handoff")?;
    if result.exit == Exit::PoweredOff {
        Ok(())
    } else {
        Err(Failure(format!("expected a power off, the machine ended by {:?}", result.exit)))
    }
}
