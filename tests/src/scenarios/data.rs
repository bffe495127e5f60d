//! The data disk.

use machine::Bus;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Failure, Vaults};

pub(super) fn survives_a_second_boot_into_systemd(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::provisioned(&stage.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
        boot.tasks(tasks).systemd().run()
    };
    let first = boot("write:hello")?;
    first.reached_the_real_system()?;
    first.line("system-up: the real system runs")?;
    assert_field(&first.receipt()?, "/data/open_mode", &"formatted")?;

    let second = boot("read,units,status")?;
    second.reached_the_real_system()?;
    second.line("cvm-tests: marker is hello")?;
    second.line("cvm-tests: 0 failed units")?;
    // How wide the columns are depends on what udev has come to know by then.
    let mounted = |line: &String| line.contains("lsblk|") && line.contains("data-crypt ") && line.trim_end().ends_with(" /data");
    if !second.lines.iter().any(mounted) {
        return Err(Failure("lsblk does not show the data disk at /data".to_owned()));
    }
    second.line("status|   type:    LUKS2")?;
    second.line("discard data-crypt 0")?;
    // Its unit would have ended the machine.
    second.line("data-disk-mounted.service is active")?;
    // Closed cleanly at shutdown: what stays mapped to the end is the root.
    second.line("All filesystems unmounted")?;
    second.line("Not all DM devices detached, 1 left")?;
    assert_field(&second.receipt()?, "/data/open_mode", &"opened")?;
    assert_field(&second.receipt()?, "/unlock/threshold", &2)
}

/// Services must not write to memory what they take for the data disk.
pub(super) fn powers_off_when_the_data_disk_is_hidden(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    let ended = boot.word("cvm-tests.hide").systemd().run()?;
    ended.line("data-disk-mounted: /data: expected the file system of a data disk, found: tmpfs /data.")?;
    ended.no_line("system-up: the real system runs")
}

pub(super) fn leaves_a_blank_disk_blank(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    Boot::new(stage).data(&data, &vaults).run()?.powered_off_with(72)?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn refuses_a_disk_neither_blank_nor_luks(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    data.write(5 << 20, b"x")?;
    Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").run()?.powered_off_with(73)?;
    if data.read(5 << 20, 1)? == b"x" { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn refuses_to_format_under_a_key_of_anybodys(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?.uncommitted());
    let ended = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").run()?;
    ended.powered_off_with(26)?;
    ended.line("cvm.vault.key-commitment=none with cvm.data.format")?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn formats_a_large_sparse_disk(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&stage.folder, 200 << 30)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |tasks| {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
        boot.word("cvm.debug=timeline").tasks(tasks).run()
    };
    let first = boot("write:large,mounts")?;
    first.reached_the_real_system()?;
    assert_field(&first.receipt()?, "/data/header_authenticated", &true)?;
    let second = boot("read")?;
    second.line("cvm-tests: marker is large")?;
    assert_field(&second.receipt()?, "/data/header_authenticated", &true)
}

/// Formats a disk with each cipher and file system, writes to it, and opens it again under a command line that names no cipher.
fn opens_again(stage: &Stage, words: &[&str], bytes: u64) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&stage.folder, bytes)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |words: &[&str], tasks: &str| {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
        words.iter().fold(boot, |boot, word| boot.word(*word)).tasks(tasks).run()
    };
    let first = boot(words, "files:kept:3,mounts")?;
    first.reached_the_real_system()?;
    let (cipher, rest): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("cvm.data.cipher="));
    let second = boot(&rest, "check,status")?;
    second.reached_the_real_system()?;
    for number in 1..=3 {
        second.line(&format!("whole kept-{number}"))?;
    }
    assert_field(&second.receipt()?, "/data/open_mode", &"opened")?;
    assert_field(&second.receipt()?, "/data/header_authenticated", &true)?;
    // What this version and the kernel take for the size of the disk is the same.
    second.no_line("the disk's size has changed")?;
    if let Some(cipher) = cipher.first() {
        assert_field(&second.receipt()?, "/data/cipher", &cipher.trim_start_matches("cvm.data.cipher="))?;
        // A cipher that the command line names is required of an existing disk too.
        boot(&["cvm.data.cipher=xts-hmac"], "read")?.powered_off_with(75)?;
    }
    [&first, &second].into_iter().try_for_each(|ended| ended.no_line("INTEGRITY AEAD ERROR"))
}

