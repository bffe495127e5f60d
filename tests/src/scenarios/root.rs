//! The verified root and what a host does to it.

use std::os::unix::fs::FileExt as _;

use super::Stage;
use crate::{Boot, Doing, Ended, Failure, KernelLine, RootDisk};

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
    Boot::new(stage).root_hash(wrong).run()?.rebooted_with(30)
}

pub(super) fn stops_at_a_changed_first_block(stage: &Stage) -> Result<(), Failure> {
    let root = RootDisk::with_flipped_byte(&stage.artifacts, &stage.folder, stage.artifacts.root.0 + 1100)?;
    Boot::new(stage).root(root).run()?.powered_off_with(35)
}

pub(super) fn panics_at_a_changed_block_read_later(stage: &Stage) -> Result<(), Failure> {
    // The hash tree's leaves hold every block of the root to account: spoil one that is read after the first block was.
    let root = RootDisk::with_flipped_byte(&stage.artifacts, &stage.folder, stage.artifacts.hashes.0 + 3 * 4096)?;
    let ended = Boot::new(stage).root(root).run()?;
    ended.no_line("cvm-tests: done")?;
    ended.line("Kernel panic - not syncing: dm-verity device")?;
    Ok(())
}

pub(super) fn panics_at_a_block_that_the_host_does_not_read(stage: &Stage) -> Result<(), Failure> {
    // A block of data: of the program that is to be the real init.
    let ended = Boot::new(stage).root(RootDisk::unreadable_at(&stage.artifacts, task_program(stage)?)).run()?;
    let panicked = |ended: &Ended| ended.line("Kernel panic - not syncing: dm-verity device has I/O error").map(drop);
    ended.no_line("cvm-init: E").and(panicked(&ended))?;
    // A block of hashes. Linux 6.12 reads it ahead in one request with those of the first block, which fails as a whole where the
    // image's size puts them together: PID 1 sees it then.
    let hashes = stage.artifacts.hashes.0 + 3 * 4096;
    let ended = Boot::new(stage).root(RootDisk::unreadable_at(&stage.artifacts, hashes)).run()?;
    ended.no_line("cvm-tests: done")?;
    match stage.artifacts.line {
        KernelLine::Backports => ended.no_line("cvm-init: E").and(panicked(&ended)),
        KernelLine::Stable => panicked(&ended).or_else(|_| unread(&ended)),
    }?;
    // The first block of data, which PID 1 reads to tell a wrong root from a right one: a disk that does not read is neither.
    unread(&Boot::new(stage).root(RootDisk::unreadable_at(&stage.artifacts, stage.artifacts.root.0)).run()?)
}

/// The disk did not read the first block, and nothing says that the root is another.
fn unread(ended: &Ended) -> Result<(), Failure> {
    ended.rebooted_with(37)?;
    ended.no_line("does not match the measured root hash")?;
    ended.line("E37 root: the disk failed to read the first block: read /dev/dm-0: ").map(drop)
}

/// Where in the image the task program begins, whose first comment no other file has.
fn task_program(stage: &Stage) -> Result<u64, Failure> {
    const COMMENT: &[u8] = b"Does what `cvm-tests.task=`";
    let image = std::fs::read(&stage.artifacts.image).doing("the image")?;
    let found = image.windows(COMMENT.len()).position(|part| part == COMMENT);
    let found = found.ok_or_else(|| Failure("the task program is not in the image as it is".to_owned()))?;
    u64::try_from(found).doing("offset")
}

pub(super) fn refuses_fewer_data_blocks_under_the_same_hash(stage: &Stage) -> Result<(), Failure> {
    const FIELD: u64 = 72;
    let image = std::fs::File::open(&stage.artifacts.image).doing("the image")?;
    let mut field = [0; 8];
    image.read_exact_at(&mut field, stage.artifacts.hashes.0 + FIELD).doing("the superblock of the hashes")?;
    let blocks = u64::from_le_bytes(field);
    // As few as one block of hashes less would not have: the tree keeps its shape, and the root hash stays right.
    let fewer = (blocks - 1) / 128 * 128 + 1;
    if fewer == blocks {
        return Err(Failure(format!("{blocks} data blocks are the fewest of their tree: the scenario shows nothing")));
    }
    let offset = stage.artifacts.hashes.0 + FIELD;
    let root = RootDisk::with_bytes(&stage.artifacts, &stage.folder, offset, &fewer.to_le_bytes())?;
    let ended = Boot::new(stage).root(root).run()?;
    ended.powered_off_with(33)?;
    ended.line(&format!("data of {} bytes, and the verified file system has {}", fewer * 4096, blocks * 4096)).map(drop)
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
