//! The layout of xfs, as far as its repair tool reads more than xfs wrote.
//!
//! Source: XFS Algorithms & Data Structures, "Superblocks"; big-endian.

use crate::bytes;
use std::ops::Range;

/// The size of what is read of a superblock here, in bytes.
pub const SUPERBLOCK_BYTES: usize = 512;

/// What xfs_repair reads at once at the start of each allocation group, in bytes (`get_sb` of xfsprogs 6.13, seen).
const HEAD: u64 = 128 << 10;

/// Allocation groups: a terabyte each on disks that have so many.
const MOST_GROUPS: u64 = 1 << 16;

/// Bytes that are no superblock of xfs, or one that does not fit its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no xfs superblock that fits the device")]
pub struct NoSuperblock;

/// The start of each allocation group, in bytes: what the superblock in the first [`SUPERBLOCK_BYTES`] of a device of
/// `device_bytes` says.
///
/// # Errors
/// [`NoSuperblock`].
pub fn group_heads(superblock: &[u8], device_bytes: u64) -> Result<Vec<Range<u64>>, NoSuperblock> {
    let word = |at| bytes::array(superblock, at).map(u32::from_be_bytes).map(u64::from);
    let read = || {
        let (magic, block, group, groups) = (word(0)?, word(4)?, word(84)?, word(88)?);
        let bytes = block.checked_mul(group)?;
        let fits = bytes >= HEAD && groups.checked_sub(1)?.checked_mul(bytes)? < device_bytes;
        (magic == u64::from(u32::from_be_bytes(*b"XFSB")) && groups <= MOST_GROUPS && fits).then_some((bytes, groups))
    };
    let (bytes, groups) = read().ok_or(NoSuperblock)?;
    Ok((0..groups).map(|number| number * bytes..(number * bytes + HEAD).min(device_bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::{HEAD, NoSuperblock, SUPERBLOCK_BYTES, group_heads};
    use proptest::prelude::*;

    /// A superblock with blocks of 4,096 bytes.
    fn superblock(group_blocks: u32, groups: u32) -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        bytes[..4].copy_from_slice(b"XFSB");
        bytes[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        bytes[84..88].copy_from_slice(&group_blocks.to_be_bytes());
        bytes[88..92].copy_from_slice(&groups.to_be_bytes());
        bytes
    }

    #[test]
    fn heads_are_at_the_start_of_each_group() {
        let heads = group_heads(&superblock(1000, 3), 10 << 20).unwrap();
        assert_eq!(heads, [0..HEAD, 4_096_000..4_096_000 + HEAD, 8_192_000..8_192_000 + HEAD]);
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
                prop_assert!(heads.iter().all(|head| head.start < head.end && head.end <= device));
            }
        }
    }
}
