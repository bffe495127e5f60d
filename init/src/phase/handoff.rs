//! The other side: mounts move into the verified root, the initramfs is emptied, and PID 1 becomes the real init.

mod program;

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cmdline::InitPath;
use failure::ErrorCode;
use linux::child::Successor;
use linux::mount;

use super::api::Api;
use super::quiesce::Quiescent;
use super::root::Root;
use crate::journal::{Journal, step};
use crate::receipt::Receipt;
use crate::watchdog;

/// What the real system takes over, where it stands; systemd keeps what it finds mounted.
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("init={0} is no program of the verified root: correct the command line, or the image")]
    NoInit(String, #[source] program::Error),
    #[error("receipt")]
    Receipt(#[source] std::io::Error),
    #[error("moving mounts")]
    Move(#[source] linux::Error),
    #[error("emptying the initramfs")]
    Empty(#[source] std::io::Error),
    #[error("starting the real init")]
    Exec(#[source] linux::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Receipt(_) => ErrorCode::BootReport,
            Self::Move(_) => ErrorCode::MoveMounts,
            Self::Empty(_) => ErrorCode::EmptyInitramfs,
            Self::NoInit(..) => ErrorCode::NoInit,
            Self::Exec(_) => ErrorCode::ExecInit,
        }
    }

    /// A program that was not read, where policy has such a read as an error and no panic, may be read the next time.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NoInit(_, error) => error.is_io(),
            Self::Exec(error) => error.is_io(),
            Self::Receipt(_) | Self::Move(_) | Self::Empty(_) => false,
        }
    }
}

/// Looks whether `init` can be started in `root`. Asked when the root is verified, so that no disk is formatted for a root without an
/// init, and again when the data disks are mounted in it, which may hide one.
pub(crate) fn check(root: &Root, init: &InitPath) -> Result<(), Error> {
    program::check(root.path(), Path::new(init.as_str())).map_err(|error| Error::NoInit(init.as_str().to_owned(), error))
}

/// Leaves the receipt in `/run`, moves the mounts, makes `root` the root of everything, and execs `init` in it.
pub(crate) fn switch_root(
    _api: Api,
    _quiescent: Quiescent,
    root: &Root,
    init: &InitPath,
    journal: &Journal,
    receipt: Receipt,
) -> Result<Infallible, Error> {
    let sysroot = root.path();
    check(root, init)?;
    receipt.leave(journal).map_err(Error::Receipt)?;
    for place in MOVED {
        mount::relocate(Path::new(place), &sysroot.join(place.trim_start_matches('/'))).map_err(Error::Move)?;
    }
    empty(Path::new("/")).map_err(Error::Empty)?;
    step("handoff: initramfs emptied");
    let words: Vec<String> = std::iter::once(init.as_str().to_owned()).chain(std::env::args().skip(1)).collect();
    let successor = Successor::new(init.as_str(), &words).map_err(Error::Exec)?;
    mount::enter_root(sysroot).map_err(Error::Move)?;
    watchdog::stop_at_exec();
    log::info!("handoff: {} takes over after {:.1} s", init.as_str(), linux::clock::since_kernel_start().as_secs_f64());
    let _only = crate::LAST_ACT.enter();
    Err(Error::Exec(successor.become_it()))
}

/// Deletes everything on the filesystem of `folder`, and nothing that is mounted below it.
fn empty(folder: &Path) -> std::io::Result<()> {
    let device = fs::metadata(folder)?.dev();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?;
        if kind.dev() != device {
            continue;
        }
        if kind.is_dir() {
            empty(&path)?;
            // A folder with a mount in it stays, and so does what it stands in.
            match fs::remove_dir(&path) {
                Err(error)
                    if error.kind() != std::io::ErrorKind::DirectoryNotEmpty
                        && error.kind() != std::io::ErrorKind::ResourceBusy =>
                {
                    return Err(error);
                }
                _ => {}
            }
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptying_removes_files_links_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        empty(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Path::new("/etc/passwd").exists());
    }
}
