//! A disk that the host makes larger, and smaller again.

use serde_json::Value;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Ended, Failure, Vaults};

/// As the disk is formatted.
const SMALL: u64 = 512 << 20;
/// As it becomes: not a multiple of anything that a file system or dm-integrity counts in.
const LARGE: u64 = (3 << 30) + (5 << 20) + 12 * 4096;

/// Boots a disk that stays as it is on a larger one, then grows, and then needs its size.
struct Play<'a> {
    stage: &'a Stage,
    kind: &'a str,
    data: DataDisk,
    vaults: Vaults,
}

impl<'a> Play<'a> {
    fn new(stage: &'a Stage, kind: &'a str) -> Result<Self, Failure> {
        let (data, vaults) = (DataDisk::blank_of(&stage.folder, SMALL)?, Vaults::up(&stage.artifacts, 2, 3)?);
        Ok(Self { stage, kind, data, vaults })
    }

    fn boot(&self, bytes: u64, words: &[&str], tasks: &str) -> Result<Ended, Failure> {
        self.data.resize(bytes)?;
        let boot = Boot::new(self.stage).data(&self.data, &self.vaults).cpus(4);
        let boot = boot.word(format!("cvm.data.fstype={}", self.kind)).tasks(tasks);
        words.iter().fold(boot, |boot, word| boot.word(*word)).run()
    }

    /// The same, and the files that were there from the start are whole, and nothing was read that was never written.
    fn keeps(&self, bytes: u64, words: &[&str], tasks: &str) -> Result<Value, Failure> {
        let ended = self.boot(bytes, words, tasks)?;
        ended.reached_the_real_system()?;
        ended.line("cvm-tests: whole kept-2")?;
        ended.no_line("INTEGRITY AEAD ERROR")?;
        ended.no_line("EXT4-fs error")?;
        if tasks.contains("stress") {
            ended.line("cvm-tests: stress ended with 0")?;
        }
        if tasks.contains("fsck") {
            ended.line(&format!("cvm-tests: fsck of {} ended with 0", self.kind))?;
        }
        ended.receipt()
    }
}

fn number(receipt: &Value, field: &str) -> Result<u64, Failure> {
    let found = receipt.pointer(field).and_then(Value::as_u64);
    found.ok_or_else(|| Failure(format!("{field} is no number: {:?}", receipt.pointer(field))))
}

/// Formatted small; larger for a while, small again; larger and grown; then too small, and larger again.
pub(super) fn grows_with_its_disk_on_ext4(stage: &Stage) -> Result<(), Failure> {
    let play = Play::new(stage, "ext4")?;
    let first = play.boot(SMALL, &["cvm.data.format=if-blank"], "files:kept:2")?;
    let small = number(&first.receipt()?, "/data/mapped_bytes")?;
    let larger = play.keeps(LARGE, &[], "check,close")?;
    assert_field(&larger, "/data/grown_from_bytes", &Value::Null)?;
    let large = number(&larger, "/data/mapped_bytes")?;
    if large < small + (2 << 30) {
        return Err(Failure(format!("{large} bytes are mapped of a disk of {LARGE}")));
    }
    let small_again = play.keeps(SMALL, &[], "check")?;
    assert_field(&small_again, "/data/mapped_bytes", &small)?;
    let grown = play.keeps(LARGE, &["cvm.data.grow=yes"], "check,stress:16:60,fsck")?;
    let before = number(&grown, "/data/grown_from_bytes")?;
    if before > small {
        return Err(Failure(format!("it grew from {before} bytes, on a disk of {small}")));
    }
    let stays = play.keeps(LARGE, &["cvm.data.grow=yes"], "check,fsck,close")?;
    assert_field(&stays, "/data/grown_from_bytes", &Value::Null)?;
    let whole = play.data.copy("whole.raw")?;
    let refused = play.boot(SMALL, &[], "check")?;
    refused.powered_off_with(79)?;
    refused.line("give the disk its former size")?;
    // The disk gets its size back, with what was on it, and with what the boot on the smaller disk has written.
    whole.write(0, &play.data.read(0, 17 << 20)?)?;
    let play = Play { data: whole, ..play };
    play.keeps(LARGE, &[], "check,fsck").map(drop)
}

/// What differs between file systems: formatted small, larger and grown, too small.
fn grows_once(stage: &Stage, kind: &str) -> Result<(), Failure> {
    let play = Play::new(stage, kind)?;
    play.boot(SMALL, &["cvm.data.format=if-blank"], "files:kept:2,close")?.line("cvm-tests: the disk is closed")?;
    let grown = play.keeps(LARGE, &["cvm.data.grow=yes"], "check,stress:16:60,fsck,close")?;
    number(&grown, "/data/grown_from_bytes")?;
    let refused = play.boot(SMALL, &[], "check")?;
    refused.powered_off_with(79)?;
    refused.line("give the disk its former size").map(drop)
}

pub(super) fn grows_with_its_disk_on_xfs(stage: &Stage) -> Result<(), Failure> {
    grows_once(stage, "xfs")
}

pub(super) fn grows_with_its_disk_on_btrfs(stage: &Stage) -> Result<(), Failure> {
    grows_once(stage, "btrfs")
}