pub(super) fn keeps_files_on_xfs_under_aegis(stage: &Stage) -> Result<(), Failure> {
    opens_again(stage, &["cvm.data.fstype=xfs", "cvm.data.cipher=aegis"], 512 << 20)
}

pub(super) fn keeps_files_on_btrfs_under_gcm(stage: &Stage) -> Result<(), Failure> {
    opens_again(stage, &["cvm.data.fstype=btrfs", "cvm.data.cipher=gcm"], 320 << 20)
}

pub(super) fn keeps_files_after_a_full_wipe(stage: &Stage) -> Result<(), Failure> {
    opens_again(stage, &["cvm.data.wipe=full"], 160 << 20)
}

pub(super) fn formats_the_smallest_disk(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&stage.folder, (32 << 20) - 4096)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = || Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").tasks("write:small");
    boot().run()?.powered_off_with(79)?;
    data.resize(32 << 20)?;
    boot().run()?.reached_the_real_system()
}

pub(super) fn opens_a_disk_that_others_made(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let key = data.copy("key.raw")?;
    key.write(0, &vaults.passphrase()?)?;
    let maker = Boot::new(stage).disk(data.attached_as("other")).disk(key.attached_as("key"));
    maker.tasks("luks").run()?.line("made by others")?;

    // Whose key it is nobody can know of a disk that others made: it is opened, and it is told.
    let vaults = vaults.uncommitted();
    let opened = Boot::new(stage).data(&data, &vaults).tasks("read").run()?;
    opened.reached_the_real_system()?;
    opened.line("cvm-tests: marker is theirs")?;
    opened.line("unlock: cvm.vault.key-commitment=none: nothing proves who owns the vaults and the disk")?;
    assert_field(&opened.receipt()?, "/unlock/key_proof", &"disk")?;
    opened.line("cvm-init: data: opened").and(opened.line(", header not authenticated"))?;
    assert_field(&opened.receipt()?, "/data/header_authenticated", &false)?;
    Boot::new(stage).data(&data, &vaults).word("cvm.data.header-auth=require").run()?.powered_off_with(84)?;

    // Rotation gives it a cheap key derivation, an authentication token, and a key that is committed to.
    let vaults = vaults.committed().rotating()?;
    let rotated = Boot::new(stage).data(&data, &vaults).tasks("read").run()?;
    rotated.line("cvm-tests: marker is theirs")?;
    assert_field(&rotated.receipt()?, "/data/open_mode", &"rotated")?;
    assert_field(&rotated.receipt()?, "/unlock_previous/key_proof", &"commitment")?;
    assert_field(&rotated.receipt()?, "/data/header_authenticated", &true)?;
    let json = crate::disk::header_json(&data)?;
    let slots = json.pointer("/keyslots").and_then(|slots| slots.as_object()).map(|slots| slots.values().collect::<Vec<_>>());
    match slots.as_deref() {
        Some([slot]) if slot.pointer("/kdf/type") == Some(&"pbkdf2".into()) => {}
        other => return Err(Failure(format!("keyslots after rotation: {other:?}"))),
    }
    let vaults = vaults.rotated();
    let after = Boot::new(stage).data(&data, &vaults).word("cvm.data.header-auth=require").tasks("read").run()?;
    after.line("cvm-tests: marker is theirs")?;
    assert_field(&after.receipt()?, "/data/open_mode", &"opened")
}

pub(super) fn upgrade_is_denied_until_promoted(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::provisioned(&stage.artifacts, 2, 3)?);
    let image = || Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    image().tasks("write:kept").run()?.reached_the_real_system()?;

    // The new image differs in its command line, so in RTMR2.
    let upgraded = || image().word("cvm.log=debug").word("cvm.vault.timeout=15s").tasks("read");
    let denied = upgraded().ungranted().run()?;
    denied.rebooted_with(51)?;
    // The old one still is let in: an upgrade that fails is no outage.
    image().tasks("write:kept").ungranted().run()?.reached_the_real_system()?;
    vaults.grant(&upgraded().measurement()?)?;
    let opened = upgraded().ungranted().run()?;
    opened.reached_the_real_system()?;
    opened.line("cvm-tests: marker is kept")?;
    assert_field(&opened.receipt()?, "/data/open_mode", &"opened")
}

