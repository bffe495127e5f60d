//! The superblock, and the layout that its numbers determine.

use super::group::Group;
use super::{BLOCK_BYTES, Blocks, Error, set_bits};
use encoding::fields::{le_u16, le_u32};

/// The offset of the primary superblock, in bytes.
pub const SUPERBLOCK_OFFSET: u64 = 1024;

/// The size of a superblock, in bytes.
pub const SUPERBLOCK_BYTES: usize = 1024;

/// `EXT4_SUPER_MAGIC`.
const MAGIC: u16 = 0xef53;

/// The most groups: 128 TiB in groups of 128 MiB. The descriptors of more would need too much memory in an initrd.
const MOST_GROUPS: u64 = 1 << 20;

/// The largest number of blocks, clusters or inodes that one bitmap block describes.
const BITS: u64 = BLOCK_BYTES * 8;

/// `s_feature_compat`.
const SPARSE_SUPER2: u32 = 0x200;
/// `s_feature_incompat`.
const RECOVER: u32 = 0x4;
const JOURNAL_DEVICE: u32 = 0x8;
const META_BG: u32 = 0x10;
const WIDE: u32 = 0x80;
const FLEX_BG: u32 = 0x200;
/// `s_feature_ro_compat`.
const SPARSE_SUPER: u32 = 0x1;
const GROUP_CHECKSUM: u32 = 0x10;
const BIGALLOC: u32 = 0x200;
const METADATA_CHECKSUM: u32 = 0x400;

/// The superblock of a file system with blocks of 4,096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub(super) blocks: u64,
    pub(super) blocks_per_group: u64,
    pub(super) inodes_per_group: u64,
    pub(super) inode_bytes: u64,
    pub(super) descriptor_bytes: u64,
    reserved_descriptor_blocks: u64,
    first_meta_group: u64,
    /// How many groups have their bitmaps side by side: 1 without flex_bg.
    flex_groups: u64,
    incompat: u32,
    read_only_compat: u32,
    state: u16,
}

impl Superblock {
    /// Parses the [`SUPERBLOCK_BYTES`] at [`SUPERBLOCK_OFFSET`] of a device of `device_bytes`.
    ///
    /// # Errors
    /// Anything but ext4 with blocks of 4,096 bytes that fits the device; bigalloc, sparse_super2 and an external journal.
    pub fn parse(bytes: &[u8], device_bytes: u64) -> Result<Self, Error> {
        let half = |at| le_u16(bytes, at).ok_or(Error::Truncated);
        let word = |at| le_u32(bytes, at).ok_or(Error::Truncated);
        if half(0x38)? != MAGIC {
            return Err(Error::Magic);
        }
        if word(0x18)? != 2 || word(0x14)? != 0 {
            return Err(Error::BlockSize);
        }
        let (compat, incompat, read_only_compat) = (word(0x5c)?, word(0x60)?, word(0x64)?);
        for (set, name) in [
            (read_only_compat & BIGALLOC != 0, "bigalloc"),
            (compat & SPARSE_SUPER2 != 0, "sparse_super2"),
            (incompat & JOURNAL_DEVICE != 0, "journal_dev"),
        ] {
            if set {
                return Err(Error::Feature(name));
            }
        }
        let high = if incompat & WIDE == 0 { 0 } else { u64::from(word(0x150)?) };
        let superblock = Self {
            blocks: u64::from(word(0x4)?) | high << 32,
            blocks_per_group: word(0x20)?.into(),
            inodes_per_group: word(0x28)?.into(),
            // Revision 0 has inodes of 128 bytes, and no field for their size.
            inode_bytes: if word(0x4c)? == 0 { 128 } else { half(0x58)?.into() },
            descriptor_bytes: if incompat & WIDE == 0 { 32 } else { half(0xfe)?.into() },
            reserved_descriptor_blocks: half(0xce)?.into(),
            first_meta_group: if incompat & META_BG == 0 { u64::MAX } else { word(0x104)?.into() },
            flex_groups: if incompat & FLEX_BG == 0 { 1 } else { 1 << bytes.get(0x174).ok_or(Error::Truncated)?.min(&63) },
            incompat,
            read_only_compat,
            state: half(0x3a)?,
        };
        superblock.check(device_bytes).map(|()| superblock)
    }

