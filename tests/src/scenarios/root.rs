//! The verified root, and what a host can do to it.

use std::os::unix::fs::FileExt as _;

use super::TestContext;
use crate::{Boot, BootResult, Context, Failure, KernelSeries, RootDisk};

pub(super) fn boots_without_a_data_disk(context: &TestContext) -> Result<(), Failure> {
    let result = Boot::new(context).tasks("mounts").run()?;
    result.reached_the_real_system()?;
    result.line("mounts| /dev/dm-0 / erofs ro,nodev")?;
    let report = result.boot_report()?;
    assert_field(&report, "/root_hash", &context.artifacts.root_hash)?;
    assert_field(&report, "/data", &serde_json::Value::Null)
}

pub(super) fn stops_at_a_wrong_root_hash(context: &TestContext) -> Result<(), Failure> {
    // The partitions' UUIDs are the root hash, so PID 1 finds none with a wrong hash. Every digit is changed.
    let other = |digit: char| if digit == '0' { '1' } else { '0' };
    let wrong = context.artifacts.root_hash.chars().map(other).collect();
    Boot::new(context).root_hash(wrong).run()?.rebooted_with(30)
}

pub(super) fn stops_at_a_changed_first_block(context: &TestContext) -> Result<(), Failure> {
    let root = RootDisk::with_flipped_byte(&context.artifacts, &context.folder, context.artifacts.root.0 + 1100)?;
    Boot::new(context).root(root).run()?.powered_off_with(35)
}

pub(super) fn panics_at_a_changed_block_read_later(context: &TestContext) -> Result<(), Failure> {
    // The leaves of the hash tree cover every block of the root: this one is read after the first block.
    let root = RootDisk::with_flipped_byte(&context.artifacts, &context.folder, context.artifacts.hashes.0 + 3 * 4096)?;
    let result = Boot::new(context).root(root).run()?;
    result.no_line("cvm-tests: done")?;
    result.line("Kernel panic - not syncing: dm-verity device")?;
    Ok(())
}

pub(super) fn panics_at_a_block_that_the_host_does_not_read(context: &TestContext) -> Result<(), Failure> {
    // A data block, of the program that is the real init.
    let result = Boot::new(context).root(RootDisk::unreadable_at(&context.artifacts, task_program(context)?)).run()?;
    let panicked = |result: &BootResult| result.line("Kernel panic - not syncing: dm-verity device has I/O error").map(drop);
    result.no_line("cvm-init: E").and(panicked(&result))?;
    // A block of hashes. Linux 6.12 may read it ahead together with the hashes of the first block; then PID 1 sees the failure.
    let hashes = context.artifacts.hashes.0 + 3 * 4096;
    let result = Boot::new(context).root(RootDisk::unreadable_at(&context.artifacts, hashes)).run()?;
    result.no_line("cvm-tests: done")?;
    match context.artifacts.series {
        KernelSeries::Backports => result.no_line("cvm-init: E").and(panicked(&result)),
        KernelSeries::Stable => result.no_line("cvm-init: E").and(panicked(&result)).or_else(|_| unread(&result)),
    }?;
    // The first data block, which PID 1 reads to check the root hash: an unreadable block must not be reported as a wrong root.
    unread(&Boot::new(context).root(RootDisk::unreadable_at(&context.artifacts, context.artifacts.root.0)).run()?)
}

/// Expects that PID 1 reports an unreadable first block, and not a wrong root.
fn unread(result: &BootResult) -> Result<(), Failure> {
    result.rebooted_with(37)?;
    result.no_line("does not match the measured root hash")?;
    result.line("E37 root: the disk failed to read the first block: read /dev/dm-0: ").map(drop)
}

/// Offset in the image of the task program, found by its first comment.
fn task_program(context: &TestContext) -> Result<u64, Failure> {
    const COMMENT: &[u8] = b"Runs the tasks in `cvm-tests.task=`";
    let image = std::fs::read(&context.artifacts.image).context("reading the image")?;
    let found = image.windows(COMMENT.len()).position(|part| part == COMMENT);
    let found = found.ok_or_else(|| Failure("the image does not contain the text of the task program".to_owned()))?;
    u64::try_from(found).context("converting an offset")
}

pub(super) fn refuses_fewer_data_blocks_under_the_same_hash(context: &TestContext) -> Result<(), Failure> {
    const FIELD: u64 = 72;
    let image = std::fs::File::open(&context.artifacts.image).context("reading the image")?;
    let mut field = [0; 8];
    image.read_exact_at(&mut field, context.artifacts.hashes.0 + FIELD).context("reading the verity superblock")?;
    let blocks = u64::from_le_bytes(field);
    // The smallest number of blocks that keeps the shape of the tree, so that the root hash stays the same.
    let fewer = (blocks - 1) / 128 * 128 + 1;
    if fewer == blocks {
        return Err(Failure(format!("the hash tree needs all {blocks} data blocks: rebuild the image with another size")));
    }
    let offset = context.artifacts.hashes.0 + FIELD;
    let root = RootDisk::with_bytes(&context.artifacts, &context.folder, offset, &fewer.to_le_bytes())?;
    let result = Boot::new(context).root(root).run()?;
    result.powered_off_with(33)?;
    result.line(&format!("data of {} bytes, and the verified file system has {}", fewer * 4096, blocks * 4096)).map(drop)
}

/// Expects a field of the boot report, by JSON pointer.
pub(super) fn assert_field<T>(report: &serde_json::Value, pointer: &str, want: &T) -> Result<(), Failure>
where
    serde_json::Value: PartialEq<T>,
    T: std::fmt::Debug,
{
    match report.pointer(pointer) {
        Some(value) if value == want => Ok(()),
        other => Err(Failure(format!("{pointer} of the boot report: expected {want:?}, found {other:?}"))),
    }
}
