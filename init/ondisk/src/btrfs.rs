//! The size of a btrfs on one device, from its superblock.
//!
//! Source: btrfs' on-disk format, "Superblock" and "DEV_ITEM"; little-endian.

use encoding::fields::{array, le_u64};

/// The offset of the first superblock, in bytes.
pub const SUPERBLOCK_OFFSET: u64 = 64 << 10;

/// Returns the device number in the file system and the size of the device in bytes; `None` without a superblock.
#[must_use]
pub fn device(superblock: &[u8]) -> Option<(u64, u64)> {
    let magic: [u8; 8] = array(superblock, 0x40)?;
    // The device item starts with these two fields.
    (&magic == b"_BHRfS_M").then(|| Some((le_u64(superblock, 0xc9)?, le_u64(superblock, 0xd1)?))).flatten()
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn device_is_read_only_with_the_magic() {
        let mut superblock = vec![0; 4096];
        superblock[0xc9] = 2;
        superblock[0xd1..0xd9].copy_from_slice(&(512_u64 << 20).to_le_bytes());
        assert_eq!(device(&superblock), None);
        superblock[0x40..0x48].copy_from_slice(b"_BHRfS_M");
        assert_eq!(device(&superblock), Some((2, 512 << 20)));
        assert_eq!(device(&superblock[..0xd8]), None);
    }
}
