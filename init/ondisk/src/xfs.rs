//! The layout of XFS: the ranges that xfs_repair reads although XFS may not have written them.
//!
//! Source: XFS Algorithms & Data Structures, "Superblocks"; big-endian.

use encoding::fields;
use std::ops::Range;

/// The number of bytes of a superblock that are parsed.
pub const SUPERBLOCK_BYTES: usize = 512;

/// How much xfs_repair reads at the start of each allocation group, in bytes (`get_sb` of xfsprogs 6.13, measured).
const HEAD: u64 = 128 << 10;

/// The most allocation groups; each has up to one terabyte.
const MOST_GROUPS: u64 = 1 << 16;

/// The error for bytes that are not a superblock of XFS, or one that does not fit its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no xfs superblock that fits the device")]
pub struct NoSuperblock;

/// The used fields of a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The size of the file system, in bytes.
    pub bytes: u64,
    /// The size of a block, in bytes.
    pub block_bytes: u64,
    /// The most space for inodes, in percent.
    pub inode_percent: u32,
    group_bytes: u64,
    groups: u64,
}

impl Superblock {
    /// Parses the first [`SUPERBLOCK_BYTES`] of the device.
    ///
    /// # Errors
    /// [`NoSuperblock`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoSuperblock> {
        let word = |at| fields::array(bytes, at).map(u32::from_be_bytes).map(u64::from);
        let read = || {
            let (magic, block, group, groups) = (word(0)?, word(4)?, word(84)?, word(88)?);
            let superblock = Self {
                bytes: fields::array(bytes, 8).map(u64::from_be_bytes)?.checked_mul(block)?,
                block_bytes: block,
                inode_percent: u32::from(*bytes.get(127)?),
                group_bytes: block.checked_mul(group)?,
                groups,
            };
            let sound = block > 0 && superblock.group_bytes >= HEAD && (1..=MOST_GROUPS).contains(&groups);
            (magic == u64::from(u32::from_be_bytes(*b"XFSB")) && sound).then_some(superblock)
        };
        read().ok_or(NoSuperblock)
    }

    /// Returns the ranges that xfs_repair reads at the start of each allocation group, in bytes.
    ///
    /// # Errors
    /// [`NoSuperblock`] when a group is not on a device of `device_bytes`.
    pub fn group_heads(&self, device_bytes: u64) -> Result<Vec<Range<u64>>, NoSuperblock> {
        let last = (self.groups - 1).checked_mul(self.group_bytes);
        if last.is_none_or(|last| last >= device_bytes) {
            return Err(NoSuperblock);
        }
        Ok((0..self.groups).map(|number| self.head(number, device_bytes)).collect())
    }

    /// Returns the same ranges of the allocation groups that the file system gets when it grows to `device_bytes`.
    #[must_use]
    pub fn new_group_heads(&self, device_bytes: u64) -> Vec<Range<u64>> {
        let groups = device_bytes.div_ceil(self.group_bytes).min(self.groups + MOST_GROUPS);
        (self.groups..groups).map(|number| self.head(number, device_bytes)).collect()
    }

    fn head(&self, group: u64, device_bytes: u64) -> Range<u64> {
        let start = group * self.group_bytes;
        start..start.saturating_add(HEAD).min(device_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{HEAD, NoSuperblock, SUPERBLOCK_BYTES, Superblock};
    use proptest::prelude::*;

    /// A superblock with blocks of 4,096 bytes.
    fn superblock(group_blocks: u32, groups: u32) -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        bytes[..4].copy_from_slice(b"XFSB");
        bytes[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        bytes[8..16].copy_from_slice(&(u64::from(group_blocks) * u64::from(groups)).to_be_bytes());
        bytes[84..88].copy_from_slice(&group_blocks.to_be_bytes());
        bytes[88..92].copy_from_slice(&groups.to_be_bytes());
        bytes
    }

    fn group_heads(bytes: &[u8], device: u64) -> Result<Vec<std::ops::Range<u64>>, NoSuperblock> {
        Superblock::parse(bytes)?.group_heads(device)
    }

    #[test]
    fn heads_are_at_the_start_of_each_group() {
        let heads = group_heads(&superblock(1000, 3), 10 << 20).unwrap();
        assert_eq!(heads, [0..HEAD, 4_096_000..4_096_000 + HEAD, 8_192_000..8_192_000 + HEAD]);
        let new = Superblock::parse(&superblock(1000, 2)).unwrap();
        assert_eq!(new.bytes, 8_192_000);
        assert_eq!(new.new_group_heads(12_288_001), [8_192_000..8_192_000 + HEAD, 12_288_000..12_288_001]);
        assert_eq!(new.new_group_heads(8_192_000), []);
        let mut other = superblock(1000, 3);
        other[0] = 0;
        let refused = [
            (other, 10 << 20),
            (superblock(1000, 3), 8_192_000),
            (superblock(1000, 0), 10 << 20),
            (superblock(1, 3), 10 << 20),
            (superblock(u32::MAX, u32::MAX), u64::MAX),
            (Vec::new(), 10 << 20),
        ];
        for (bytes, device) in refused {
            assert_eq!(group_heads(&bytes, device), Err(NoSuperblock));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_give_ranges_inside_of_the_device_or_an_error(group: u32, groups in 0_u32..100, device: u64) {
            if let Ok(heads) = group_heads(&superblock(group, groups), device) {
                let new = Superblock::parse(&superblock(group, groups)).unwrap().new_group_heads(device);
                prop_assert!(heads.iter().chain(&new).all(|head| head.start < head.end && head.end <= device));
            }
        }
    }
}
