//! What a btrfs on one device says of its size.
//!
//! Source: btrfs' on-disk format, "Superblock" and "DEV_ITEM"; little-endian.

use crate::bytes::{array, le_u64};

/// Where the first superblock is, in bytes.
pub const SUPERBLOCK_OFFSET: u64 = 64 << 10;

/// How many bytes of the device the file system uses; `None` where there is no superblock.
#[must_use]
pub fn device_bytes(superblock: &[u8]) -> Option<u64> {
    let magic: [u8; 8] = array(superblock, 0x40)?;
    // The device item stands at 0xc9 and starts with the device's number.
    (&magic == b"_BHRfS_M").then(|| le_u64(superblock, 0xd1)).flatten()
}
