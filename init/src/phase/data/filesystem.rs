//! Makes a file system on a device whose sectors were never written and therefore cannot be read.
//!
//! The verified root's own mkfs makes it in a sparse file of the same size on tmpfs. Then the extents that mkfs wrote are copied,
//! and zeros are written where the file system may read before it writes ([`super::unwritten`]). Nothing reads a sector without a
//! valid tag, and no tool sees the device.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use cmdline::{FileSystem, FsOption, OnError};
use linux::block::{DIRECT_ALIGN, Device};
use linux::process::Program;

use super::settings::FsSettings;
use super::tool::{self, ToolEnvironment};
use super::{unwritten, zeros};
use crate::boot_log::step;
use crate::phase::root::Root;
use crate::watchdog;

/// The path of the file for mkfs.
const IMAGE: &str = "/tmp/data.img";
/// The memory for what mkfs writes, in bytes: a fixed part for journals, which xfs writes as a whole, and one byte for each 32
/// KiB of the device. Measured: ext4 takes 31 MiB for 2 TiB and 240 MiB for 16 TiB; xfs takes 64 MiB for its log.
const MEMORY_BYTES: u64 = 160 << 20;
const DEVICE_BYTES_PER_MEMORY_BYTE: u64 = 32 << 10;
/// Below this size in bytes ext4 gets a journal of 4 MiB, as mke2fs would make it, else of 16 MiB.
const SMALL: u64 = 128 << 20;
/// How long mkfs may take; it takes seconds under emulation.
const TOOL: Duration = Duration::from_secs(120);
/// The largest piece copied at once, in bytes.
const PIECE: u64 = 1 << 20;

