//! The data disk.

use qemu::Bus;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, DataDisk, Failure, Vaults};

pub(super) fn data_survives_a_second_boot_into_systemd(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::provisioned(&context.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        boot.tasks(tasks).systemd().run()
    };
    let first = boot("write:hello")?;
    first.reached_the_real_system()?;
    first.line("system-up: the real system runs")?;
    assert_field(&first.boot_report()?, "/data/open_mode", &"formatted")?;

    let second = boot("read,units,status")?;
    second.reached_the_real_system()?;
    second.line("cvm-tests: marker is hello")?;
    second.line("cvm-tests: 0 failed units")?;
    // The width of the columns depends on what udev knows at that time.
    let mounted = |line: &String| line.contains("lsblk|") && line.contains("data-crypt ") && line.trim_end().ends_with(" /data");
    if !second.lines.iter().any(mounted) {
        return Err(Failure("lsblk does not show the data disk at /data".to_owned()));
    }
    second.line("status|   type:    LUKS2")?;
    second.line("discard data-crypt 0")?;
    // Otherwise the unit would have powered the machine off.
    second.line("data-disk-mounted.service is active")?;
    // The disk was closed at shutdown: only the root is still mapped.
    second.line("All filesystems unmounted")?;
    second.line("Not all DM devices detached, 1 left")?;
    assert_field(&second.boot_report()?, "/data/open_mode", &"opened")?;
    assert_field(&second.boot_report()?, "/unlock/threshold", &2)
}

/// Services must not take memory for the data disk.
pub(super) fn powers_off_when_the_data_disk_is_hidden(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
    let result = boot.cmdline("cvm-tests.hide").systemd().run()?;
    result.line("data-disk-mounted: /data: expected the file system of a data disk, found: tmpfs /data.")?;
    result.no_line("system-up: the real system runs")
}

pub(super) fn does_not_format_without_permission(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    Boot::new(context).data(&data, &vaults).run()?.powered_off_with(72)?;
    data.expect_blank()
}

pub(super) fn refuses_a_disk_neither_blank_nor_luks(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    data.write(5 << 20, b"x")?;
    Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").run()?.powered_off_with(73)?;
    if data.read(5 << 20, 1)? == b"x" { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn does_not_format_without_a_key_commitment(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?.without_commitment());
    let result = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").run()?;
    result.powered_off_with(26)?;
    result.line("cvm.vault.key-commitment=none with cvm.data.format")?;
    data.expect_blank()
}

pub(super) fn formats_a_large_sparse_disk(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&context.folder, 200 << 30)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |tasks| {
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        boot.cmdline("cvm.debug=timeline").tasks(tasks).run()
    };
    let first = boot("write:large,mounts")?;
    first.reached_the_real_system()?;
    assert_field(&first.boot_report()?, "/data/header_authenticated", &true)?;
    let second = boot("read")?;
    second.line("cvm-tests: marker is large")?;
    assert_field(&second.boot_report()?, "/data/header_authenticated", &true)
}

/// Formats a disk with these arguments, writes files, and opens it again with a command line that names no cipher.
fn opens_again(context: &TestContext, cmdline: &[&str], bytes: u64) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&context.folder, bytes)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |cmdline: &[&str], tasks: &str| {
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        cmdline.iter().fold(boot, |boot, argument| boot.cmdline(*argument)).tasks(tasks).run()
    };
    let first = boot(cmdline, "files:kept:3,mounts")?;
    first.reached_the_real_system()?;
    let (cipher, rest): (Vec<_>, Vec<_>) = cmdline.iter().partition(|argument| argument.starts_with("cvm.data.cipher="));
    let second = boot(&rest, "check,status")?;
    second.reached_the_real_system()?;
    for number in 1..=3 {
        second.line(&format!("whole kept-{number}"))?;
    }
    assert_field(&second.boot_report()?, "/data/open_mode", &"opened")?;
    assert_field(&second.boot_report()?, "/data/header_authenticated", &true)?;
    if let Some(cipher) = cipher.first() {
        assert_field(&second.boot_report()?, "/data/cipher", &cipher.trim_start_matches("cvm.data.cipher="))?;
        // A cipher on the command line is required of an existing disk too.
        boot(cmdline, "check")?.line("whole kept-1")?;
        boot(&["cvm.data.cipher=xts-hmac"], "read")?.powered_off_with(75)?;
    }
    // PID 1 and the kernel compute the same size of the disk.
    second.no_line("the disk's size has changed")?;
    [&first, &second].into_iter().try_for_each(|result| result.no_line("INTEGRITY AEAD ERROR"))
}

