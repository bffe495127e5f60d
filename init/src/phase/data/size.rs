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

use std::ops::Range;
use std::path::Path;

use kernel::block::{Access, Device};
use kernel::resize::{self, Growth};
use ondisk::cmdline::{Data, FileSystem};
use ondisk::luks2::DATA_OFFSET;
use ondisk::{btrfs, ext4, integrity, xfs};

use super::luks::Mapped;
use super::mounting;
use super::unwritten::{self, EDGE};
use super::zeros;
use crate::journal::step;

const SECTOR: u64 = 512;
/// Sectors of the open disk, and blocks of ext4.
const BLOCK: u64 = ext4::BLOCK_BYTES;
/// Less than this at the end is no room to grow: mkfs leaves the rest of a last group that would be too small.
const LEAST: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading")]
    Read(#[source] kernel::Error),
    #[error("mounting for the recovery of its journal")]
    Recover(#[source] kernel::Error),
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
            Self::Recover(_) => 77,
            Self::Shrunk { .. } => 79,
            Self::Write(_) => 81,
        }
    }

    /// Whether the disk may be read or written the next time.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Read(_) | Self::Write(_) => true,
            Self::Recover(error) => error.is_io(),
            Self::Shrunk { .. } => false,
        }
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

/// Compares the size of the file system with that of the open disk, before the mount. Where there is more room, writes the zeros that
/// must be there, and grows the file system if policy says so; returns the size before, if it has grown.
pub(super) fn settle(mapped: &Mapped, (target, there): (&Device, u64), wanted: &Data) -> Result<Option<u64>, Error> {
    let Some(found) = Found::read(target, wanted.fs)? else {
        return Ok(None);
    };
    if found.bytes > there {
        return Err(Error::Shrunk { needed: found.bytes, there });
    }
    if there - found.bytes < LEAST {
        return Ok(None);
    }
    // Until the journal is recovered the superblock may be older than what is in use behind the end that it names.
    mounting::recover(mapped, wanted.into()).map_err(Error::Recover)?;
    let Some(found) = Found::read(target, wanted.fs)? else {
        return Ok(None);
    };
    log::info!("data: the file system has {} bytes, the disk has room for {there}", found.bytes);
    let end = there - there % BLOCK;
    let mut unwritten = if wanted.grow { found.heads(end) } else { Vec::new() };
    unwritten.push(found.bytes.next_multiple_of(BLOCK).max(end.saturating_sub(EDGE))..end);
    unwritten.retain(|range| range.start < range.end);
    zeros::write(target, &unwritten, "data: initialising").map_err(Error::Write)?;
    let has_grown = wanted.grow && grow(mapped, wanted, found.growth(there));
    Ok(has_grown.then_some(found.bytes))
}

/// Grows the file system where nobody else sees it; says whether it has grown. One that has not is checked and mounted as it is: that
/// is no reason to keep its owner from the files.
fn grow(mapped: &Mapped, wanted: &Data, growth: Growth) -> bool {
    let grown = || {
        let mount = mounting::mounted(mapped, wanted.into())?;
        let folder = mount.open(Path::new("."))?;
        let before = resize::data_blocks(&folder)?;
        resize::grow(&folder, growth)?;
        Ok(resize::data_blocks(&folder)? > before)
    };
    let grown = mounting::watched(mapped, "data", "growing", grown).unwrap_or_else(|error| {
        log::error!("data: the file system did not grow, and is used as it is: {error}");
        false
    });
    if grown {
        log::info!("data: the file system has grown");
        step("data: file system has grown");
    }
    grown
}

/// A file system as its superblock describes it.
struct Found {
    /// Its size.
    bytes: u64,
    layout: Layout,
}

enum Layout {
    Ext4(ext4::Superblock),
    Xfs(xfs::Superblock),
    Btrfs,
}

impl Found {
    /// Reads the superblock; `None` where there is none that is understood, which the mount or the check tells.
    fn read(target: &Device, kind: FileSystem) -> Result<Option<Self>, Error> {
        let at = if kind == FileSystem::Btrfs { btrfs::SUPERBLOCK_OFFSET } else { 0 };
        let block = target.read(at, usize::try_from(BLOCK).unwrap_or(usize::MAX)).map_err(Error::Read)?;
        Ok(Self::parse(&block, kind))
    }

    fn parse(block: &[u8], kind: FileSystem) -> Option<Self> {
        let (bytes, layout) = match kind {
            FileSystem::Ext4 => {
                let at = usize::try_from(ext4::SUPERBLOCK_OFFSET).ok()?;
                let superblock = ext4::Superblock::parse(block.get(at..at + ext4::SUPERBLOCK_BYTES)?, u64::MAX).ok()?;
                (superblock.blocks().checked_mul(ext4::BLOCK_BYTES)?, Layout::Ext4(superblock))
            }
            FileSystem::Xfs => {
                let superblock = xfs::Superblock::parse(block).ok()?;
                (superblock.bytes, Layout::Xfs(superblock))
            }
            FileSystem::Btrfs => (btrfs::device_bytes(block)?, Layout::Btrfs),
        };
        Some(Self { bytes, layout })
    }

    /// What is read of the new part, up to the byte `end`, though it is never written before: by ext4 as it grows, by xfs_repair later.
    fn heads(&self, end: u64) -> Vec<Range<u64>> {
        match &self.layout {
            Layout::Ext4(superblock) => unwritten::in_bytes(superblock.new_group_heads(end / BLOCK)),
            Layout::Xfs(superblock) => superblock.new_group_heads(end),
            Layout::Btrfs => Vec::new(),
        }
    }

    fn growth(&self, bytes: u64) -> Growth {
        match &self.layout {
            Layout::Ext4(_) => Growth::Ext4 { blocks: bytes / ext4::BLOCK_BYTES },
            Layout::Xfs(found) => Growth::Xfs { blocks: bytes / found.block_bytes, inode_percent: found.inode_percent },
            Layout::Btrfs => Growth::Btrfs,
        }
    }
}