    fn check(&self, device_bytes: u64) -> Result<(), Error> {
        let rules = [
            ("block count", self.blocks == 0 || self.blocks > device_bytes / BLOCK_BYTES),
            (
                "blocks per group",
                self.blocks_per_group == 0 || self.blocks_per_group > BITS || !self.blocks_per_group.is_multiple_of(8),
            ),
            (
                "inodes per group",
                self.inodes_per_group == 0 || self.inodes_per_group > BITS || !self.inodes_per_group.is_multiple_of(8),
            ),
            ("inode size", !self.inode_bytes.is_power_of_two() || !(128..=BLOCK_BYTES).contains(&self.inode_bytes)),
            ("descriptor size", !self.descriptor_bytes.is_power_of_two() || !(32..=1024).contains(&self.descriptor_bytes)),
            ("groups that share bitmaps", self.flex_groups > MOST_GROUPS),
            ("reserved descriptors", self.reserved_descriptor_blocks > BLOCK_BYTES / 4),
        ];
        match rules.into_iter().find(|(_, broken)| *broken) {
            Some((what, _)) => Err(Error::Bounds(what)),
            None if self.groups() > MOST_GROUPS => Err(Error::Bounds("number of groups")),
            None => Ok(()),
        }
    }

    /// Returns the number of blocks of 4,096 bytes.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Returns the number of block groups.
    #[must_use]
    pub const fn groups(&self) -> u64 {
        self.blocks.div_ceil(self.blocks_per_group)
    }

    /// Whether the journal contains transactions to replay: bitmaps and descriptors on the disk may be out of date.
    #[must_use]
    pub const fn needs_recovery(&self) -> bool {
        self.incompat & RECOVER != 0
    }

