//! Runs a program of the verified root for the data disk. It sees the read-only root, a folder in memory and, if it works on the
//! disk itself, that one device.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use linux::mount::{self, Attr, Detached, MountOption};
use linux::process::{Output, Program};

use super::luks::Mapped;
use crate::phase::root::Root;
use crate::watchdog;

/// The path of the open disk for a tool.
pub(super) const DISK: &str = "/dev/data";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("memory for a tool")]
    Memory(#[source] linux::Error),
    #[error("the image contains no {0}")]
    Missing(&'static str, #[source] linux::Error),
}

/// Checks that the verified root has `tool`.
pub(super) fn check_exists(root: &Root, tool: &'static str) -> Result<(), Error> {
    let missing = |e: std::io::Error| Error::Missing(tool, linux::Error::io("stat", tool, &e));
    let path = root.path().join(tool.trim_start_matches('/'));
    let Ok(link) = std::fs::read_link(&path) else {
        return std::fs::symlink_metadata(&path).map(drop).map_err(missing);
    };
    // A link, such as mkfs.ext4 to mke2fs, is resolved inside of the root.
    let inside = match link.strip_prefix("/") {
        Ok(absolute) => root.path().join(absolute),
        Err(_) => path.with_file_name(link),
    };
    std::fs::symlink_metadata(inside).map(drop).map_err(missing)
}

/// A file system in memory inside of the root, unmounted on drop.
struct Mounted(PathBuf);

impl Mounted {
    fn at(place: PathBuf, size: &str, attr: Attr) -> Result<Self, Error> {
        let options = [MountOption::Value("size", size), MountOption::Value("mode", "0700")];
        let attr = attr | Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC;
        let attached = Detached::new("tmpfs", &options, attr).and_then(|mount| mount.attach(&place));
        attached.map(|()| Self(place)).map_err(Error::Memory)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = mount::detach(&self.0) {
            log::warn!("the memory of a tool cannot be unmounted: {error}");
        }
    }
}

/// The mounts that a tool needs inside of the root; they are unmounted on drop.
pub(super) struct ToolEnvironment<'a> {
    root: &'a Root,
    _mounts: Vec<Mounted>,
}

impl<'a> ToolEnvironment<'a> {
    /// Mounts memory of at most `bytes` at `/tmp`, and a `/dev` with only the open disk, if one is given.
    pub(super) fn new(root: &'a Root, bytes: u64, disk: Option<&Mapped>) -> Result<Self, Error> {
        let inside = |path: &str| root.path().join(path.trim_start_matches('/'));
        let mut mounts = vec![
            Mounted::at(inside("/tmp"), &bytes.to_string(), Attr::MOUNT_ATTR_NODEV)?,
            Mounted::at(inside("/proc"), "4k", Attr::MOUNT_ATTR_NODEV)?,
        ];
        // btrfs' tools require this list of mounts; it is empty.
        let failed = |call: &'static str| move |e: std::io::Error| Error::Memory(linux::Error::io(call, "/proc/self", &e));
        std::fs::create_dir(inside("/proc/self")).map_err(failed("mkdir"))?;
        File::create(inside("/proc/self/mounts")).map_err(failed("open"))?;
        if let Some(disk) = disk {
            mounts.push(Mounted::at(inside("/dev"), "4k", Attr::empty())?);
            let number = linux::block::number_of(disk.kernel_name()).map_err(Error::Memory)?;
            mount::make_block_node(&inside(DISK), &number).map_err(Error::Memory)?;
        }
        Ok(Self { root, _mounts: mounts })
    }

    /// A new file under `/tmp`.
    pub(super) fn create(&self, path: &str) -> Result<File, Error> {
        let place = self.root.path().join(path.trim_start_matches('/'));
        let file = File::options().read(true).write(true).create_new(true).open(place);
        file.map_err(|e| Error::Memory(linux::Error::io("open", path, &e)))
    }

    /// Runs `program` for at most `longest` and reports on the console every five seconds. `has_progress` is called then and
    /// tells whether the program made progress.
    pub(super) fn run(
        &self,
        program: &Program<'_>,
        longest: Duration,
        mut has_progress: impl FnMut() -> bool,
    ) -> Result<Output, linux::Error> {
        let start = Instant::now();
        let waiting = || {
            if has_progress() {
                watchdog::keepalive();
            }
            log::info!("{} has run for {} s", program.path, start.elapsed().as_secs());
        };
        linux::process::run_in(self.root.path(), program, start + longest, waiting)
    }
}
