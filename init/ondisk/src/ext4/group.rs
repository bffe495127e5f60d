//! Block group descriptors: the offsets of bitmaps and inode table, and which of them are initialised.

use super::superblock::Superblock;
use super::{BLOCK_BYTES, Blocks, Error, joined};
use encoding::fields::{le_u16, le_u32};

/// Flags of a descriptor.
const INODES_UNINITIALISED: u16 = 1;
const BLOCKS_UNINITIALISED: u16 = 2;
const TABLE_ZEROED: u16 = 4;

/// The descriptor of one block group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    unused_inodes: u64,
    flags: u16,
}

impl Group {
    pub(super) fn read(superblock: &Superblock, number: u64, bytes: &[u8]) -> Result<Self, Error> {
        let wide = superblock.descriptor_bytes >= 64;
        let half = |at| le_u16(bytes, at).map(u64::from).ok_or(Error::Truncated);
        let word = |at| le_u32(bytes, at).map(u64::from).ok_or(Error::Truncated);
        let place = |low, high| Ok(word(low)? | if wide { word(high)? << 32 } else { 0 });
        let group = Self {
            block_bitmap: place(0x0, 0x20)?,
            inode_bitmap: place(0x4, 0x24)?,
            inode_table: place(0x8, 0x28)?,
            unused_inodes: half(0x1c)? | if wide { half(0x32)? << 16 } else { 0 },
            flags: le_u16(bytes, 0x12).ok_or(Error::Truncated)?,
        };
        let inside = |start: u64, blocks: u64| start > 0 && start.checked_add(blocks).is_some_and(|end| end <= superblock.blocks);
        let places = [(group.block_bitmap, 1), (group.inode_bitmap, 1), (group.inode_table, superblock.table_blocks())];
        if places.into_iter().all(|(start, blocks)| inside(start, blocks)) && group.unused_inodes <= superblock.inodes_per_group {
            Ok(group)
        } else {
            Err(Error::Group(number))
        }
    }

    /// Returns the block of the block bitmap; `None` when the bitmap is not initialised, so that every block except metadata is free.
    #[must_use]
    pub const fn block_bitmap(&self) -> Option<u64> {
        if self.flags & BLOCKS_UNINITIALISED == 0 { Some(self.block_bitmap) } else { None }
    }

    /// Returns the block of the inode bitmap; `None` when the bitmap is not initialised, so that every inode is free.
    #[must_use]
    pub const fn inode_bitmap(&self) -> Option<u64> {
        if self.flags & INODES_UNINITIALISED == 0 { Some(self.inode_bitmap) } else { None }
    }

    /// Whether every block of the inode table was written. Without descriptor checksums, the flag has no meaning and mkfs writes every
    /// table.
    #[must_use]
    pub const fn is_table_written(&self, superblock: &Superblock) -> bool {
        !superblock.has_descriptor_checksums() || self.flags & TABLE_ZEROED != 0
    }

    /// Returns the blocks of the inode table without an inode in use, by the inode `bitmap` (`None`: not initialised): their content has
    /// no meaning. The journal must be empty; otherwise the bitmap may be out of date.
    #[must_use]
    pub fn free_table_blocks(&self, superblock: &Superblock, bitmap: Option<&[u8]>) -> Vec<Blocks> {
        let per_block = BLOCK_BYTES / superblock.inode_bytes;
        let used = |block: u64| {
            let Some(bitmap) = bitmap else { return false };
            // No later inode was ever in use, whatever the bitmap contains; its last bits may be padding.
            let end = (superblock.inodes_per_group - self.unused_inodes).min((block + 1) * per_block);
            (block * per_block..end).any(|inode| {
                let byte = usize::try_from(inode / 8).ok().and_then(|at| bitmap.get(at)).copied();
                // A missing bit counts as set, so that no block in use is overwritten.
                byte.is_none_or(|byte| byte >> (inode % 8) & 1 == 1)
            })
        };
        let free = (0..superblock.table_blocks()).filter(|block| !used(*block));
        joined(free.map(|block| self.inode_table + block..self.inode_table + block + 1).collect())
    }
}
