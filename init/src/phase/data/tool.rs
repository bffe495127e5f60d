//! What a program of the verified root sees while it works for the data disk: the root, read-only, a folder in memory, and, where it
//! works on the disk itself, that one device.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use linux::child::{Ended, Program};
use linux::mount::{self, Attr, Detached, MountOption};

use super::luks::Mapped;
use crate::phase::root::Root;
use crate::watchdog;

/// The open disk as a tool sees it.
pub(super) const DISK: &str = "/dev/data";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("memory for a tool")]
    Memory(#[source] linux::Error),
    #[error("the image has no {0}")]
    Missing(&'static str, #[source] linux::Error),
}

/// Whether the verified root has `tool` at all.
pub(super) fn find(root: &Root, tool: &'static str) -> Result<(), Error> {
    let missing = |e: std::io::Error| Error::Missing(tool, linux::Error::io("stat", tool, &e));
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

/// A file system in memory inside of the root, for the time that a tool runs.
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
            log::warn!("memory of a tool stays: {error}");
        }
    }
}

/// The root with memory for files in it, in which tools run. What it mounts is gone when it is dropped.
pub(super) struct Workplace<'a> {
    root: &'a Root,
    _mounts: Vec<Mounted>,
}

impl<'a> Workplace<'a> {
    /// A workplace with at most `bytes` bytes of memory under `/tmp`, and `/dev` with the open disk alone if one is given.
    pub(super) fn new(root: &'a Root, bytes: u64, disk: Option<&Mapped>) -> Result<Self, Error> {
        let inside = |path: &str| root.path().join(path.trim_start_matches('/'));
        let mut mounts = vec![
            Mounted::at(inside("/tmp"), &bytes.to_string(), Attr::MOUNT_ATTR_NODEV)?,
            Mounted::at(inside("/proc"), "4k", Attr::MOUNT_ATTR_NODEV)?,
        ];
        // btrfs' tools will not go on before they have read which devices are mounted: here, none.
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

    /// Runs `program` to its end, for at most `longest`, and says every five seconds that it runs. `alive` is asked then whether
    /// the program made progress.
    pub(super) fn run(
        &self,
        program: &Program<'_>,
        longest: Duration,
        mut alive: impl FnMut() -> bool,
    ) -> Result<Ended, linux::Error> {
        let start = Instant::now();
        let waiting = || {
            if alive() {
                watchdog::alive();
            }
            log::info!("{} runs for {} s", program.path, start.elapsed().as_secs());
        };
        linux::child::run_in(self.root.path(), program, start + longest, waiting)
    }
}
