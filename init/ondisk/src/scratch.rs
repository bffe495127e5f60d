//! What a scratch disk must hold before anything is written to it, and the mark and the swap header that are written.
//!
//! A host decides which disk carries which serial number, and operators make mistakes: a scratch disk is made anew at each boot, so
//! a data disk that is taken for one is lost. Only a blank disk, or one with this mark and nothing else in front, is taken.

use crate::intent;
use crate::luks2::DATA_OFFSET;
use encoding::fields;

/// The size of the mark's block, in bytes. What is not zero in it fits in one sector of 512 bytes, which a disk writes whole.
pub const BLOCK: usize = 4096;

/// How many bytes of a disk [`classify`] wants: all in front of the scratch area.
pub const FRONT: u64 = DATA_OFFSET;

/// What the mark is called; its version, 1, and a CRC-32 over both follow. All behind is zero.
const MAGIC: &[u8; 16] = b"cvm-init scratch";
const FIELDS: &[u8; 24] = b"cvm-init scratch\x01\0\0\0\xb2\x6b\x2a\x51";

/// What is in front of the scratch area of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Zeros.
    Zero,
    /// The mark, and zeros behind it.
    Marked,
    /// Anything else, and what it looks like.
    Other(&'static str),
}

/// The block that belongs at the first byte of a scratch disk. cvm.data takes a disk with it for neither blank nor LUKS2.
#[must_use]
pub fn mark() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    if let Some(fields) = block.first_chunk_mut() {
        *fields = *FIELDS;
    }
    block
}

/// Says what the first [`FRONT`] bytes of a disk are.
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

/// Where signatures are: the offset, the bytes, what they say. The first that fits is told; this decides nothing.
///
/// Sources: LUKS1 and LUKS2 specifications; UEFI 2.10, 5.3.2; libblkid's `superblocks` folder for the others.
const SIGNATURES: &[(u64, &[u8], &str)] = &[
    (0, b"LUKS\xba\xbe", "a LUKS header"),
    (intent::OFFSET, b"cvm-init format", "a first format of a data disk that was cut short"),
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

/// The first page of a swap area of `bytes`, as mkswap writes it without UUID and label; `None` when it has fewer than two pages.
///
/// Source: `union swap_header` of include/linux/swap.h: version at 1024, number of the last page, number of bad pages; the magic at
/// the end of the page. A page has 4,096 bytes on x86-64.
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
