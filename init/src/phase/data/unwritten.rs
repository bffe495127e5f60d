//! The sectors that may be read before they are written. They must be written first, since a sector without a valid tag cannot be
//! read.
//!
//! - ext4 reads a block of an inode table as soon as another inode of that block is in use; it reads its whole journal after a
//!   power cut; it reads descriptors and bitmaps ahead. So every metadata block, and every block that its bitmaps count as used,
//!   is written.
//! - xfs and btrfs write each block before they read it, by design: xfs initialises a whole chunk of inodes when it allocates it,
//!   btrfs never changes a block in place. Their mkfs writes the initial metadata, that of xfs the whole log. xfs_repair reads
//!   more than the superblock at the start of each allocation group.
//! - Programs that probe for signatures (blkid, which udev runs; the kernel's partition parsers) read the first and last
//!   mebibytes of the device.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use cmdline::FileSystem;
use linux::block::Device;
use ondisk::ext4::{self, BLOCK_BYTES, Blocks, Group, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, Superblock};
use ondisk::xfs;

use super::zeros;

/// What signature probes may read at either end, in bytes: the farthest known signature is that of VMFS at 2 MiB, and read-ahead
/// may extend a read.
pub(super) const EDGE: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading the disk")]
    Read(#[source] linux::Error),
    #[error("ext4")]
    Layout(#[from] ext4::Error),
    #[error(transparent)]
    Xfs(#[from] xfs::NoSuperblock),
    #[error("writing the disk")]
    Write(#[source] linux::Error),
    #[error("mounting for the recovery of its journal")]
    Recover(#[source] linux::Error),
    #[error("its journal is still not empty after a recovery")]
    StillDirty,
}

impl Error {
    /// Whether the disk may be readable or writable after the next start.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Write(_) | Self::Recover(_))
    }
}

/// Reads so many bytes at an offset, both multiples of 4,096.
type Read<'a> = &'a dyn Fn(u64, usize) -> Result<Vec<u8>, linux::Error>;

/// The ranges that signature probes may read on a device of `bytes`: in bytes, sorted.
pub(in crate::phase) fn edges(bytes: u64) -> Vec<Range<u64>> {
    in_bytes(edge_blocks(bytes - bytes % BLOCK_BYTES))
}

fn edge_blocks(end: u64) -> Vec<Blocks> {
    vec![0..EDGE.min(end) / BLOCK_BYTES, end.saturating_sub(EDGE) / BLOCK_BYTES..end / BLOCK_BYTES]
}

/// The ranges to write besides those that mkfs wrote to `image`, for a device of `bytes`: in bytes, sorted.
pub(super) fn of_image(image: &File, kind: FileSystem, bytes: u64) -> Result<Vec<Range<u64>>, Error> {
    let end = bytes - bytes % BLOCK_BYTES;
    let mut blocks = edge_blocks(end);
    let read = |offset, length| {
        let mut bytes = vec![0; length];
        let read = image.read_exact_at(&mut bytes, offset);
        read.map(|()| bytes).map_err(|e| linux::Error::io("read", "image", &e))
    };
    if kind == FileSystem::Xfs {
        let heads = xfs::Superblock::parse(&read_block(&read, 0)?)?.group_heads(end)?;
        blocks.extend(heads.into_iter().map(|head| head.start / BLOCK_BYTES..head.end / BLOCK_BYTES));
    }
    if kind == FileSystem::Ext4 {
        let (superblock, groups) = layout(&read, bytes)?;
        blocks.extend(superblock.metadata(&groups));
        for (number, group) in (0..).zip(&groups) {
            if let Some(place) = group.block_bitmap() {
                blocks.extend(superblock.used_blocks(number, &read_block(&read, place)?));
            }
        }
    }
    Ok(in_bytes(blocks))
}

/// Writes zeros to every block of ext4's inode tables that contains no inode and that neither mkfs nor the kernel has written, as
/// earlier versions and other mkfs leave them. If all tables are written, it changes nothing. `recover` mounts and unmounts the
/// file system; it is called only when a journal must be recovered first. Returns the bytes written; `None` when the file system
/// was not examined.
pub(super) fn initialise(target: &Device, recover: impl FnOnce() -> Result<(), linux::Error>) -> Result<Option<u64>, Error> {
    let bytes = target.bytes().map_err(Error::Read)?;
    let read = |offset, length| target.read(offset, length);
    let (mut superblock, mut groups) = match layout(&read, bytes) {
        // Not made by cvm-init, or with other block sizes: cryptsetup wipes every sector when it formats, unless it is told not
        // to.
        Err(Error::Layout(error)) => {
            log::info!("data: inode tables are not examined, since the file system has another layout: {error}");
            return Ok(None);
        }
        other => other?,
    };
    if groups.iter().all(|group| group.is_table_written(&superblock)) {
        return Ok(Some(0));
    }
    log::warn!("data: inode tables of this file system were never written: writing them before the mount");
    if superblock.needs_recovery() {
        recover().map_err(Error::Recover)?;
        (superblock, groups) = layout(&read, bytes)?;
        if superblock.needs_recovery() {
            return Err(Error::StillDirty);
        }
    }
    let mut blocks = Vec::new();
    for group in groups.iter().filter(|group| !group.is_table_written(&superblock)) {
        let bitmap = group.inode_bitmap().map(|place| read_block(&read, place)).transpose()?;
        blocks.extend(group.free_table_blocks(&superblock, bitmap.as_deref()));
    }
    zeros::write(target, &in_bytes(blocks), "data: initialising").map(Some).map_err(Error::Write)
}

fn layout(read: Read<'_>, bytes: u64) -> Result<(Superblock, Vec<Group>), Error> {
    let first = read_block(read, 0)?;
    let at = usize::try_from(SUPERBLOCK_OFFSET).unwrap_or(usize::MAX);
    let superblock = Superblock::parse(first.get(at..at + SUPERBLOCK_BYTES).unwrap_or_default(), bytes)?;
    let mut descriptors = Vec::new();
    for block in superblock.descriptor_blocks() {
        descriptors.extend(read_block(read, block)?);
    }
    let groups = superblock.read_groups(&descriptors)?;
    Ok((superblock, groups))
}

fn read_block(read: Read<'_>, block: u64) -> Result<Vec<u8>, Error> {
    read(block.saturating_mul(BLOCK_BYTES), usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX)).map_err(Error::Read)
}

pub(super) fn in_bytes(blocks: Vec<Blocks>) -> Vec<Range<u64>> {
    ext4::joined(blocks).into_iter().map(|range| range.start * BLOCK_BYTES..range.end * BLOCK_BYTES).collect()
}
