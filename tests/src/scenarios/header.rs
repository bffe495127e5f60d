//! A data disk that its host has changed, swapped, cloned or cut to size.

use std::path::Path;
use std::time::Duration;

use super::Stage;
use super::root::assert_field;
use crate::disk::rewrite_header;
use crate::{Boot, DataDisk, Doing, Failure, Vaults};

/// The first entry of dm-integrity's journal, behind the header area and dm-integrity's superblock.
const JOURNAL: u64 = (16 << 20) + 4096;

/// A disk of ours with a marker on it.
fn formatted(stage: &Stage, vaults: &Vaults) -> Result<DataDisk, Failure> {
    let data = DataDisk::blank(&stage.folder)?;
    let boot = Boot::new(stage).data(&data, vaults).word("cvm.data.format=if-blank");
    boot.tasks("write:kept,files:kept:4").run()?.reached_the_real_system()?;
    Ok(data)
}

/// The image whose disk it is: it would format, were the disk blank.
fn image<'a>(stage: &'a Stage, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(stage).data(data, vaults).word("cvm.data.format=if-blank")
}

pub(super) fn refuses_a_rewritten_header(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = formatted(stage, &vaults)?;
    let null = ("\"encryption\":\"aes-xts-plain64\",\"key_size\":64", "\"encryption\":\"cipher_null-ecb\",\"key_size\":64");
    let cases = [
        // CVE-2025-59054 and kin. The header is judged before the network is up: no vault is asked.
        ("null keyslot cipher", null, 75, false),
        // Allowed by the list, but not what the token authenticates.
        ("dearer key derivation", ("\"iterations\":1000", "\"iterations\":9000"), 85, true),
        ("token of another state", ("\"state\":\"ready\"", "\"state\":\"formatting\""), 85, true),
        ("token removed", ("cvm-init.seal", "privasys-vault"), 84, false),
    ];
    for (name, (from, to), code, asked) in cases {
        let copy = data.copy("spoiled.raw")?;
        rewrite_header(&copy, from, to)?;
        let ended = image(stage, &copy, &vaults).run()?;
        let ended = ended.powered_off_with(code).and(if asked { Ok(()) } else { ended.no_line("phase unlock") });
        ended.map_err(|failure| Failure(format!("{name}: {failure}")))?;
    }
    // Key material that was changed, under a header that was not.
    data.flip(32768 + 5000)?;
    image(stage, &data, &vaults).run()?.powered_off_with(85)
}

/// The words of the README, typed as they stand: today's header over a backup from before a rotation, and over a disk that has none.
pub(super) fn restores_a_backup_from_before_a_rotation(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = formatted(stage, &vaults)?;
    let backup = data.copy("backup.raw")?;
    let vaults = vaults.rotating()?;
    let rotated = Boot::new(stage).data(&data, &vaults).tasks("write:after").run()?;
    assert_field(&rotated.receipt()?, "/data/open_mode", &"rotated")?;

    let vaults = vaults.rotated();
    // The key of today does not open the keyslot of then, and nothing is formatted because of that.
    image(stage, &backup, &vaults).run()?.powered_off_with(85)?;
    let header = stage.folder.join("today.header");
    cvmctl(stage, &["header", "save"], &[data.file(), &header])?;
    cvmctl(stage, &["header", "restore", "--unauthenticated"], &[&header, backup.file()])?;
    let restored = image(stage, &backup, &vaults).tasks("read,check").run()?;
    restored.reached_the_real_system()?;
    restored.line("cvm-tests: marker is kept")?;
    restored.line("cvm-tests: whole kept-4")?;

    data.write(0, &vec![0; 16 << 20])?;
    image(stage, &data, &vaults).run()?.powered_off_with(73)?;
    cvmctl(stage, &["header", "restore", "--unauthenticated", "--replace-damaged"], &[&header, data.file()])?;
    let restored = image(stage, &data, &vaults).tasks("read").run()?;
    restored.line("cvm-tests: marker is after").map(drop)
}

fn cvmctl(stage: &Stage, words: &[&str], files: &[&Path]) -> Result<(), Failure> {
    let program = stage.artifacts.top.join("target/programs/cvmctl");
    let ended = std::process::Command::new(program).args(words).args(files).output().doing("starting cvmctl")?;
    if ended.status.success() {
        return Ok(());
    }
    Err(Failure(format!(
        "cvmctl {words:?}: {}: {}{}",
        ended.status,
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    )))
}

/// Somebody writes to the disk between the first look at it and its opening, as a machine does that has it open.
pub(super) fn refuses_a_disk_that_another_machine_writes_to(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = formatted(stage, &vaults)?;
    let boot = image(stage, &data, &vaults).word("cvm.debug=timeline").tasks("read");
    let ended = boot.run_with(|vm| {
        vm.console().wait_for("data: header read", Duration::from_secs(90)).doing("the first look")?;
        data.flip((16 << 20) + (1 << 20))
    })?;
    ended.rebooted_with(83)?;
    ended.line("another machine has it open").map(drop)
}