pub(super) fn keeps_files_on_xfs_under_aegis(context: &TestContext) -> Result<(), Failure> {
    opens_again(context, &["cvm.data.fstype=xfs", "cvm.data.cipher=aegis"], 512 << 20)
}

pub(super) fn keeps_files_on_btrfs_under_gcm(context: &TestContext) -> Result<(), Failure> {
    opens_again(context, &["cvm.data.fstype=btrfs", "cvm.data.cipher=gcm"], 320 << 20)
}

pub(super) fn keeps_files_after_a_full_wipe(context: &TestContext) -> Result<(), Failure> {
    opens_again(context, &["cvm.data.wipe=full"], 160 << 20)
}

pub(super) fn formats_the_smallest_disk_and_none_smaller(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&context.folder, (32 << 20) - 4096)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = || Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").tasks("write:small");
    boot().run()?.powered_off_with(79)?;
    data.resize(32 << 20)?;
    boot().run()?.reached_the_real_system()
}

pub(super) fn opens_and_rotates_a_disk_made_by_cryptsetup(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let key = data.copy("key.raw")?;
    key.write(0, &vaults.passphrase()?)?;
    let maker = Boot::new(context).disk(data.attached_as("other")).disk(key.attached_as("key"));
    maker.tasks("luks").run()?.line("made by cryptsetup")?;

    // PID 1 opens a disk made by cryptsetup without knowing whose key it is, and says so.
    let vaults = vaults.without_commitment();
    let opened = Boot::new(context).data(&data, &vaults).tasks("read").run()?;
    opened.reached_the_real_system()?;
    opened.line("cvm-tests: marker is of-cryptsetup")?;
    opened.line("unlock: cvm.vault.key-commitment=none: nothing proves who owns the vaults and the disk")?;
    assert_field(&opened.boot_report()?, "/unlock/key_proof", &"disk")?;
    opened.line("cvm-init: data: opened").and(opened.line(", header not authenticated"))?;
    assert_field(&opened.boot_report()?, "/data/header_authenticated", &false)?;
    Boot::new(context).data(&data, &vaults).cmdline("cvm.data.header-auth=require").run()?.powered_off_with(84)?;

    // The rotation gives it a cheap key derivation, an authenticated header and a committed key.
    let vaults = vaults.with_commitment().rotating()?;
    let rotated = Boot::new(context).data(&data, &vaults).tasks("read").run()?;
    rotated.line("cvm-tests: marker is of-cryptsetup")?;
    assert_field(&rotated.boot_report()?, "/data/open_mode", &"rotated")?;
    assert_field(&rotated.boot_report()?, "/unlock_previous/key_proof", &"commitment")?;
    assert_field(&rotated.boot_report()?, "/data/header_authenticated", &true)?;
    let json = crate::disk::header_json(&data)?;
    let slots = json.pointer("/keyslots").and_then(|slots| slots.as_object()).map(|slots| slots.values().collect::<Vec<_>>());
    match slots.as_deref() {
        Some([slot]) if slot.pointer("/kdf/type") == Some(&"pbkdf2".into()) => {}
        other => return Err(Failure(format!("keyslots after rotation: {other:?}"))),
    }
    let vaults = vaults.without_previous();
    let after = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.header-auth=require").tasks("read").run()?;
    after.line("cvm-tests: marker is of-cryptsetup")?;
    assert_field(&after.boot_report()?, "/data/open_mode", &"opened")
}

pub(super) fn upgraded_image_is_denied_until_promoted(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::provisioned(&context.artifacts, 2, 3)?);
    let image = || Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
    image().tasks("write:kept").run()?.reached_the_real_system()?;

    // The new image has another command line, and so another RTMR2.
    let upgraded = || image().cmdline("cvm.log=debug").cmdline("cvm.vault.timeout=15s").tasks("read");
    let denied = upgraded().without_grant().run()?;
    denied.rebooted_with(51)?;
    // The old image still gets its key: a failed upgrade causes no outage.
    image().tasks("write:kept").without_grant().run()?.reached_the_real_system()?;
    vaults.grant(&upgraded().measurement()?)?;
    let opened = upgraded().without_grant().run()?;
    opened.reached_the_real_system()?;
    opened.line("cvm-tests: marker is kept")?;
    assert_field(&opened.boot_report()?, "/data/open_mode", &"opened")
}

