//! The size of an erofs file system, from its superblock.
//!
//! Source: `struct erofs_super_block` in the kernel's fs/erofs/erofs_fs.h; little-endian.

use encoding::fields;

/// The offset of the superblock, in bytes.
const OFFSET: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// Block sizes as powers of two: from a sector to the largest block that the kernel supports.
const BLOCK_BITS: std::ops::RangeInclusive<u8> = 9..=16;
/// `EROFS_FEATURE_INCOMPAT_48BIT`: the number of blocks has 16 more bits.
const LARGE: u32 = 0x80;

/// Why a superblock is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No magic number, or too few bytes.
    #[error("no erofs file system")]
    Magic,
    /// A block size that no kernel supports.
    #[error("erofs block size of 2^{0} bytes")]
    BlockSize(u8),
}

/// Returns the size in bytes, from the first 4,096 bytes of the file system.
///
/// # Errors
/// Anything but an erofs superblock with a supported block size.
pub fn size(start: &[u8]) -> Result<u64, Error> {
    let superblock = start.get(OFFSET..).ok_or(Error::Magic)?;
    let number = |at| fields::le_u32(superblock, at).ok_or(Error::Magic);
    if number(0)? != MAGIC {
        return Err(Error::Magic);
    }
    let bits = *superblock.get(12).ok_or(Error::Magic)?;
    if !BLOCK_BITS.contains(&bits) {
        return Err(Error::BlockSize(bits));
    }
    let high = if number(80)? & LARGE == 0 { 0 } else { fields::le_u16(superblock, 14).ok_or(Error::Magic)? };
    // No overflow: 48 bits and 16 more.
    Ok((u64::from(high) << 32 | u64::from(number(36)?)) << bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields that are read, from an image that mkfs.erofs 1.8.6 (Debian trixie) made for systemd-repart: 34,713 blocks of 4,096
    /// bytes, lz4 with compression configurations (incompatible features 3).
    fn superblock() -> Vec<u8> {
        let mut start = vec![0; 4096];
        start[1024..1028].copy_from_slice(&[0xe2, 0xe1, 0xf5, 0xe0]);
        start[1024 + 12] = 12;
        start[1024 + 14..1024 + 16].copy_from_slice(&[36, 0]); // the root's number, in an image without 48 bits
        start[1024 + 36..1024 + 40].copy_from_slice(&34_713_u32.to_le_bytes());
        start[1024 + 80] = 3;
        start
    }

    #[test]
    fn size_is_the_number_of_blocks_times_their_size() {
        let with = |at: usize, value: u8| {
            let mut start = superblock();
            start[1024 + at] = value;
            size(&start)
        };
        assert_eq!(size(&superblock()), Ok(34_713 << 12));
        assert_eq!(with(12, 9), Ok(34_713 << 9));
        assert_eq!(with(80, 0x83), Ok(((36 << 32) + 34_713) << 12));
        assert_eq!((with(12, 8), with(12, 17)), (Err(Error::BlockSize(8)), Err(Error::BlockSize(17))));
        assert_eq!(
            (with(0, 0), size(&superblock()[..1100]), size(&[])),
            (Err(Error::Magic), Err(Error::Magic), Err(Error::Magic))
        );
    }
}