pub(super) fn finds_its_disks_on_nvme_and_scsi(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |bus, tasks: &str| {
        let boot = Boot::new(stage).data(&data, &vaults).bus(bus).word("cvm.data.format=if-blank");
        boot.tasks(tasks).run()
    };
    // Formatted on one bus, opened on the others: a disk is its serial number, whatever it hangs on.
    let first = boot(Bus::Nvme, "write:moved")?;
    first.reached_the_real_system()?;
    // Two disks on each: which of them the kernel finds first, and so calls 0 or a, is a race. That there is one of that name is not.
    first.line("nvme nvme0: pci function")?;
    for (bus, driver) in [(Bus::Scsi, "[sda] Attached SCSI disk"), (Bus::Virtio, "virtio_blk ")] {
        let ended = boot(bus, "read")?;
        ended.reached_the_real_system()?;
        ended.line(driver)?;
        ended.line("cvm-tests: marker is moved")?;
        assert_field(&ended.receipt()?, "/data/open_mode", &"opened")?;
    }
    Ok(())
}

/// Disks of versions that left inode tables unwritten: mkfs as it was then, in the running system.
pub(super) fn initialises_the_tables_of_an_earlier_version(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&stage.folder, 3 << 30)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
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
    let receipt = opened.receipt()?;
    match receipt.pointer("/data/initialised_bytes").and_then(serde_json::Value::as_u64) {
        Some(32_000_000..) => Ok(()),
        other => Err(Failure(format!("initialised bytes: {other:?}"))),
    }
}

/// What an operator does with a file system that has errors: check, repair, or take the disk unmounted.
pub(super) fn checks_and_repairs_before_the_mount(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |words: &[&str], tasks: &str| {
        let boot = Boot::new(stage).data(&data, &vaults);
        words.iter().fold(boot, |boot, word| boot.word(*word)).tasks(tasks).run()
    };
    let first = boot(&["cvm.data.format=if-blank"], "write:kept,spoil")?;
    first.reached_the_real_system()?;
    first.line("cvm-tests: the file system is spoiled")?;
    let unmounted = boot(&["cvm.data.open=no-mount"], "unmounted")?;
    unmounted.reached_the_real_system()?;
    unmounted.line("cvm-tests: /data is not mounted, the open disk is ext4")?;
    assert_field(&unmounted.receipt()?, "/data/mount", &serde_json::Value::Null)?;
    let repaired = boot(&[], "read,fsck")?;
    repaired.reached_the_real_system()?;
    repaired.line("cvm-tests: marker is kept")?;
    repaired.line("cvm-tests: fsck of ext4 ended with 0")?;
    assert_field(&repaired.receipt()?, "/data/check", &"repaired")?;
    let forced = boot(&["cvm.data.check=force"], "read")?;
    assert_field(&forced.receipt()?, "/data/check", &"clean")?;
    let not_checked = boot(&["cvm.data.check=no"], "read")?;
    assert_field(&not_checked.receipt()?, "/data/check", &"not_run")
}

/// Which disk it must be, and until when a blank one is formatted.
pub(super) fn formats_until_a_time_and_opens_one_uuid(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |words: &[&str]| {
        let boot = Boot::new(stage).data(&data, &vaults);
        words.iter().fold(boot, |boot, word| boot.word(*word)).tasks("write:kept").run()
    };
    let late = boot(&["cvm.data.format=if-blank", "cvm.data.format-until=2026-01-01T00:00:00Z"])?;
    late.powered_off_with(72)?;
    if !data.is_blank()? {
        return Err(Failure("the disk was written to".to_owned()));
    }
    let first = boot(&["cvm.data.format=if-blank", "cvm.data.format-until=2099-01-01T00:00:00Z"])?;
    first.reached_the_real_system()?;
    let receipt = first.receipt()?;
    let uuid = receipt.pointer("/data/luks_uuid").and_then(serde_json::Value::as_str).unwrap_or_default();
    boot(&[&format!("cvm.data.uuid={uuid}")])?.reached_the_real_system()?;
    boot(&["cvm.data.uuid=00112233-4455-6677-8899-aabbccddeeff"])?.powered_off_with(89)?;
    boot(&["cvm.data.mount=/var/data"])?.powered_off_with(26)?;
    boot(&["cvm.data.mount=/srv/none"])?.powered_off_with(78)
}
