//! A file system on a device whose sectors were never written and so cannot be read.
//!
//! The verified root's own mkfs makes it in a sparse file of the same size on tmpfs; then only the extents that it wrote are
//! copied. Nothing reads a sector that has no valid tag, and no helper sees the device.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use kernel::block::{Access, DIRECT_ALIGN, Device};
use kernel::mount::{self, Attr, Detached, MountOption};
use ondisk::cmdline::FileSystem;

use crate::journal::step;
use crate::phase::root::Root;

/// Where the tmpfs goes, in the root.
const SCRATCH: &str = "/tmp";
/// The file in it.
const IMAGE: &str = "/tmp/data.img";
/// The most memory that a file system's first blocks may take. ext4 of 200 GiB takes 6 MB.
const SCRATCH_BYTES: &str = "256m";
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
    #[error("{0} ended with {1:?}")]
    Tool(&'static str, Option<i32>),
    #[error("copying")]
    Copy(#[source] kernel::Error),
    #[error("{0} bytes at {1} do not read back")]
    ReadBack(usize, u64),
}

/// Whether the verified root can make a file system of `kind` at all.
pub(super) fn check_tool(root: &Root, kind: FileSystem) -> Result<(), Error> {
    let (tool, _) = command(kind);
    let found = std::fs::symlink_metadata(root.path().join(tool.trim_start_matches('/')));
    found.map(drop).map_err(|e| Error::NoTool(tool, kernel::Error::io("stat", tool, &e)))
}

/// Makes a file system of `kind` on `device`, the whole of it.
pub(super) fn make(root: &Root, device: &Path, kind: FileSystem) -> Result<(), Error> {
    let scratch = root.path().join(SCRATCH.trim_start_matches('/'));
    let options = [MountOption::Value("size", SCRATCH_BYTES), MountOption::Value("mode", "0700")];
    let attr = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOEXEC;
    let attach = || Detached::new("tmpfs", &options, attr)?.attach(&scratch);
    attach().map_err(Error::Scratch)?;
    let made = make_in_scratch(root, device, kind);
    mount::detach(&scratch).map_err(Error::Scratch)?;
    made
}

fn make_in_scratch(root: &Root, device: &Path, kind: FileSystem) -> Result<(), Error> {
    let target = Device::open(device, Access::ReadWrite).map_err(Error::Copy)?;
    let bytes = target.bytes().map_err(Error::Copy)?;
    let path = root.path().join(IMAGE.trim_start_matches('/'));
    let scratch = |call: &'static str| move |e: std::io::Error| Error::Scratch(kernel::Error::io(call, IMAGE, &e));
    let image = File::options().read(true).write(true).create_new(true).open(&path).map_err(scratch("open"))?;
    image.set_len(bytes).map_err(scratch("ftruncate"))?;

    let (tool, arguments) = command(kind);
    match kernel::child::run_in(root.path(), tool, arguments, Instant::now() + TOOL) {
        Ok(Some(0)) => {}
        Ok(status) => return Err(Error::Tool(tool, status)),
        Err(error) => return Err(Error::NoTool(tool, error)),
    }
    step("data: file system made");
    let copied = copy_extents(&image, &target, bytes)?;
    target.flush().map_err(Error::Copy)?;
    step(format_args!("data: {copied} bytes copied and read back"));
    Ok(())
}

/// Lazy where that is safe: what is not initialised is never read before it is written.
fn command(kind: FileSystem) -> (&'static str, &'static [&'static str]) {
    match kind {
        FileSystem::Ext4 => (
            "/usr/sbin/mkfs.ext4",
            &[
                "-q",
                "-F",
                "-b",
                "4096",
                "-L",
                "data",
                "-E",
                "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
                IMAGE,
            ],
        ),
        FileSystem::Xfs => ("/usr/sbin/mkfs.xfs", &["-q", "-f", "-K", "-s", "size=4096", "-L", "data", IMAGE]),
        FileSystem::Btrfs => ("/usr/sbin/mkfs.btrfs", &["-q", "-f", "-K", "-L", "data", IMAGE]),
    }
}

/// Copies what `image` has data in, a piece at a time, and reads each piece back; returns the bytes copied.
fn copy_extents(image: &File, target: &Device, bytes: u64) -> Result<u64, Error> {
    let align = u64::try_from(DIRECT_ALIGN).unwrap_or(u64::MAX);
    let (mut copied, mut at) = (0, 0);
    while let Some((start, end)) = kernel::block::next_extent(image, at).map_err(Error::Copy)? {
        let mut from = start - start % align;
        let until = end.next_multiple_of(align).min(bytes);
        while from < until {
            let length = PIECE.min(until - from);
            let mut piece = vec![0; usize::try_from(length).unwrap_or(0)];
            image.read_exact_at(&mut piece, from).map_err(|e| Error::Copy(kernel::Error::io("read", IMAGE, &e)))?;
            target.write(from, &piece).map_err(Error::Copy)?;
            if target.read(from, piece.len()).map_err(Error::Copy)? != piece {
                return Err(Error::ReadBack(piece.len(), from));
            }
            copied += length;
            from += length;
        }
        at = until;
    }
    Ok(copied)
}
