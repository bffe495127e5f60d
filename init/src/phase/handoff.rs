//! switch_root: moves mounts into the verified root, empties the initramfs and executes the real init.

mod program;

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cmdline::InitPath;
use failure::ErrorCode;
use linux::mount;
use linux::process::PreparedExec;

use super::early::EarlyMounts;
use super::quiesce::Quiescent;
use super::root::Root;
use crate::boot_log::{BootLog, step};
use crate::boot_report::BootReport;
use crate::watchdog;

/// The mounts that the real system keeps.
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("init={0} cannot be started in the verified root: correct the command line or the image")]
    NoInit(String, #[source] program::Error),
    #[error("writing the boot report")]
    BootReport(#[source] std::io::Error),
    #[error("moving mounts")]
    Move(#[source] linux::Error),
    #[error("emptying the initramfs")]
    Empty(#[source] std::io::Error),
    #[error("executing the real init")]
    Exec(#[source] linux::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::BootReport(_) => ErrorCode::BootReport,
            Self::Move(_) => ErrorCode::MoveMounts,
            Self::Empty(_) => ErrorCode::EmptyInitramfs,
            Self::NoInit(..) => ErrorCode::NoInit,
            Self::Exec(_) => ErrorCode::ExecInit,
        }
    }

    /// The file may be readable after the next start, if policy makes a failed read an error instead of a panic.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NoInit(_, error) => error.is_io(),
            Self::Exec(error) => error.is_io(),
            Self::BootReport(_) | Self::Move(_) | Self::Empty(_) => false,
        }
    }
}

/// Checks whether `init` can be started in `root`: once when the root is verified, so that no disk is formatted for a root
/// without an init, and again when the data disks are mounted, which may hide it.
pub(crate) fn check(root: &Root, init: &InitPath) -> Result<(), Error> {
    program::check(root.path(), Path::new(init.as_str())).map_err(|error| Error::NoInit(init.as_str().to_owned(), error))
}

/// Writes the boot report to `/run`, moves the mounts, makes `root` the root directory, and executes `init` in it.
pub(crate) fn switch_root(
    _early: EarlyMounts,
    _quiescent: Quiescent,
    root: &Root,
    init: &InitPath,
    boot_log: &BootLog,
    report: BootReport,
) -> Result<Infallible, Error> {
    let sysroot = root.path();
    check(root, init)?;
    report.write(boot_log).map_err(Error::BootReport)?;
    for place in MOVED {
        mount::relocate(Path::new(place), &sysroot.join(place.trim_start_matches('/'))).map_err(Error::Move)?;
    }
    delete_files(Path::new("/")).map_err(Error::Empty)?;
    step("handoff: initramfs emptied");
    let arguments: Vec<String> = std::iter::once(init.as_str().to_owned()).chain(std::env::args().skip(1)).collect();
    let prepared = PreparedExec::new(init.as_str(), &arguments).map_err(Error::Exec)?;
    mount::switch_root(sysroot).map_err(Error::Move)?;
    watchdog::stop_at_exec();
    log::info!("handoff: {} takes over after {:.1} s", init.as_str(), linux::clock::since_kernel_start().as_secs_f64());
    let _only = crate::TERMINATION.enter();
    Err(Error::Exec(prepared.exec()))
}

/// Deletes everything on the file system of `folder`, and nothing on file systems that are mounted below it.
fn delete_files(folder: &Path) -> std::io::Result<()> {
    let device = fs::metadata(folder)?.dev();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?;
        if kind.dev() != device {
            continue;
        }
        if kind.is_dir() {
            delete_files(&path)?;
            // A folder that contains a mount point stays, and so do its parents.
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
    fn deletes_files_links_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        delete_files(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Path::new("/etc/passwd").exists());
    }
}
