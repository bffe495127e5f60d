//! The image around PID 1: how firmware starts it, and what it keeps shut once it runs.

use std::process::Command;
use std::time::Duration;

use machine::Exit;

use super::Stage;
use super::measure;
use super::root::assert_field;
use crate::chain::Chain;
use crate::{Boot, DataDisk, Doing, Ended, Failure, RootDisk, Vaults};

/// Firmware, boot loader and kernel alone take some ten seconds under emulation; one that refuses says so before.
const FIRMWARE: Duration = Duration::from_secs(60);

/// From the power button to systemd's last word.
const SHUTDOWN: Duration = Duration::from_secs(10);

pub(super) fn boots_a_signed_uki(stage: &Stage) -> Result<(), Failure> {
    let (vaults, data) = (Vaults::of_images(&stage.artifacts, 2, 3)?.at(&Chain::Uki.ports())?, DataDisk::blank(&stage.folder)?);
    let ended = boots_through_firmware(stage, Chain::Uki, &vaults, &data)?;
    ended.line("secureboot: Secure boot enabled")?;
    assert_field(&ended.receipt()?, "/data/open_mode", &"formatted")?;

    // The host turns Secure Boot off and leaves words for systemd in a variable, which no measurement of a policy has in it.
    let ended = boots_through_firmware(stage, Chain::Open, &vaults, &data)?;
    ended.line("secureboot: Secure boot disabled")?;
    exactly(&ended, "host is named cvm")?;
    assert_field(&ended.receipt()?, "/data/open_mode", &"opened")
}

pub(super) fn boots_shim_and_grub(stage: &Stage) -> Result<(), Failure> {
    let (vaults, data) = (Vaults::of_images(&stage.artifacts, 2, 3)?.at(&Chain::Grub.ports())?, DataDisk::blank(&stage.folder)?);
    let ended = boots_through_firmware(stage, Chain::Grub, &vaults, &data)?;
    ended.line("secureboot: Secure boot enabled")?;
    assert_field(&ended.receipt()?, "/data/open_mode", &"formatted")?;

    // Without Secure Boot GRUB has nobody verify the kernel, and so nobody measures it as a program: another RTMR1. The ports of the image's
    // vaults are taken once in a run, so this is no scenario of its own.
    let ended = boots_through_firmware(stage, Chain::OpenGrub, &vaults, &data)?;
    ended.line("secureboot: Secure boot disabled")?;
    assert_field(&ended.receipt()?, "/data/open_mode", &"opened")
}

/// The whole command line of production holds, the simulated module being signed by a key that the firmware has. The firmware's log is what
/// was predicted from the image alone.
fn boots_through_firmware(stage: &Stage, chain: Chain, vaults: &Vaults, data: &DataDisk) -> Result<Ended, Failure> {
    let boot = Boot::new(stage).chain(chain)?.data(data, vaults).systemd();
    let prediction = boot.prediction()?;
    let ended = boot.run()?;
    ended.reached_the_real_system()?;
    measure::is_predicted(&ended, &prediction)?;
    // The TPM beside a TD is the host's: PID 1 sends it nothing.
    exactly(&ended, "no /run/log/systemd/tpm2-measure.log")?;
    measure::pcr_is_untouched(&ended)?;
    exactly(&ended, "efi variables: ")?;
    ended.line("cvm-tests: wrote through-the-chain")?;
    ended.line("cvm-tests: 0 failed units")?;
    is_closed(&ended)?;
    Ok(ended)
}

fn is_closed(ended: &Ended) -> Result<(), Failure> {
    ended.line("cvm-tests: lockdown none [integrity] confidentiality")?;
    ended.line("cvm-tests: signed module loaded")?;
    ended.line(
        "cvm-tests: unsigned module: insmod: ERROR: could not insert module /run/unsigned.ko: Key was rejected by service",
    )?;
    ended
        .line("cvm-tests: changed module: insmod: ERROR: could not insert module /run/changed.ko: Key was rejected by service")?;
    ended.line("cvm-tests: memory: dd: failed to open '/dev/mem': Operation not permitted")?;
    ended.line("cvm-tests: root is root:x:0:0:root:/root:/usr/bin/false root:!")?;
    exactly(ended, "package manager: ")?;
    exactly(ended, "writable: ")?;
    exactly(ended, "machine-id 33")?;
    // In the order of the task program: 40-command-line.conf and 60-cvm.conf.
    exactly(ended, "settings 0 1 2 1 2 1 3 1 2 0 0")?;
    exactly(ended, "debugfs none")?;
    exactly(ended, "logins ")
}

/// A line of the task program that ends where this text ends.
fn exactly(ended: &Ended, text: &str) -> Result<(), Failure> {
    let line = ended.line(&format!("cvm-tests: {}", text.trim_end()))?;
    let said = line.split_once("cvm-tests: ").map_or(line, |(_, said)| said);
    if said.trim_end() == text.trim_end() { Ok(()) } else { Err(Failure(format!("{said:?} where nothing follows {text:?}"))) }
}

