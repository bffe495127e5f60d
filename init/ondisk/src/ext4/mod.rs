//! The layout of ext4: the blocks of its metadata, the blocks in use, and the parts of the inode tables without inodes.
//!
//! A sector under dm-integrity that was never written cannot be read: its tag does not verify. ext4 reads inode tables, bitmaps and a
//! journal that mkfs did not write, so the caller that makes or opens the file system needs their location. The bytes are authenticated,
//! but an attacker inside of the guest may have written them: each number is bounded before it is used.
//!
//! Source: Documentation/filesystems/ext4 of Linux 6.12 (super, group_descr, blockgroup); e2fsprogs 1.47, `lib/ext2fs/ext2_fs.h`.

mod group;
mod superblock;
#[cfg(test)]
mod tests;

pub use group::Group;
pub use superblock::{SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, Superblock};

use std::ops::Range;

/// A range of blocks of the file system.
pub type Blocks = Range<u64>;

/// The only supported block size, in bytes: the sector size of the encrypted disk, and the page size.
pub const BLOCK_BYTES: u64 = 4096;

/// Why a superblock or a group descriptor is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end inside of the structure.
    #[error("the superblock or a descriptor is truncated")]
    Truncated,
    /// No magic: another file system, or none.
    #[error("no ext4 superblock")]
    Magic,
    /// A block size other than 4,096 bytes.
    #[error("the block size is not {BLOCK_BYTES} bytes")]
    BlockSize,
    /// A feature that changes the layout and is not supported.
    #[error("feature {0} is not supported")]
    Feature(&'static str),
    /// A number that is impossible for a file system of this size.
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
    /// A group descriptor that points outside of the file system.
    #[error("the metadata of group {0} is outside of the file system")]
    Group(u64),
}

/// Sorts `ranges` and merges those that are adjacent or overlap.
#[must_use]
pub fn joined(mut ranges: Vec<Blocks>) -> Vec<Blocks> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut out: Vec<Blocks> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// Returns the ranges of set bits among the first `count` bits of `bitmap` (bit 0 is the lowest of byte 0), plus `base`.
pub(crate) fn set_bits(bitmap: &[u8], count: u64, base: u64) -> Vec<Blocks> {
    let is_set = |number: u64| {
        let byte = usize::try_from(number / 8).ok().and_then(|at| bitmap.get(at)).copied().unwrap_or(0);
        byte >> (number % 8) & 1 == 1
    };
    let (mut out, mut start) = (Vec::new(), None);
    for number in 0..count {
        match (is_set(number), start) {
            (true, None) => start = Some(number),
            (false, Some(first)) => {
                out.push(base + first..base + number);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(first) = start {
        out.push(base + first..base + count);
    }
    out
}
