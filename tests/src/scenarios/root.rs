//! The verified root and what a host does to it.

use super::Stage;
use crate::{Boot, Failure, RootDisk};

pub(super) fn boots_without_a_data_disk(stage: &Stage) -> Result<(), Failure> {
    let ended = Boot::new(stage).tasks("mounts").run()?;
    ended.reached_the_real_system()?;
    ended.line("mounts| /dev/dm-0 / erofs ro,nodev")?;
    let receipt = ended.receipt()?;
    assert_field(&receipt, "/root_hash", &stage.artifacts.root_hash)?;
    assert_field(&receipt, "/data", &serde_json::Value::Null)
}

pub(super) fn stops_at_a_wrong_root_hash(stage: &Stage) -> Result<(), Failure> {
    // The partitions are named by the hash, so a wrong hash finds none unless the host renames them too; PARTLABEL= goes round
    // the name of the data partition, and the hashes are not found.
    // Every digit is another: a hash may lack any one of them.
    let other = |digit: char| if digit == '0' { '1' } else { '0' };
    let wrong = stage.artifacts.root_hash.chars().map(other).collect();
    Boot::new(stage).root_hash(wrong).run()?.stopped_with(30)
}

pub(super) fn stops_at_a_changed_first_block(stage: &Stage) -> Result<(), Failure> {
    let root = RootDisk::with_flipped_byte(&stage.artifacts, &stage.folder, stage.artifacts.root.0 + 1100)?;
    Boot::new(stage).root(root).run()?.stopped_with(35)
}

pub(super) fn panics_at_a_changed_block_read_later(stage: &Stage) -> Result<(), Failure> {
    // The hash tree's leaves hold every block of the root to account: spoil one that is read after the first block was.
    let root = RootDisk::with_flipped_byte(&stage.artifacts, &stage.folder, stage.artifacts.hashes.0 + 3 * 4096)?;
    let ended = Boot::new(stage).root(root).run()?;
    ended.no_line("cvm-tests: done")?;
    ended.line("Kernel panic - not syncing: dm-verity device")?;
    Ok(())
}

/// Expects a field of a receipt, by JSON pointer.
pub(super) fn assert_field<T>(receipt: &serde_json::Value, pointer: &str, want: &T) -> Result<(), Failure>
where
    serde_json::Value: PartialEq<T>,
    T: std::fmt::Debug,
{
    match receipt.pointer(pointer) {
        Some(value) if value == want => Ok(()),
        other => Err(Failure(format!("{pointer} of the receipt is {other:?}, not {want:?}"))),
    }
}