pub(super) fn firmware_refuses_a_changed_uki(stage: &Stage) -> Result<(), Failure> {
    let image = Chain::Uki.image(&stage.artifacts);
    let mut bytes = std::fs::read(&image).doing("the image")?;
    let initrd = std::fs::read(&stage.artifacts.simulated).doing("the simulated initrd")?;
    let begin = initrd.get(..64).unwrap_or_default();
    // It may be there twice: what was there before it was signed is still in the ESP's free clusters.
    let found: Vec<usize> = bytes.windows(64).enumerate().filter(|(_, window)| *window == begin).map(|(at, _)| at).collect();
    if found.is_empty() {
        return Err(Failure("the initrd is not in the image".to_owned()));
    }
    for at in found {
        if let Some(byte) = bytes.get_mut(at + 1000) {
            *byte ^= 1;
        }
    }
    let changed = stage.folder.join("changed.raw");
    std::fs::write(&changed, bytes).doing("the changed image")?;
    let root = RootDisk::of(changed);
    let boot = Boot::new(stage).chain(Chain::Uki)?.root(root).for_at_most(Duration::ZERO);
    let ended =
        boot.run_with(|vm| vm.console().wait_for("Access Denied", FIRMWARE).map(|_| ()).doing("the firmware's verdict"))?;
    ended.no_line("Linux version")?;
    ended.no_line("cvm-init:")
}

pub(super) fn production_is_closed(stage: &Stage) -> Result<(), Failure> {
    let ended = Boot::new(stage).production().systemd().tasks("hardened,units").run()?;
    ended.reached_the_real_system()?;
    ended.line("cvm-tests: 0 failed units")?;
    is_closed(&ended)
}

/// Units that systemd would take from SMBIOS, and partitions that it would mount, each with a trace that it leaves.
const CREDENTIAL: &str = "type=11,value=io.systemd.credential:tmpfiles.extra=f /run/credential-of-the-host 0644 - - - it came";

pub(super) fn takes_nothing_from_the_host(stage: &Stage) -> Result<(), Failure> {
    let root = with_partitions_of_the_host(stage)?;
    let boot = |words: &[&str]| {
        let boot = Boot::new(stage).root(root.clone()).systemd().tasks("host").arguments(["-smbios", CREDENTIAL]);
        words.iter().fold(boot, |boot, word| boot.word(*word)).run()
    };
    let closed = boot(&[])?;
    closed.reached_the_real_system()?;
    closed.line("cvm-tests: host: looked")?;
    closed.no_line("cvm-tests: taken")?;
    // Without the words of production each of them is taken: the host does try.
    let open = boot(&["systemd.import_credentials=yes", "systemd.gpt_auto=yes", "systemd.swap=yes"])?;
    open.reached_the_real_system()?;
    open.line("cvm-tests: taken: /run/credential-of-the-host")?;
    open.line("cvm-tests: taken: /srv/partition-of-the-host")?;
    open.line("cvm-tests: taken: /dev/")?;
    Ok(())
}

/// The image with a file system for /srv and a swap area behind its own partitions.
pub(super) fn with_partitions_of_the_host(stage: &Stage) -> Result<RootDisk, Failure> {
    let file = stage.folder.join("root-and-more.raw");
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
    let parts = ["files", "srv", "swap"].map(|name| stage.folder.join(name));
    let made = Command::new("sh").args(["-c", script, "sh"]).arg(&stage.artifacts.image).arg(&file).args(parts).output();
    let made = made.doing("partitions of the host")?;
    if !made.status.success() {
        return Err(Failure(format!("partitions of the host: {}", String::from_utf8_lossy(&made.stderr))));
    }
    Ok(RootDisk::of(file))
}

pub(super) fn boots_an_image_of_another_project(stage: &Stage) -> Result<(), Failure> {
    let ended = Boot::new(stage).of_another_project()?.systemd().run_with(|vm| {
        vm.console().wait_for("example: a service of another project runs", FIRMWARE).doing("the service")?;
        vm.console().wait_for("system-up: the real system runs", FIRMWARE).doing("the system")?;
        // The kernel's driver of the button may come last of all, and a press before that is nobody's: it is pressed again.
        let pressed = (0..10).any(|_| vm.press_power_button().is_ok() && vm.console().wait_for("Powering off", SHUTDOWN).is_ok());
        if pressed { Ok(()) } else { Err(Failure("the power button does nothing".to_owned())) }
    })?;
    ended.line("cvm-init: handoff")?;
    if ended.exit == Exit::PoweredOff { Ok(()) } else { Err(Failure(format!("ended by {:?}", ended.exit))) }
}
