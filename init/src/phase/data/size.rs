//! Handles a disk that the host has made larger or smaller since it was formatted.
//!
//! Before the disk is opened, [`fit`] sets dm-integrity's superblock to the present size: the kernel itself only raises the
//! number, and later refuses a disk of the former size. Then the size in the file system's superblock decides:
//!
//! - The disk is smaller than the file system: an error names both sizes. The file system is not written to, and the disk opens
//!   again when it has its former size.
//! - The disk is larger: its end, which signature probes read, is filled with zeros; the file system grows if policy says so.
//!
//! Each step may be interrupted and is repeated at the next boot, since it depends only on the contents of the disk.

use std::ops::Range;
use std::path::Path;

use cmdline::{Data, FileSystem, OnError};
use failure::ErrorCode;
use linux::block::{Access, Device};
use linux::resize::{self, Growth};
use ondisk::luks2::DATA_OFFSET;
use ondisk::{btrfs, ext4, integrity, xfs};

use super::luks::Mapped;
use super::mounting;
use super::settings::FsSettings;
use super::unwritten::{self, EDGE};
use super::zeros;
use crate::boot_log::step;

const SECTOR: u64 = 512;
/// Sectors of the open disk, and blocks of ext4.
const BLOCK: u64 = ext4::BLOCK_BYTES;
/// A smaller rest at the end is no room to grow: mkfs leaves a last group unused that would be too small.
const GROWTH_MIN: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading the disk")]
    Read(#[source] linux::Error),
    #[error("writing the disk")]
    Write(#[source] linux::Error),
    #[error(
        "the disk is too small: its file system has {needed} bytes and the disk has room for {capacity}; give the disk its former size"
    )]
    Shrunk { needed: u64, capacity: u64 },
    #[error(
        "the disk has become smaller, room for {capacity} bytes, while its journal still holds what was written behind that; give the \
         disk its former size, boot and shut down"
    )]
    Unreplayed { capacity: u64 },
}

impl Error {
    pub(super) const fn code(&self) -> ErrorCode {
        match self {
            Self::Read(_) => ErrorCode::DataUnreadable,
            Self::Shrunk { .. } | Self::Unreplayed { .. } => ErrorCode::DataSize,
            Self::Write(_) => ErrorCode::FormatWrite,
        }
    }

    /// Whether the disk may be readable or writable after the next start.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Read(_) | Self::Write(_) => true,
            Self::Shrunk { .. } | Self::Unreplayed { .. } => false,
        }
    }
}

/// Sets dm-integrity's superblock on `disk` to the number of sectors that fit. The kernel refuses a superblock that cannot be
/// parsed here. `is_ours` is called before anything is written.
pub(super) fn fit(disk: &Path, is_ours: impl FnOnce() -> Result<bool, super::Error>) -> Result<(), super::Error> {
    let device = Device::open(disk, Access::Read).map_err(Error::Read)?;
    let mut block = device.read(DATA_OFFSET, integrity::SUPERBLOCK_BYTES).map_err(Error::Read)?;
    let Some(superblock) = integrity::Superblock::parse(&block) else { return Ok(()) };
    let capacity = superblock.capacity(DATA_OFFSET / SECTOR, device.bytes().map_err(Error::Read)? / SECTOR);
    if capacity == superblock.provided() || capacity == 0 || !is_ours()? {
        return Ok(());
    }
    if capacity < superblock.provided() && would_lose(&device, &superblock, capacity)? {
        return Err(Error::Unreplayed { capacity: capacity.saturating_mul(SECTOR) }.into());
    }
    let [before, now] = [superblock.provided(), capacity].map(|sectors| sectors.saturating_mul(SECTOR));
    log::warn!("data: the disk's size has changed: room for {now} bytes, {before} before");
    integrity::set_provided(&mut block, capacity);
    let write = || {
        let device = Device::open(disk, Access::ReadWrite)?;
        device.write(DATA_OFFSET, &block)?;
        device.flush()
    };
    Ok(write().map_err(Error::Write)?)
}

/// Whether dm-integrity's journal contains writes behind `capacity`: the kernel drops them on a smaller device.
fn would_lose(device: &Device, superblock: &integrity::Superblock, capacity: u64) -> Result<bool, Error> {
    let Some(mut sections) = superblock.journal_sections() else { return Ok(true) };
    sections.try_fold(false, |found, at| {
        let entries = device.read(DATA_OFFSET.saturating_add(at), integrity::ENTRIES_BYTES).map_err(Error::Read)?;
        Ok(found || superblock.reaches(&entries, capacity))
    })
}