pub(super) fn finds_its_disks_on_nvme_and_scsi(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |bus, tasks: &str| {
        let boot = Boot::new(context).data(&data, &vaults).bus(bus).cmdline("cvm.data.format=if-blank");
        boot.tasks(tasks).run()
    };
    // PID 1 finds a disk by its serial number, on any bus.
    let first = boot(Bus::Nvme, "write:moved")?;
    first.reached_the_real_system()?;
    // Each machine has two disks: the kernel may find either first, but one of them has the first name.
    first.line("nvme nvme0: pci function")?;
    for (bus, driver) in [(Bus::Scsi, "[sda] Attached SCSI disk"), (Bus::Virtio, "virtio_blk ")] {
        let result = boot(bus, "read")?;
        result.reached_the_real_system()?;
        result.line(driver)?;
        result.line("cvm-tests: marker is moved")?;
        assert_field(&result.boot_report()?, "/data/open_mode", &"opened")?;
    }
    Ok(())
}

/// A disk as an earlier version formatted it, with inode tables that were never written: the running system makes its file
/// system.
pub(super) fn initialises_inode_tables_of_an_earlier_version(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&context.folder, 3 << 30)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        boot.tasks(tasks).cpus(4).run()
    };
    boot("lazy")?.line("cvm-tests: made with lazy tables")?;
    let opened = boot("read,stress:16:40,fsck")?;
    opened.reached_the_real_system()?;
    opened.line("inode tables of this file system were never written")?;
    opened.line("cvm-tests: marker is lazy")?;
    opened.line("cvm-tests: stress ended with 0")?;
    opened.line("cvm-tests: fsck of ext4 ended with 0")?;
    opened.no_line("EXT4-fs error")?;
    let report = opened.boot_report()?;
    match report.pointer("/data/initialised_bytes").and_then(serde_json::Value::as_u64) {
        Some(32_000_000..) => Ok(()),
        other => Err(Failure(format!("initialised bytes: {other:?}"))),
    }
}

/// What an operator does about a file system with errors: check it, repair it, or boot without mounting it.
pub(super) fn checks_and_repairs_before_the_mount(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |cmdline: &[&str], tasks: &str| {
        let boot = Boot::new(context).data(&data, &vaults);
        cmdline.iter().fold(boot, |boot, argument| boot.cmdline(*argument)).tasks(tasks).run()
    };
    let first = boot(&["cvm.data.format=if-blank"], "write:kept,spoil")?;
    first.reached_the_real_system()?;
    first.line("cvm-tests: the file system has errors")?;
    let unmounted = boot(&["cvm.data.open=no-mount"], "unmounted")?;
    unmounted.reached_the_real_system()?;
    unmounted.line("cvm-tests: /data is not mounted, the open disk is ext4")?;
    assert_field(&unmounted.boot_report()?, "/data/mount", &serde_json::Value::Null)?;
    let repaired = boot(&[], "read,fsck")?;
    repaired.reached_the_real_system()?;
    repaired.line("cvm-tests: marker is kept")?;
    repaired.line("cvm-tests: fsck of ext4 ended with 0")?;
    assert_field(&repaired.boot_report()?, "/data/check", &"repaired")?;
    let forced = boot(&["cvm.data.check=force"], "read")?;
    assert_field(&forced.boot_report()?, "/data/check", &"clean")?;
    let not_checked = boot(&["cvm.data.check=no"], "read")?;
    assert_field(&not_checked.boot_report()?, "/data/check", &"not_run")
}

/// The UUID of the disk, and the time until which PID 1 formats a blank one.
pub(super) fn formats_until_a_time_and_opens_one_uuid(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |cmdline: &[&str]| {
        let boot = Boot::new(context).data(&data, &vaults);
        cmdline.iter().fold(boot, |boot, argument| boot.cmdline(*argument)).tasks("write:kept").run()
    };
    let late = boot(&["cvm.data.format=if-blank", "cvm.data.format-until=2026-01-01T00:00:00Z"])?;
    late.powered_off_with(72)?;
    data.expect_blank()?;
    let first = boot(&["cvm.data.format=if-blank", "cvm.data.format-until=2099-01-01T00:00:00Z"])?;
    first.reached_the_real_system()?;
    let report = first.boot_report()?;
    let uuid = report.pointer("/data/luks_uuid").and_then(serde_json::Value::as_str).unwrap_or_default();
    boot(&[&format!("cvm.data.uuid={uuid}")])?.reached_the_real_system()?;
    boot(&["cvm.data.uuid=00112233-4455-6677-8899-aabbccddeeff"])?.powered_off_with(89)?;
    boot(&["cvm.data.mount=/var/data"])?.powered_off_with(26)?;
    boot(&["cvm.data.mount=/srv/none"])?.powered_off_with(78)
}
