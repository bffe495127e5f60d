//! A data disk that the host changed, swapped, cloned, enlarged or truncated.

use std::path::Path;
use std::time::Duration;

use failure::FailureAction::{PowerOff, Reboot};

use super::TestContext;
use super::root::assert_field;
use crate::disk::rewrite_header;
use crate::{Boot, Context, DataDisk, Failure, Vaults};

/// The first entry of dm-integrity's journal, behind the header area and dm-integrity's superblock.
const JOURNAL: u64 = (16 << 20) + 4096;

/// A disk that cvm-init formatted, with a marker on it.
fn formatted(context: &TestContext, vaults: &Vaults) -> Result<DataDisk, Failure> {
    let data = DataDisk::blank(&context.folder)?;
    let boot = Boot::new(context).data(&data, vaults).cmdline("cvm.data.format=if-blank");
    boot.tasks("write:kept,files:kept:4").run()?.reached_the_real_system()?;
    Ok(data)
}

/// The image that the disk belongs to, which formats blank disks.
fn image<'a>(context: &'a TestContext, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(context).data(data, vaults).cmdline("cvm.data.format=if-blank")
}

pub(super) fn refuses_a_rewritten_header(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = formatted(context, &vaults)?;
    let null = ("\"encryption\":\"aes-xts-plain64\",\"key_size\":64", "\"encryption\":\"cipher_null-ecb\",\"key_size\":64");
    let cases = [
        // CVE-2025-59054 and similar. PID 1 rejects the header before it contacts a vault.
        ("null keyslot cipher", null, 75, false),
        // Allowed in a header, but not what was authenticated.
        ("dearer key derivation", ("\"iterations\":1000", "\"iterations\":9000"), 85, true),
        ("token of another state", ("\"state\":\"ready\"", "\"state\":\"formatting\""), 85, true),
        ("token removed", ("cvm-init.seal", "privasys-vault"), 84, false),
    ];
    for (name, (from, to), code, asked) in cases {
        let copy = data.copy("spoiled.raw")?;
        rewrite_header(&copy, from, to)?;
        let result = image(context, &copy, &vaults).run()?;
        let result = result.powered_off_with(code).and(if asked { Ok(()) } else { result.no_line("phase unlock") });
        result.map_err(|failure| Failure(format!("{name}: {failure}")))?;
    }
    // Changed key material under an unchanged header.
    data.flip(32768 + 5000)?;
    image(context, &data, &vaults).run()?.powered_off_with(85)
}

/// Restores as documented: the current header over a backup from before a rotation, and over a disk without header.
pub(super) fn restores_a_backup_from_before_a_rotation(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = formatted(context, &vaults)?;
    let backup = data.copy("backup.raw")?;
    let vaults = vaults.rotating()?;
    let rotated = Boot::new(context).data(&data, &vaults).tasks("write:after").run()?;
    assert_field(&rotated.boot_report()?, "/data/open_mode", &"rotated")?;

    let vaults = vaults.without_previous();
    // The current key does not open the old keyslot, and PID 1 formats nothing.
    image(context, &backup, &vaults).run()?.powered_off_with(85)?;
    let header = context.folder.join("today.header");
    cvmctl(context, &["header", "save"], &[data.file(), &header])?;
    cvmctl(context, &["header", "restore", "--unauthenticated"], &[&header, backup.file()])?;
    let restored = image(context, &backup, &vaults).tasks("read,check").run()?;
    restored.reached_the_real_system()?;
    restored.line("cvm-tests: marker is kept")?;
    restored.line("cvm-tests: whole kept-4")?;

    data.write(0, &vec![0; 16 << 20])?;
    image(context, &data, &vaults).run()?.powered_off_with(73)?;
    cvmctl(context, &["header", "restore", "--unauthenticated", "--replace-damaged"], &[&header, data.file()])?;
    let restored = image(context, &data, &vaults).tasks("read").run()?;
    restored.line("cvm-tests: marker is after").map(drop)
}

fn cvmctl(context: &TestContext, arguments: &[&str], files: &[&Path]) -> Result<(), Failure> {
    let program = context.artifacts.top.join("target/programs/cvmctl");
    let result = std::process::Command::new(program).args(arguments).args(files).output().context("starting cvmctl")?;
    if result.status.success() {
        return Ok(());
    }
    Err(Failure(format!(
        "cvmctl {arguments:?}: {}: {}{}",
        result.status,
        String::from_utf8_lossy(&result.stdout),
        String::from_utf8_lossy(&result.stderr)
    )))
}

/// Another machine that has the disk open writes to it between PID 1's first read and its opening.
pub(super) fn refuses_a_disk_that_another_machine_writes_to(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = formatted(context, &vaults)?;
    let boot = image(context, &data, &vaults).cmdline("cvm.debug=timeline").tasks("read");
    let result = boot.run_with(|vm| {
        vm.console()
            .wait_for("data: header read", Duration::from_secs(90))
            .context("waiting for the first read of the header")?;
        data.flip((16 << 20) + (1 << 20))
    })?;
    result.rebooted_with(83)?;
    result.line("another machine has it open").map(drop)
}