/// Reads the file system's superblock and compares its size with that of the open disk.
pub(super) fn check(target: &Device, capacity: u64, kind: FileSystem) -> Result<Option<FoundFileSystem>, Error> {
    match FoundFileSystem::read(target, kind)? {
        Some(found) if found.bytes > capacity => Err(Error::Shrunk { needed: found.bytes, capacity }),
        found => Ok(found),
    }
}

/// Compares the sizes before the mount. Where there is more room, writes the zeros at the end and grows the file system if policy
/// says so; returns the former size if it has grown.
pub(super) fn adjust(
    mapped: &Mapped,
    (target, capacity): (&Device, u64),
    is_authenticated: bool,
    wanted: &Data,
) -> Result<Option<u64>, Error> {
    let Some(found) = check(target, capacity, wanted.fstype)? else {
        return Ok(None);
    };
    // Only cvm-init's own format fills the disk: a foreign disk may contain other data behind its file system.
    if capacity - found.bytes < GROWTH_MIN || !(is_authenticated || wanted.grow) {
        return Ok(None);
    }
    // Until the journal is recovered, the superblock may be older than the blocks in use.
    if let Err(error) = mounting::recover(mapped, wanted.into()) {
        log::warn!("data: the file system cannot be mounted, so it does not grow: {error}");
        return Ok(None);
    }
    let Some(found) = FoundFileSystem::read(target, wanted.fstype)? else {
        return Ok(None);
    };
    log::info!("data: the file system has {} bytes, the disk has room for {capacity}", found.bytes);
    let end = capacity - capacity % BLOCK;
    let mut unwritten = if wanted.grow { found.group_heads(end) } else { Vec::new() };
    unwritten.push(found.bytes.next_multiple_of(BLOCK).max(end.saturating_sub(EDGE))..end);
    unwritten.retain(|range| range.start < range.end);
    zeros::write(target, &unwritten, "data: initialising").map_err(Error::Write)?;
    let has_grown = wanted.grow && grow(mapped, wanted, found.growth(capacity));
    Ok(has_grown.then_some(found.bytes))
}

/// Grows the file system in a detached mount; returns whether it has grown. If it has not, it is checked and mounted with its
/// former size.
fn grow(mapped: &Mapped, wanted: &Data, growth: Growth) -> bool {
    let grown = || {
        // As in a recovery, an error does not panic.
        let settings = FsSettings { on_error: OnError::RemountReadOnly, ..wanted.into() };
        let mount = mounting::mounted(mapped, settings)?;
        let folder = mount.open(Path::new("."))?;
        let before = resize::data_blocks(&folder)?;
        resize::grow(&folder, growth)?;
        Ok(resize::data_blocks(&folder)? > before)
    };
    let grown = mounting::with_progress(mapped, "data", "growing", grown).unwrap_or_else(|error| {
        log::error!("data: the file system did not grow and keeps its size: {error}");
        false
    });
    if grown {
        log::info!("data: the file system has grown");
        step("data: file system has grown");
    }
    grown
}

/// A file system as its superblock describes it.
pub(super) struct FoundFileSystem {
    bytes: u64,
    layout: Layout,
}

enum Layout {
    Ext4(ext4::Superblock),
    Xfs(xfs::Superblock),
    Btrfs { device: u64 },
}

impl FoundFileSystem {
    /// Reads the superblock; `None` when it cannot be parsed, which mount or check will report.
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
            FileSystem::Btrfs => {
                let (device, bytes) = btrfs::device(block)?;
                (bytes, Layout::Btrfs { device })
            }
        };
        Some(Self { bytes, layout })
    }

    /// The parts of the new area, up to the byte `end`, that are read before they are written: by ext4 as it grows, by xfs_repair
    /// later.
    fn group_heads(&self, end: u64) -> Vec<Range<u64>> {
        match &self.layout {
            Layout::Ext4(superblock) => unwritten::in_bytes(superblock.new_group_heads(end / BLOCK)),
            Layout::Xfs(superblock) => superblock.new_group_heads(end),
            Layout::Btrfs { .. } => Vec::new(),
        }
    }

    fn growth(&self, bytes: u64) -> Growth {
        match &self.layout {
            Layout::Ext4(_) => Growth::Ext4 { blocks: bytes / ext4::BLOCK_BYTES },
            Layout::Xfs(found) => Growth::Xfs { blocks: bytes / found.block_bytes, inode_percent: found.inode_percent },
            Layout::Btrfs { device } => Growth::Btrfs { device: *device },
        }
    }
}
