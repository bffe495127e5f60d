//! A disk that the host has made larger or smaller since it was formatted.
//!
//! Before it is opened, dm-integrity's superblock is set to what the disk holds now ([`fit`]): the kernel raises the number by itself
//! on a larger disk, and afterwards refuses a disk of the former size. What the file system needs is what the file system says, so:
//!
//! - smaller than the file system: an error that names both sizes. Nothing of the file system is written, and the disk opens again
//!   as soon as it has its size back.
//! - larger: the end of the disk, which programs that look for signatures read, gets zeros; the file system stays as it is, or grows
//!   by policy.
//!
//! Each step can be cut short and is repeated at the next boot: each is decided by what is on the disk, and nothing is remembered.

use std::fs::File;
use std::path::Path;

use kernel::block::{Access, Device};
use kernel::resize::{self, Growth};
use ondisk::cmdline::{Data, FileSystem};
use ondisk::luks2::DATA_OFFSET;
use ondisk::{btrfs, ext4, integrity, xfs};

use super::luks::Mapped;
use super::mounting;
use super::unwritten::EDGE;
use super::zeros;
use crate::journal::step;

const SECTOR: u64 = 512;
/// Less than this at the end is no room to grow: mkfs leaves the rest of a last group that would be too small.
const LEAST: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading")]
    Read(#[source] kernel::Error),
    #[error("writing")]
    Write(#[source] kernel::Error),
    #[error(
        "the disk is too small: its file system has {needed} bytes and the disk has room for {there}; give the disk its former size"
    )]
    Shrunk { needed: u64, there: u64 },
}

impl Error {
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Read(_) => 71,
            Self::Shrunk { .. } => 79,
            Self::Write(_) => 81,
        }
    }

    /// Whether the disk may be read or written the next time.
    pub(super) const fn may_pass(&self) -> bool {
        !matches!(self, Self::Shrunk { .. })
    }
}

/// Sets the superblock of dm-integrity on `disk` to as many sectors as the disk holds. A superblock that is not understood is left
/// to the kernel, which refuses it.
pub(super) fn fit(disk: &Path) -> Result<(), Error> {
    let device = Device::open(disk, Access::Read).map_err(Error::Read)?;
    let mut block = device.read(DATA_OFFSET, integrity::SUPERBLOCK_BYTES).map_err(Error::Read)?;
    let Some(superblock) = integrity::Superblock::parse(&block) else { return Ok(()) };
    let capacity = superblock.capacity(DATA_OFFSET / SECTOR, device.bytes().map_err(Error::Read)? / SECTOR);
    if capacity == superblock.provided() || capacity == 0 {
        return Ok(());
    }
    let [before, now] = [superblock.provided(), capacity].map(|sectors| sectors.saturating_mul(SECTOR));
    log::warn!("data: the disk's size has changed: room for {now} bytes, {before} before");
    integrity::set_provided(&mut block, capacity);
    let write = || {
        let device = Device::open(disk, Access::ReadWrite)?;
        device.write(DATA_OFFSET, &block)?;
        device.flush()
    };
    write().map_err(Error::Write)
}

/// Whether there is room for the file system to grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// What the file system is to become when it grows; `None`: it fills the disk, or policy leaves it as it is.
    growth: Option<Growth>,
}

impl Room {
    /// The room of a disk whose file system was made for it just now.
    pub(super) const FILLED: Self = Self { growth: None };
}

/// Compares the size of the file system with that of the open disk, before the mount; writes the zeros that must be there first.
pub(super) fn examine(mapped: &Mapped, wanted: &Data) -> Result<Room, Error> {
    let target = Device::open(Path::new(mapped.path()), Access::ReadWrite).map_err(Error::Read)?;
    let there = target.bytes().map_err(Error::Read)?;
    let Some(found) = Found::read(&target, wanted.fs)? else {
        return Ok(Room::FILLED);
    };
    if found.bytes > there {
        return Err(Error::Shrunk { needed: found.bytes, there });
    }
    if there - found.bytes < LEAST {
        return Ok(Room::FILLED);
    }
    // Until the journal is recovered the superblock may be older than what is in use behind the end that it names.
    mounting::recover(mapped, wanted).map_err(Error::Write)?;
    let Some(found) = Found::read(&target, wanted.fs)? else {
        return Ok(Room::FILLED);
    };
    let free = found.bytes.next_multiple_of(integrity_block())..there - there % integrity_block();
    log::info!("data: the file system has {} bytes, the disk has room for {there}", found.bytes);
    let mut unwritten = found.heads(there);
    unwritten.push(free.start.max(free.end.saturating_sub(EDGE))..free.end);
    unwritten.retain(|range| !range.is_empty());
    zeros::write(&target, &unwritten, "initialising").map_err(Error::Write)?;
    Ok(Room { growth: wanted.grow.then(|| found.growth(there)) })
}