pub(super) fn repairs_a_torn_header_copy(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = formatted(context, &vaults)?;
    let whole = data.read(4096, 12 << 10)?;
    data.flip(4096 + 100)?;
    let result = image(context, &data, &vaults).tasks("read").run()?;
    result.line("cvm-tests: marker is kept")?;
    assert_field(&result.boot_report()?, "/data/header_authenticated", &true)?;
    // Each copy has its own salt, so the copies differ; their JSON does not.
    if data.read(4096, 12 << 10)? == whole { Ok(()) } else { Err(Failure("the copy of the header was not repaired".to_owned())) }
}

pub(super) fn flipped_bits_never_give_wrong_data(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = formatted(context, &vaults)?;
    // Behind the header area: dm-integrity's superblock, its journal, and interleaved tags and data. Every eighth written block,
    // so that each file is hit.
    let start = 16 << 20;
    let written: Vec<u64> = blocks(&data, start + (64 << 10))?;
    let spoiled = data.copy("spoiled.raw")?;
    for at in written.iter().step_by(8) {
        spoiled.flip(at + 1000)?;
    }
    let result = image(context, &spoiled, &vaults).tasks("check").run()?;
    result.no_line("cvm-tests: wrong")?;
    result.no_line("formatting")?;
    match result.line("cvm-tests: unreadable") {
        Ok(_) => {}
        Err(_) => result.stopped_with_one_of(&[
            (71, Reboot),
            (76, Reboot),
            (76, PowerOff),
            (77, Reboot),
            (77, PowerOff),
            (86, Reboot),
            (86, PowerOff),
        ])?,
    }
    // With a changed superblock the mapping fails or reads nothing as valid.
    data.flip(start + 8)?;
    let result = image(context, &data, &vaults).tasks("check").run()?;
    result.no_line("cvm-tests: wrong")?;
    result.no_line("formatting")
}

/// Offsets of the 4,096-byte blocks with content, from `start` to about the end of a disk of 160 MiB.
pub(super) fn blocks(data: &DataDisk, start: u64) -> Result<Vec<u64>, Failure> {
    let length = usize::try_from((144_u64 << 20) - (64 << 10)).unwrap_or(0);
    let bytes = data.read(start, length)?;
    let written = bytes.chunks(4096).zip((start..).step_by(4096)).filter(|(block, _)| block.iter().any(|byte| *byte != 0));
    Ok(written.map(|(_, at)| at).collect())
}

pub(super) fn swapped_and_cloned_disks_are_refused(context: &TestContext) -> Result<(), Failure> {
    let (vaults, others) = (Vaults::up(&context.artifacts, 2, 3)?, Vaults::up(&context.artifacts, 2, 3)?);
    let data = formatted(context, &vaults)?;
    image(context, &data, &others).run()?.powered_off_with(85)?;
    let clone = data.copy("clone.raw")?;
    let result = image(context, &data, &vaults).disk(clone.attached_as("data")).run()?;
    result.powered_off_with(70)?;
    result.line("exists more than once")?;
    Ok(())
}

pub(super) fn handles_larger_and_smaller_disks(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = formatted(context, &vaults)?;
    data.resize(200 << 20)?;
    let larger = image(context, &data, &vaults).tasks("read,check,close").run()?;
    larger.line("cvm-tests: marker is kept")?;
    larger.line("cvm-tests: the disk is closed")?;
    assert_field(&larger.boot_report()?, "/data/open_mode", &"opened")?;
    data.resize(160 << 20)?;
    // A journal entry for a sector that only the larger disk has, as a power cut leaves it: the kernel would drop it silently.
    let unused = data.read(JOURNAL, 8)?;
    data.write(JOURNAL, &350_000_u64.to_le_bytes())?;
    let before = data.read(0, 20 << 20)?;
    let unreplayed = image(context, &data, &vaults).run()?;
    unreplayed.powered_off_with(79)?;
    unreplayed.line("its journal still holds what was written behind that")?;
    if data.read(0, 20 << 20)? != before {
        return Err(Failure("the disk was written to".to_owned()));
    }
    data.write(JOURNAL, &unused)?;
    image(context, &data, &vaults).tasks("read,close").run()?.line("cvm-tests: marker is kept")?;
    data.resize(100 << 20)?;
    image(context, &data, &vaults).run()?.powered_off_with(79)
}

pub(super) fn refuses_an_older_header_under_the_current_key(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = formatted(context, &vaults)?;
    let older = data.read(0, 1 << 20)?;
    let vaults = vaults.rotating()?;
    let rotated = Boot::new(context).data(&data, &vaults).tasks("read").run()?;
    rotated.line("cvm-tests: marker is kept")?;
    assert_field(&rotated.boot_report()?, "/data/open_mode", &"rotated")?;
    assert_field(&rotated.boot_report()?, "/unlock_previous/threshold", &2)?;
    let again = Boot::new(context).data(&data, &vaults).tasks("read").run()?;
    assert_field(&again.boot_report()?, "/data/open_mode", &"opened")?;
    // The host restores the old header: an image that knows only the new key refuses it.
    data.write(0, &older)?;
    let vaults = vaults.without_previous();
    Boot::new(context).data(&data, &vaults).run()?.powered_off_with(85)
}