pub(super) fn mends_a_torn_header_copy(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = formatted(stage, &vaults)?;
    let whole = data.read(4096, 12 << 10)?;
    data.flip(4096 + 100)?;
    let ended = image(stage, &data, &vaults).tasks("read").run()?;
    ended.line("cvm-tests: marker is kept")?;
    assert_field(&ended.receipt()?, "/data/header_authenticated", &true)?;
    // The salt of a copy is its own, so the mended one is not the same to the byte; its metadata is.
    if data.read(4096, 12 << 10)? == whole { Ok(()) } else { Err(Failure("the copy was not mended".to_owned())) }
}

pub(super) fn flipped_bits_are_never_wrong_data(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = formatted(stage, &vaults)?;
    // Behind the header area: dm-integrity's superblock, its journal, and tags and data as they are interleaved. Every
    // eighth block that was ever written, so that each file is hit.
    let start = 16 << 20;
    let written: Vec<u64> = blocks(&data, start + (64 << 10))?;
    let spoiled = data.copy("spoiled.raw")?;
    for at in written.iter().step_by(8) {
        spoiled.flip(at + 1000)?;
    }
    let ended = image(stage, &spoiled, &vaults).tasks("check").run()?;
    ended.no_line("cvm-tests: wrong")?;
    ended.no_line("formatting")?;
    match ended.line("cvm-tests: unreadable") {
        Ok(_) => {}
        Err(_) => ended.stopped_with_one_of(&[71, 76, 77, 86])?,
    }
    // The superblock: either a mapping that is refused, or one that reads nothing as good.
    data.flip(start + 8)?;
    let ended = image(stage, &data, &vaults).tasks("check").run()?;
    ended.no_line("cvm-tests: wrong")?;
    ended.no_line("formatting")
}

/// The 4,096-byte blocks from `start` on that are not zero.
/// The blocks of 4,096 bytes from `start` to the end of a disk of 160 MiB, or as far on a larger one, that hold anything.
pub(super) fn blocks(data: &DataDisk, start: u64) -> Result<Vec<u64>, Failure> {
    let length = usize::try_from((144_u64 << 20) - (64 << 10)).unwrap_or(0);
    let bytes = data.read(start, length)?;
    let written = bytes.chunks(4096).zip((start..).step_by(4096)).filter(|(block, _)| block.iter().any(|byte| *byte != 0));
    Ok(written.map(|(_, at)| at).collect())
}

pub(super) fn swapped_and_cloned_disks_are_refused(stage: &Stage) -> Result<(), Failure> {
    let (vaults, others) = (Vaults::up(&stage.artifacts, 2, 3)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let data = formatted(stage, &vaults)?;
    image(stage, &data, &others).run()?.powered_off_with(85)?;
    let clone = data.copy("clone.raw")?;
    let ended = image(stage, &data, &vaults).disk(clone.attached_as("data")).run()?;
    ended.powered_off_with(70)?;
    ended.line("exists more than once")?;
    Ok(())
}

pub(super) fn other_sizes_end_as_they_must(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = formatted(stage, &vaults)?;
    data.resize(200 << 20)?;
    let larger = image(stage, &data, &vaults).tasks("read,check,close").run()?;
    larger.line("cvm-tests: marker is kept")?;
    larger.line("cvm-tests: the disk is closed")?;
    assert_field(&larger.receipt()?, "/data/open_mode", &"opened")?;
    data.resize(160 << 20)?;
    // An entry of dm-integrity's journal for a sector that only the larger disk has, as a power cut leaves it: the kernel would drop it.
    let unused = data.read(JOURNAL, 8)?;
    data.write(JOURNAL, &350_000_u64.to_le_bytes())?;
    let before = data.read(0, 20 << 20)?;
    let unreplayed = image(stage, &data, &vaults).run()?;
    unreplayed.powered_off_with(79)?;
    unreplayed.line("its journal still holds what was written behind that")?;
    if data.read(0, 20 << 20)? != before {
        return Err(Failure("the disk was written to".to_owned()));
    }
    data.write(JOURNAL, &unused)?;
    image(stage, &data, &vaults).tasks("read,close").run()?.line("cvm-tests: marker is kept")?;
    data.resize(100 << 20)?;
    image(stage, &data, &vaults).run()?.powered_off_with(79)
}

pub(super) fn an_older_header_is_not_the_current_keys(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = formatted(stage, &vaults)?;
    let older = data.read(0, 1 << 20)?;
    let vaults = vaults.rotating()?;
    let rotated = Boot::new(stage).data(&data, &vaults).tasks("read").run()?;
    rotated.line("cvm-tests: marker is kept")?;
    assert_field(&rotated.receipt()?, "/data/open_mode", &"rotated")?;
    assert_field(&rotated.receipt()?, "/unlock_previous/threshold", &2)?;
    let again = Boot::new(stage).data(&data, &vaults).tasks("read").run()?;
    assert_field(&again.receipt()?, "/data/open_mode", &"opened")?;
    // The host puts the header of before back: an image that knows the new key only refuses it.
    data.write(0, &older)?;
    let vaults = vaults.rotated();
    Boot::new(stage).data(&data, &vaults).run()?.powered_off_with(85)
}