/// Bytes per inode of ext4 in the first [`DENSE_BYTES`].
const DENSE_BYTES_PER_INODE: u64 = 16 << 10;
const DENSE_BYTES: u64 = 16 << 30;
/// Bytes per inode behind them. The first format writes 256 bytes for every inode: with mke2fs' default of one inode per 16 KiB
/// that is a 64th of the disk, minutes for each TiB.
const SPARSE_BYTES_PER_INODE: u64 = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Tool(#[from] tool::Error),
    #[error("starting {0}")]
    Start(&'static str, #[source] linux::Error),
    #[error("{0} ended with {1:?}: {2}")]
    Failed(&'static str, Option<i32>, String),
    #[error("the layout made by mkfs")]
    Layout(#[from] unwritten::Error),
    #[error("copying to the disk")]
    Copy(#[source] linux::Error),
    #[error("the disk returns other bytes than were written: {0} bytes at {1}")]
    ReadBack(usize, u64),
}

impl Error {
    /// Whether the disk failed to read or write.
    pub(in crate::phase) fn is_io(&self) -> bool {
        matches!(self, Self::Copy(error) if error.is_io())
    }
}

/// Checks that the verified root has the mkfs of the policy's file system.
pub(in crate::phase) fn check_tool(root: &Root, kind: FileSystem) -> Result<(), Error> {
    Ok(tool::check_exists(root, tool(kind))?)
}

/// A file system in memory; the parts that mkfs did not write are holes.
pub(in crate::phase) struct FsImage<'a> {
    image: File,
    bytes: u64,
    kind: FileSystem,
    label: &'static str,
    _environment: ToolEnvironment<'a>,
}

impl<'a> FsImage<'a> {
    /// Makes the file system of `wanted` for a device of `bytes`.
    pub(in crate::phase) fn make(root: &'a Root, bytes: u64, wanted: FsSettings<'_>) -> Result<Self, Error> {
        let environment = ToolEnvironment::new(root, MEMORY_BYTES + bytes / DEVICE_BYTES_PER_MEMORY_BYTE, None)?;
        let image = environment.create(IMAGE)?;
        image.set_len(bytes).map_err(|e| Error::Copy(linux::Error::io("ftruncate", IMAGE, &e)))?;
        let (tool, arguments) = (tool(wanted.kind), arguments(wanted, bytes));
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let program = Program { path: tool, arguments: &arguments, output: None };
        // mkfs has no device whose counters would show progress, and has a short deadline of its own.
        let ended = environment.run(&program, TOOL, || true).map_err(|error| Error::Start(tool, error))?;
        if ended.status != Some(0) {
            return Err(Error::Failed(tool, ended.status, ended.stderr));
        }
        step(format_args!("{}: file system made", wanted.label));
        Ok(Self { image, bytes, kind: wanted.kind, label: wanted.label, _environment: environment })
    }

    /// Copies the extents that mkfs wrote to `target`, writes zeros where other bytes may be read before they are written, and
    /// flushes. Returns the bytes copied and the bytes of zeros.
    pub(in crate::phase) fn write_to(&self, target: &Device) -> Result<(u64, u64), Error> {
        let ranges = unwritten::of_image(&self.image, self.kind, self.bytes)?;
        let zeros = zeros::write(target, &ranges, &format!("{}: initialising", self.label)).map_err(Error::Copy)?;
        let copied = self.for_each_piece(|at, piece| target.write(at, piece).map_err(Error::Copy))?;
        target.flush().map_err(Error::Copy)?;
        Ok((copied, zeros))
    }

    /// Compares `target` with the extents that mkfs wrote, and with zeros at both ends of each range that was initialised.
    pub(super) fn compare_with(&self, target: &Device) -> Result<(), Error> {
        let same = |at, piece: &[u8]| {
            // The callback runs once, since a piece is read at once.
            let mut same = false;
            target.for_each_piece(at, piece.len(), |read| same = read == piece).map_err(Error::Copy)?;
            if same { Ok(()) } else { Err(Error::ReadBack(piece.len(), at)) }
        };
        self.for_each_piece(same)?;
        let ranges = unwritten::of_image(&self.image, self.kind, self.bytes)?;
        let align = u64::try_from(DIRECT_ALIGN).unwrap_or(u64::MAX);
        let mut expected = vec![0; DIRECT_ALIGN];
        for Range { start, end } in ranges {
            for at in [start, end.saturating_sub(align)] {
                self.image.read_exact_at(&mut expected, at).map_err(|e| Error::Copy(linux::Error::io("read", IMAGE, &e)))?;
                same(at, &expected)?;
            }
        }
        Ok(())
    }

    /// Passes the extents to `take` in pieces of whole blocks; returns the bytes passed.
    fn for_each_piece(&self, mut take: impl FnMut(u64, &[u8]) -> Result<(), Error>) -> Result<u64, Error> {
        let align = u64::try_from(DIRECT_ALIGN).unwrap_or(u64::MAX);
        let (mut taken, mut at) = (0, 0);
        let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or(0)];
        while let Some((start, end)) = linux::block::next_extent(&self.image, at).map_err(Error::Copy)? {
            let mut from = start - start % align;
            let until = end.next_multiple_of(align).min(self.bytes);
            while from < until {
                watchdog::keepalive();
                let length = PIECE.min(until - from);
                let piece = buffer.get_mut(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
                let read = self.image.read_exact_at(piece, from);
                read.map_err(|e| Error::Copy(linux::Error::io("read", IMAGE, &e)))?;
                take(from, piece)?;
                taken += length;
                from += length;
            }
            at = until;
        }
        Ok(taken)
    }
}

/// The mkfs program of `kind`.
const fn tool(kind: FileSystem) -> &'static str {
    match kind {
        FileSystem::Ext4 => "/usr/sbin/mkfs.ext4",
        FileSystem::Xfs => "/usr/sbin/mkfs.xfs",
        FileSystem::Btrfs => "/usr/sbin/mkfs.btrfs",
    }
}

/// Arguments of mkfs for a device of `bytes`.
///
/// ext4: tables and journal are marked as initialised; mke2fs leaves holes for them, and PID 1 writes their zeros. xfs: mkfs
/// writes the whole log. btrfs: SHA-256 checksums of data, since the default `crc32c` may match a changed sector by chance.
fn arguments(wanted: FsSettings<'_>, bytes: u64) -> String {
    let options = match wanted.kind {
        FileSystem::Ext4 => {
            let journal = if bytes < SMALL { "4" } else { "16" };
            let errors = match wanted.on_error {
                OnError::RemountReadOnly => "remount-ro",
                OnError::Panic => "panic",
            };
            let quota = wanted.options.contains(&FsOption::ProjectQuota);
            let (features, extended) = if quota { (" -O quota,project", ",quotatype=prjquota") } else { ("", "") };
            let extended = format!("lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0{extended}");
            format!("-F -b 4096 -J size={journal} -N {} -e {errors}{features} -E {extended}", inodes(bytes))
        }
        FileSystem::Xfs => "-f -K -s size=4096 -l size=64m".to_owned(),
        FileSystem::Btrfs => "-f -K --csum sha256".to_owned(),
    };
    format!("-q {options} -L {} {IMAGE}", wanted.label)
}

/// The number of inodes of an ext4 of `bytes`.
fn inodes(bytes: u64) -> u64 {
    let dense = bytes.min(DENSE_BYTES);
    (dense / DENSE_BYTES_PER_INODE + (bytes - dense) / SPARSE_BYTES_PER_INODE).max(64)
}

#[cfg(test)]
mod tests {
    use super::inodes;

    #[test]
    fn inode_tables_stay_a_small_part_of_a_large_disk() {
        for (bytes, want) in [
            (64 << 10, 64),
            (160 << 20, 10_240),
            (16 << 30, 1_048_576),
            (20 << 30, 1_064_960),
            (200 << 30, 1_802_240),
            (2 << 40, 9_371_648),
        ] {
            assert_eq!(inodes(bytes), want, "{bytes}");
        }
    }
}
