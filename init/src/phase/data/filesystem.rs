//! A file system on a device whose sectors were never written and so cannot be read.
//!
//! The verified root's own mkfs makes it in a sparse file of the same size on tmpfs; then the extents that it wrote are copied, and
//! zeros are written wherever else the file system may read before it writes ([`super::unwritten`]). Nothing reads a sector that
//! has no valid tag, and no helper sees the device.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use cmdline::{FileSystem, FsOption, OnError};
use linux::block::{DIRECT_ALIGN, Device};
use linux::child::Program;

use super::settings::FsSettings;
use super::tool::{self, Workplace};
use super::{unwritten, zeros};
use crate::journal::step;
use crate::phase::root::Root;
use crate::watchdog;

/// The file as mkfs sees it.
const IMAGE: &str = "/tmp/data.img";
/// The memory that a file system's first blocks may take, in bytes: this for journals, which xfs writes whole, and for each
/// 32 KiB of the device one byte. Measured: ext4 takes 31 MiB for 2 TiB, 240 MiB for 16 TiB; xfs 64 MiB for its log.
const MEMORY_BYTES: u64 = 160 << 20;
const DEVICE_BYTES_PER_MEMORY_BYTE: u64 = 32 << 10;
/// Below this many bytes ext4 gets a journal of 4 MiB, as mke2fs itself would have it, else of 16 MiB.
const SMALL: u64 = 128 << 20;
/// How long mkfs may take: seconds under emulation.
const TOOL: Duration = Duration::from_secs(120);
/// The largest piece copied at once, in bytes.
const PIECE: u64 = 1 << 20;

/// ext4 has one inode for each so many bytes of the first [`DENSE_BYTES`] ...
const DENSE_BYTES_PER_INODE: u64 = 16 << 10;
const DENSE_BYTES: u64 = 16 << 30;
/// ... and for each so many bytes behind them. Every inode is 256 bytes that the first format writes: at mke2fs' own one for 16 KiB
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
    #[error("the layout that mkfs made")]
    Layout(#[from] unwritten::Error),
    #[error("copying")]
    Copy(#[source] linux::Error),
    #[error("{0} bytes at {1} do not read back")]
    ReadBack(usize, u64),
}

impl Error {
    /// Whether the disk failed to read or write.
    pub(in crate::phase) fn is_io(&self) -> bool {
        matches!(self, Self::Copy(error) if error.is_io())
    }
}

/// Whether the verified root can make the file system of the policy at all.
pub(in crate::phase) fn check_tool(root: &Root, kind: FileSystem) -> Result<(), Error> {
    Ok(tool::find(root, tool(kind))?)
}

/// A file system in memory, with holes wherever mkfs wrote nothing.
pub(in crate::phase) struct FsImage<'a> {
    image: File,
    bytes: u64,
    kind: FileSystem,
    label: &'static str,
    _workplace: Workplace<'a>,
}

impl<'a> FsImage<'a> {
    /// Makes the file system that `wanted` names for a device of `bytes`.
    pub(in crate::phase) fn make(root: &'a Root, bytes: u64, wanted: FsSettings<'_>) -> Result<Self, Error> {
        let workplace = Workplace::new(root, MEMORY_BYTES + bytes / DEVICE_BYTES_PER_MEMORY_BYTE, None)?;
        let image = workplace.create(IMAGE)?;
        image.set_len(bytes).map_err(|e| Error::Copy(linux::Error::io("ftruncate", IMAGE, &e)))?;
        let (tool, arguments) = (tool(wanted.kind), arguments(wanted, bytes));
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let program = Program { path: tool, arguments: &arguments, output: None };
        // It has no device whose counters would tell, and its own deadline is short.
        let ended = workplace.run(&program, TOOL, || true).map_err(|error| Error::Start(tool, error))?;
        if ended.status != Some(0) {
            return Err(Error::Failed(tool, ended.status, ended.complaint));
        }
        step(format_args!("{}: file system made", wanted.label));
        Ok(Self { image, bytes, kind: wanted.kind, label: wanted.label, _workplace: workplace })
    }

    /// Writes to `target` whatever mkfs wrote, and zeros wherever else may be read before it is written; waits until all is there.
    /// Returns the bytes copied and the bytes of zeros.
    pub(in crate::phase) fn write_to(&self, target: &Device) -> Result<(u64, u64), Error> {
        let ranges = unwritten::of_image(&self.image, self.kind, self.bytes)?;
        let zeros = zeros::write(target, &ranges, &format!("{}: initialising", self.label)).map_err(Error::Copy)?;
        let copied = self.for_each_piece(|at, piece| target.write(at, piece).map_err(Error::Copy))?;
        target.flush().map_err(Error::Copy)?;
        Ok((copied, zeros))
    }

    /// Compares `target` with whatever mkfs wrote, and with zeros at both ends of each stretch that was initialised.
    pub(super) fn compare_with(&self, target: &Device) -> Result<(), Error> {
        let same = |at, piece: &[u8]| {
            // A piece is read at once.
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

    /// Goes through the extents in pieces, whole blocks each; returns their bytes.
    fn for_each_piece(&self, mut take: impl FnMut(u64, &[u8]) -> Result<(), Error>) -> Result<u64, Error> {
        let align = u64::try_from(DIRECT_ALIGN).unwrap_or(u64::MAX);
        let (mut taken, mut at) = (0, 0);
        let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or(0)];
        while let Some((start, end)) = linux::block::next_extent(&self.image, at).map_err(Error::Copy)? {
            let mut from = start - start % align;
            let until = end.next_multiple_of(align).min(self.bytes);
            while from < until {
                watchdog::alive();
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

/// The program that makes a file system of `kind`.
const fn tool(kind: FileSystem) -> &'static str {
    match kind {
        FileSystem::Ext4 => "/usr/sbin/mkfs.ext4",
        FileSystem::Xfs => "/usr/sbin/mkfs.xfs",
        FileSystem::Btrfs => "/usr/sbin/mkfs.btrfs",
    }
}

/// Its arguments for a device of `bytes`.
///
/// ext4: tables and journal are marked as initialised, which their zeros on the device make true; mke2fs leaves holes for them.
/// xfs: it writes its log whole. btrfs: data checksums that a changed sector cannot keep by chance (`crc32c` is its default).
fn arguments(wanted: FsSettings<'_>, bytes: u64) -> String {
    let words = match wanted.kind {
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
    format!("-q {words} -L {} {IMAGE}", wanted.label)
}

/// How many inodes an ext4 of `bytes` has.
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
