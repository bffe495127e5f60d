//! A file system on a device whose sectors were never written and so cannot be read.
//!
//! The verified root's own mkfs makes it in a sparse file of the same size on tmpfs; then only the extents that it wrote are
//! copied. Nothing reads a sector that has no valid tag, and no helper sees the device.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kernel::block::{DIRECT_ALIGN, Device};
use kernel::mount::{self, Attr, Detached, MountOption};
use ondisk::cmdline::FileSystem;

use crate::journal::step;
use crate::phase::root::Root;
use crate::watchdog;

/// The file in the scratch space, as mkfs sees it.
const IMAGE: &str = "/tmp/data.img";
/// The most memory that a file system's first blocks may take.
const SCRATCH_BYTES: &str = "256m";
/// mke2fs would punch holes where its journal must be zero, and holes are not copied.
const ENVIRONMENT: [(&str, &str); 1] = [("UNIX_IO_NOZEROOUT", "1")];
/// Below this many bytes ext4 gets a journal of 4 MiB, as mke2fs itself would have it, else of 16 MiB.
const SMALL: u64 = 128 << 20;
/// How long mkfs may take: seconds under emulation.
const TOOL: Duration = Duration::from_secs(120);
/// The largest piece copied at once, in bytes.
const PIECE: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("scratch space")]
    Scratch(#[source] kernel::Error),
    #[error("the image has no {0}")]
    NoTool(&'static str, #[source] kernel::Error),
    #[error("{0} ended with {1:?}: {2}")]
    Tool(&'static str, Option<i32>, String),
    #[error("copying")]
    Copy(#[source] kernel::Error),
    #[error("{0} bytes at {1} do not read back")]
    ReadBack(usize, u64),
}

/// Whether the verified root can make a file system of `kind` at all.
pub(super) fn check_tool(root: &Root, kind: FileSystem) -> Result<(), Error> {
    let tool = tool(kind);
    let missing = |e: std::io::Error| Error::NoTool(tool, kernel::Error::io("stat", tool, &e));
    let path = root.path().join(tool.trim_start_matches('/'));
    let Ok(link) = std::fs::read_link(&path) else {
        return std::fs::symlink_metadata(&path).map(drop).map_err(missing);
    };
    // A link, as mkfs.ext4 is one to mke2fs, is meant inside the root.
    let inside = match link.strip_prefix("/") {
        Ok(absolute) => root.path().join(absolute),
        Err(_) => path.with_file_name(link),
    };
    std::fs::symlink_metadata(inside).map(drop).map_err(missing)
}

/// A file system in memory, with holes wherever mkfs wrote nothing.
pub(super) struct Scratch {
    image: File,
    bytes: u64,
    _mounts: Vec<Mounted>,
}

/// A tmpfs inside the root that is there for mkfs alone.
struct Mounted(PathBuf);

impl Mounted {
    fn at(place: PathBuf, size: &str) -> Result<Self, kernel::Error> {
        let options = [MountOption::Value("size", size), MountOption::Value("mode", "0700")];
        let attr = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOEXEC;
        Detached::new("tmpfs", &options, attr)?.attach(&place)?;
        Ok(Self(place))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = mount::detach(&self.0) {
            log::warn!("data: scratch space stays: {error}");
        }
    }
}

impl Scratch {
    /// Makes a file system of `kind` for a device of `bytes`.
    pub(super) fn make(root: &Root, bytes: u64, kind: FileSystem) -> Result<Self, Error> {
        let inside = |path: &str| root.path().join(path.trim_start_matches('/'));
        let mut mounts = vec![Mounted::at(inside("/tmp"), SCRATCH_BYTES).map_err(Error::Scratch)?];
        let scratch = |call: &'static str| move |e: std::io::Error| Error::Scratch(kernel::Error::io(call, IMAGE, &e));
        if kind == FileSystem::Btrfs {
            // It will not go on before it has read which devices are mounted: here, none.
            mounts.push(Mounted::at(inside("/proc"), "4k").map_err(Error::Scratch)?);
            std::fs::create_dir(inside("/proc/self")).map_err(scratch("mkdir"))?;
            File::create(inside("/proc/self/mounts")).map_err(scratch("open"))?;
        }
        let image = File::options().read(true).write(true).create_new(true).open(inside(IMAGE)).map_err(scratch("open"))?;
        image.set_len(bytes).map_err(scratch("ftruncate"))?;

        let (tool, arguments) = (tool(kind), arguments(kind, bytes));
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let (start, deadline) = (Instant::now(), Instant::now() + TOOL);
        let waiting = || {
            watchdog::alive();
            log::info!("data: {tool} runs for {} s", start.elapsed().as_secs());
        };
        let ended = kernel::child::run_in(root.path(), tool, &arguments, &ENVIRONMENT, deadline, waiting);
        let ended = ended.map_err(|error| Error::NoTool(tool, error))?;
        if ended.status != Some(0) {
            return Err(Error::Tool(tool, ended.status, ended.complaint));
        }
        step("data: file system made");
        Ok(Self { image, bytes, _mounts: mounts })
    }

    /// Copies to `target` whatever mkfs wrote, and waits until it is there; returns the bytes copied.
    pub(super) fn copy_to(&self, target: &Device) -> Result<u64, Error> {
        let copied = self.for_each_piece(|at, piece| target.write(at, piece).map_err(Error::Copy))?;
        target.flush().map_err(Error::Copy)?;
        Ok(copied)
    }

    /// Compares `target` with whatever mkfs wrote.
    pub(super) fn compare_with(&self, target: &Device) -> Result<(), Error> {
        let same = |at, piece: &[u8]| {
            // A piece is read at once.
            let mut same = false;
            target.for_each_piece(at, piece.len(), |read| same = read == piece).map_err(Error::Copy)?;
            if same { Ok(()) } else { Err(Error::ReadBack(piece.len(), at)) }
        };
        self.for_each_piece(same).map(drop)
    }

    /// Goes through the extents in pieces, whole blocks each; returns their bytes.
    fn for_each_piece(&self, mut take: impl FnMut(u64, &[u8]) -> Result<(), Error>) -> Result<u64, Error> {
        let align = u64::try_from(DIRECT_ALIGN).unwrap_or(u64::MAX);
        let (mut taken, mut at) = (0, 0);
        let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or(0)];
        while let Some((start, end)) = kernel::block::next_extent(&self.image, at).map_err(Error::Copy)? {
            let mut from = start - start % align;
            let until = end.next_multiple_of(align).min(self.bytes);
            while from < until {
                watchdog::alive();
                let length = PIECE.min(until - from);
                let piece = buffer.get_mut(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
                let read = self.image.read_exact_at(piece, from);
                read.map_err(|e| Error::Copy(kernel::Error::io("read", IMAGE, &e)))?;
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

/// Its arguments for a device of `bytes`. Lazy where that is safe: what is not initialised must never be read before it is written.
/// A file system's journal is: after a power cut it is read to its end, so it is written whole here, and kept small.
fn arguments(kind: FileSystem, bytes: u64) -> String {
    let words = match kind {
        FileSystem::Ext4 => {
            let journal = if bytes < SMALL { "4" } else { "16" };
            format!("-F -b 4096 -J size={journal} -E lazy_itable_init=1,lazy_journal_init=0,nodiscard,root_owner=0:0")
        }
        FileSystem::Xfs => "-f -K -s size=4096 -l size=64m".to_owned(),
        FileSystem::Btrfs => "-f -K".to_owned(),
    };
    format!("-q {words} -L data {IMAGE}")
}
