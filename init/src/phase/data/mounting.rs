//! Mounts the open disk, with the policy's reaction of the file system to errors.

use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use cmdline::{FileSystem, FsOption, OnError};
use linux::mount::{Attr, Detached, MountOption};

use super::luks::Mapped;
use super::settings::FsSettings;
use crate::watchdog;

/// Read-ahead of the mounted device in KiB, the kernel's own default.
const READ_AHEAD: u32 = 128;
/// How often a long mount is checked for progress.
const POLL: Duration = Duration::from_secs(1);
/// How often the console reports a long mount.
const REPORT: Duration = Duration::from_secs(5);
/// The reasons to shut down for which xfs panics, as a bit mask: corrupt metadata, an I/O error, an error of its log. Source:
/// `xfs_error.h`.
const XFS_SHUTDOWNS: &str = "112";

/// Mounts the file system at `target`.
pub(in crate::phase) fn mount_at(mapped: &Mapped, target: &Path, wanted: FsSettings<'_>) -> Result<(), linux::Error> {
    // Read-ahead into sectors that were never written would log meaningless errors.
    mapped.set_read_ahead(0)?;
    if (wanted.kind, wanted.on_error) == (FileSystem::Xfs, OnError::Panic) {
        linux::sysctl::set("fs/xfs/panic_mask", XFS_SHUTDOWNS)?;
    }
    with_progress(mapped, wanted.label, "the mount", || mounted(mapped, wanted)?.attach(target))?;
    if wanted.kind == FileSystem::Xfs {
        shut_down_on_error(mapped)?;
    }
    mapped.set_read_ahead(READ_AHEAD)
}

/// Mounts and unmounts the file system, which recovers and empties its journal. An error does not panic here, even if policy says
/// so for the running system: the check that follows can repair it.
pub(super) fn recover(mapped: &Mapped, wanted: FsSettings<'_>) -> Result<(), linux::Error> {
    let wanted = FsSettings { on_error: OnError::RemountReadOnly, ..wanted };
    mapped.set_read_ahead(0)?;
    with_progress(mapped, wanted.label, "the recovery of its journal", || mounted(mapped, wanted).map(drop))
}

/// Mounts the file system detached from the tree; it is unmounted when the result is dropped.
pub(super) fn mounted(mapped: &Mapped, wanted: FsSettings<'_>) -> Result<Detached, linux::Error> {
    let mut options = vec![MountOption::Value("source", mapped.path())];
    match (wanted.kind, wanted.on_error) {
        // As a mount option too: a disk of an earlier version may have another setting in its superblock.
        (FileSystem::Ext4, OnError::RemountReadOnly) => options.push(MountOption::Value("errors", "remount-ro")),
        (FileSystem::Ext4, OnError::Panic) => options.push(MountOption::Value("errors", "panic")),
        // btrfs turns read-only by itself (its `fatal_errors=panic` is about other errors); xfs shuts down.
        (FileSystem::Btrfs | FileSystem::Xfs, _) => {}
    }
    if wanted.kind == FileSystem::Ext4 && !wanted.lazy_tables {
        // The kernel must write the inode tables of new groups at once when the file system grows: it cannot read a table that
        // was left unwritten.
        options.push(MountOption::Flag("noinit_itable"));
    }
    let mut attr = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV;
    for option in wanted.options {
        match option {
            FsOption::NoAccessTime => attr |= Attr::MOUNT_ATTR_NOATIME,
            FsOption::NoExec => attr |= Attr::MOUNT_ATTR_NOEXEC,
            FsOption::ProjectQuota => options.push(MountOption::Flag("prjquota")),
        }
    }
    Detached::new(wanted.kind.as_str(), &options, attr)
}

/// Makes xfs shut down when a metadata write fails; by default it retries without end.
fn shut_down_on_error(mapped: &Mapped) -> Result<(), linux::Error> {
    let folder = format!("/sys/fs/xfs/{}/error/metadata", mapped.kernel_name());
    for kind in ["EIO", "default"] {
        let path = format!("{folder}/{kind}/max_retries");
        std::fs::write(&path, "0").map_err(|e| linux::Error::io("write", &path, &e))?;
    }
    Ok(())
}

/// Runs `work`, which may take long, as recovering a journal does. It counts as progress while the disk moves data. `what` names
/// it on the console.
pub(super) fn with_progress<T: Send>(
    mapped: &Mapped,
    label: &str,
    what: &'static str,
    work: impl FnOnce() -> Result<T, linux::Error> + Send,
) -> Result<T, linux::Error> {
    let mut outcome = None;
    watch(mapped, label, what, Box::new(|| outcome = Some(work())))?;
    // `None`: the thread panicked, and the panic hook has reported it.
    outcome.unwrap_or_else(|| Err(linux::Error::io(what, mapped.path(), &std::io::ErrorKind::Other.into())))
}

fn watch(mapped: &Mapped, label: &str, what: &'static str, work: Box<dyn FnOnce() + Send + '_>) -> Result<(), linux::Error> {
    let (sender, done) = std::sync::mpsc::channel::<()>();
    let work = move || {
        work();
        drop(sender);
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mount".to_owned()).spawn_scoped(scope, work);
        thread.map_err(|error| linux::Error::io("clone", what, &error))?;
        let start = Instant::now();
        let (mut moved, mut report) = (mapped.transferred(), start + REPORT);
        // Nothing is sent: the channel closes when the work ends.
        while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(POLL) {
            let now = mapped.transferred();
            if now != moved {
                watchdog::keepalive();
                moved = now;
            }
            if Instant::now() >= report {
                log::info!("{label}: {what} has taken {} s so far", start.elapsed().as_secs());
                report = Instant::now() + REPORT;
            }
        }
        Ok(())
    })
}