    /// Whether the kernel has recorded an error (`EXT4_ERROR_FS`).
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.state & 2 != 0
    }

    /// Whether descriptors have checksums. Only then their flags are valid and tables are initialised lazily.
    #[must_use]
    pub const fn has_descriptor_checksums(&self) -> bool {
        self.read_only_compat & (GROUP_CHECKSUM | METADATA_CHECKSUM) != 0
    }

    /// Returns the blocks of the group descriptors, in order.
    #[must_use]
    pub fn descriptor_blocks(&self) -> Vec<u64> {
        (0..self.groups().div_ceil(self.descriptors_per_block())).map(|number| self.descriptor_block(number)).collect()
    }

    const fn descriptors_per_block(&self) -> u64 {
        BLOCK_BYTES / self.descriptor_bytes
    }

    /// Returns the block with the descriptors of meta group `number`.
    fn descriptor_block(&self, number: u64) -> u64 {
        if number < self.first_meta_group {
            return number.saturating_add(1);
        }
        let group = number.saturating_mul(self.descriptors_per_block());
        self.first_block(group).saturating_add(u64::from(self.has_superblock(group)))
    }

    /// Parses the descriptors in `descriptors`, the content of [`Superblock::descriptor_blocks`].
    ///
    /// # Errors
    /// [`Error::Group`] when one points outside of the file system.
    pub fn read_groups(&self, descriptors: &[u8]) -> Result<Vec<Group>, Error> {
        let size = usize::try_from(self.descriptor_bytes).map_err(|_| Error::Truncated)?;
        let count = usize::try_from(self.groups()).map_err(|_| Error::Truncated)?;
        let groups: Vec<_> = (0..)
            .zip(descriptors.chunks_exact(size))
            .take(count)
            .map(|(number, bytes)| Group::read(self, number, bytes))
            .collect();
        if groups.len() == count { groups.into_iter().collect() } else { Err(Error::Truncated) }
    }

    /// Returns the first block of a group.
    pub(super) const fn first_block(&self, group: u64) -> u64 {
        group.saturating_mul(self.blocks_per_group)
    }

    /// Returns the number of blocks of a group: the last group may be shorter.
    pub(super) fn blocks_in(&self, group: u64) -> u64 {
        self.blocks.saturating_sub(self.first_block(group)).min(self.blocks_per_group)
    }

    /// Returns the number of blocks of one inode table.
    pub(super) const fn table_blocks(&self) -> u64 {
        (self.inodes_per_group * self.inode_bytes).div_ceil(BLOCK_BYTES)
    }

    /// Whether the group has a superblock. Source: `ext4_bg_has_super`.
    fn has_superblock(&self, group: u64) -> bool {
        let is_power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        self.read_only_compat & SPARSE_SUPER == 0 || group <= 1 || [3, 5, 7].into_iter().any(is_power_of)
    }

    /// Returns every block of metadata, written or not: superblocks, descriptors with reserved ones, bitmaps and inode tables. The
    /// journal is a file and not among them: see [`Superblock::used_blocks`].
    #[must_use]
    pub fn metadata(&self, groups: &[Group]) -> Vec<Blocks> {
        let plain = self.groups().div_ceil(self.descriptors_per_block()).min(self.first_meta_group);
        let descriptors = plain.saturating_add(self.reserved_descriptor_blocks);
        let mut out = Vec::new();
        for number in (0..self.groups()).filter(|number| self.has_superblock(*number)) {
            let start = self.first_block(number);
            let end = start.saturating_add(1).saturating_add(descriptors).min(start.saturating_add(self.blocks_in(number)));
            out.push(start..end);
        }
        if self.first_meta_group != u64::MAX {
            out.extend(self.meta_group_descriptors());
        }
        for group in groups {
            out.extend([group.block_bitmap..group.block_bitmap + 1, group.inode_bitmap..group.inode_bitmap + 1]);
            out.push(group.inode_table..group.inode_table + self.table_blocks());
        }
        super::joined(out)
    }

    /// Returns the blocks that the kernel reads without having written them when the file system grows to `blocks`: the bitmaps of the
    /// new groups, for their checksums.
    ///
    /// The kernel puts the bitmaps of all groups of a flex group behind the superblock and the descriptors of one of them; which one
    /// depends on the size of the growth. Source: `ext4_alloc_group_tables`, `ext4_set_bitmap_checksums` of Linux 6.12.
    #[must_use]
    pub fn new_group_heads(&self, blocks: u64) -> Vec<Blocks> {
        let groups = blocks.div_ceil(self.blocks_per_group).min(MOST_GROUPS);
        let descriptors = groups.div_ceil(self.descriptors_per_block()).saturating_add(self.reserved_descriptor_blocks);
        let head = |number: u64| {
            let start = self.first_block(number);
            let backups = if self.has_superblock(number) { descriptors.saturating_add(1) } else { 1 };
            let end = start.saturating_add(backups).saturating_add(self.flex_groups.saturating_mul(2));
            start..end.min(start.saturating_add(self.blocks_per_group)).min(blocks)
        };
        super::joined((self.groups()..groups).map(head).collect())
    }

    /// Returns the descriptor blocks of meta groups: in the first, the second and the last group of each.
    fn meta_group_descriptors(&self) -> impl Iterator<Item = Blocks> + '_ {
        let size = self.descriptors_per_block();
        let metas = self.first_meta_group..self.groups().div_ceil(size);
        metas.flat_map(move |number| [0, 1, size - 1].map(|at| number * size + at)).filter(|group| *group < self.groups()).map(
            |group| {
                let block = self.first_block(group) + u64::from(self.has_superblock(group));
                block..(block + 1).min(self.blocks)
            },
        )
    }

    /// Returns the blocks of group `number` that are in use, by its block bitmap.
    #[must_use]
    pub fn used_blocks(&self, number: u64, bitmap: &[u8]) -> Vec<Blocks> {
        set_bits(bitmap, self.blocks_in(number), self.first_block(number))
    }
}