/// Grows the file system that is mounted at `folder`, if it is to grow; returns its size before, if it has grown. A file system that
/// cannot grow is used as it is: that is no reason to keep its owner from the files.
pub(super) fn grow(mapped: &Mapped, folder: &Path, room: Room) -> Option<u64> {
    let growth = room.growth?;
    let grown = || {
        let folder = File::open(folder).map_err(|error| kernel::Error::io("open", folder.display(), &error))?;
        let (before, block) = resize::data_blocks(&folder)?;
        mounting::watched(mapped, "growing", || resize::grow(&folder, growth))?;
        let (after, _) = resize::data_blocks(&folder)?;
        Ok((after > before).then_some([before, after].map(|blocks| blocks.saturating_mul(block))))
    };
    match grown() {
        Ok(Some([before, after])) => {
            log::info!("data: the file system grew from {before} to {after} bytes");
            step("data: file system has grown");
            Some(before)
        }
        Ok(None) => None,
        Err(error) => {
            let error: kernel::Error = error;
            log::error!("data: the file system did not grow, and is used as it is: {error}");
            None
        }
    }
}

const fn integrity_block() -> u64 {
    ext4::BLOCK_BYTES
}

/// A file system as its superblock describes it.
struct Found {
    /// Its size.
    bytes: u64,
    xfs: Option<xfs::Superblock>,
    kind: FileSystem,
}

impl Found {
    /// Reads the superblock; `None` where there is none that is understood, which the mount or the check tells.
    fn read(target: &Device, kind: FileSystem) -> Result<Option<Self>, Error> {
        let block = usize::try_from(integrity_block()).unwrap_or(usize::MAX);
        let at = if kind == FileSystem::Btrfs { btrfs::SUPERBLOCK_OFFSET } else { 0 };
        let bytes = target.read(at, block).map_err(Error::Read)?;
        let found = match kind {
            FileSystem::Ext4 => ext4_bytes(&bytes).map(|bytes| Self { bytes, xfs: None, kind }),
            FileSystem::Xfs => {
                xfs::Superblock::parse(&bytes).ok().map(|found| Self { bytes: found.bytes, xfs: Some(found), kind })
            }
            FileSystem::Btrfs => btrfs::device_bytes(&bytes).map(|bytes| Self { bytes, xfs: None, kind }),
        };
        Ok(found)
    }

    /// What xfs_repair reads besides what xfs writes, of the part that is new.
    fn heads(&self, there: u64) -> Vec<std::ops::Range<u64>> {
        let end = there - there % integrity_block();
        self.xfs.map(|found| found.new_group_heads(end)).unwrap_or_default()
    }

    fn growth(&self, there: u64) -> Growth {
        match (self.kind, self.xfs) {
            (FileSystem::Xfs, Some(found)) => {
                Growth::Xfs { blocks: there / found.block_bytes, inode_percent: found.inode_percent }
            }
            (FileSystem::Btrfs, _) => Growth::Btrfs,
            (FileSystem::Ext4 | FileSystem::Xfs, _) => Growth::Ext4 { blocks: there / ext4::BLOCK_BYTES },
        }
    }
}

fn ext4_bytes(block: &[u8]) -> Option<u64> {
    let at = usize::try_from(ext4::SUPERBLOCK_OFFSET).ok()?;
    let superblock = ext4::Superblock::parse(block.get(at..at + ext4::SUPERBLOCK_BYTES)?, u64::MAX).ok()?;
    superblock.blocks().checked_mul(ext4::BLOCK_BYTES)
}
