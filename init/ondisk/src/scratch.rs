//! The check of a scratch disk before PID 1 overwrites it, the scratch mark, and the header of a swap area.
//!
//! The host chooses the serial number of a disk, and operators make mistakes. A scratch disk is overwritten at each boot, so a data disk
//! that is used as scratch disk is lost. PID 1 accepts only a blank disk, and a disk that starts with the mark and zeros.

use crate::intent;
use crate::luks2::DATA_OFFSET;
use encoding::fields;

/// The size of the mark's block, in bytes. Its non-zero bytes fit in one sector of 512 bytes, which a disk writes atomically.
pub const BLOCK: usize = 4096;

/// The number of bytes that [`classify`] needs: all before the scratch area.
pub const FRONT: u64 = DATA_OFFSET;

/// The magic of the mark, then its version, 1, and a CRC-32 over both. The rest of the block is zero.
const MAGIC: &[u8; 16] = b"cvm-init scratch";
const FIELDS: &[u8; 24] = b"cvm-init scratch\x01\0\0\0\xb2\x6b\x2a\x51";

/// The content before the scratch area of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Zeros.
    Zero,
    /// The mark, then zeros.
    Marked,
    /// Other bytes, with a description by their signature.
    Other(&'static str),
}

/// Returns the first block of a scratch disk. To cvm.data, a disk with this block is neither blank nor LUKS2.
#[must_use]
pub fn mark() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    if let Some(fields) = block.first_chunk_mut() {
        *fields = *FIELDS;
    }
    block
}

/// Classifies the first [`FRONT`] bytes of a disk.
#[must_use]
pub fn classify(front: &[u8]) -> Front {
    if fields::is_zero(front) {
        return Front::Zero;
    }
    match front.split_at_checked(BLOCK) {
        Some((block, rest)) if block == mark() && fields::is_zero(rest) => Front::Marked,
        _ => Front::Other(signature(front)),
    }
}

/// Known signatures: offset, bytes, description. The first match is reported; all of them are refused.
///
/// Sources: LUKS1 and LUKS2 specifications; UEFI 2.10, 5.3.2; libblkid's `superblocks` folder for the others.
const SIGNATURES: &[(u64, &[u8], &str)] = &[
    (0, b"LUKS\xba\xbe", "a LUKS header"),
    (intent::OFFSET, b"cvm-init format", "an interrupted first format of a data disk"),
    (0, MAGIC, "a scratch mark of another version, or other data behind the mark"),
    (512, b"EFI PART", "a partition table (GPT)"),
    (4096, b"EFI PART", "a partition table (GPT)"),
    (1080, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "an XFS file system"),
    (65_600, b"_BHRfS_M", "a btrfs file system"),
    (1024, b"\xe2\xe1\xf5\xe0", "an erofs file system"),
    (4086, b"SWAPSPACE2", "a swap area"),
    (512, b"LABELONE", "an LVM physical volume"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (16_384, b"SKUL\xba\xbe", "a secondary LUKS2 header"),
    (510, b"\x55\xaa", "a partition table (MBR) or a boot sector"),
];

fn signature(front: &[u8]) -> &'static str {
    let is_there = |(offset, magic, _): &&(u64, &[u8], &str)| {
        usize::try_from(*offset).ok().and_then(|at| front.get(at..)).is_some_and(|rest| rest.starts_with(magic))
    };
    SIGNATURES.iter().find(is_there).map_or("unknown bytes", |(.., name)| name)
}

/// Returns the first page of a swap area of `bytes` in the form of mkswap, without UUID and label; `None` for fewer than two pages.
///
/// Source: `union swap_header` of include/linux/swap.h: version at 1024, number of the last page, number of bad pages, and the magic at
/// the end of the page. Pages have 4,096 bytes on x86-64.
#[must_use]
pub fn swap_header(bytes: u64) -> Option<[u8; BLOCK]> {
    let pages = bytes / u64::try_from(BLOCK).ok()?;
    let last = u32::try_from(pages.checked_sub(1)?).unwrap_or(u32::MAX);
    let mut block = [0; BLOCK];
    block.get_mut(1024..1028)?.copy_from_slice(&1_u32.to_le_bytes());
    block.get_mut(1028..1032)?.copy_from_slice(&last.to_le_bytes());
    block.last_chunk_mut::<10>()?.copy_from_slice(b"SWAPSPACE2");
    (last > 0).then_some(block)
}

#[cfg(test)]
mod tests;
