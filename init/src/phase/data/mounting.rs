//! The mount of the open disk, and what a file system does when it meets an error.

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
/// How often a mount that lasts is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the console says that it lasts.
const REPORT: Duration = Duration::from_secs(5);
/// xfs' ways to shut down of itself, as a bit mask: corrupt metadata, an I/O error, an error of its log. Source: `xfs_error.h`.
const XFS_SHUTDOWNS: &str = "112";

/// Mounts the file system of the policy at `target`. The running system may see it from here on.
pub(in crate::phase) fn mount_at(mapped: &Mapped, target: &Path, wanted: FsSettings<'_>) -> Result<(), linux::Error> {
    // Nothing probed the device before: read-ahead into sectors never written would only log errors that mean nothing.
    mapped.set_read_ahead(0)?;
    if (wanted.kind, wanted.on_error) == (FileSystem::Xfs, OnError::Panic) {
        linux::sysctl::set("fs/xfs/panic_mask", XFS_SHUTDOWNS)?;
    }
    watched(mapped, wanted.label, "the mount", || mounted(mapped, wanted)?.attach(target))?;
    if wanted.kind == FileSystem::Xfs {
        shut_down_at_once(mapped)?;
    }
    mapped.set_read_ahead(READ_AHEAD)
}

/// Mounts and unmounts it, so that its journal is recovered and empty. Nothing else sees it. An error in it leaves the file system to
/// the check that follows, whatever policy says of the running system: a panic here would keep the check from it at every boot.
pub(super) fn recover(mapped: &Mapped, wanted: FsSettings<'_>) -> Result<(), linux::Error> {
    let wanted = FsSettings { on_error: OnError::RemountReadOnly, ..wanted };
    mapped.set_read_ahead(0)?;
    watched(mapped, wanted.label, "the recovery of its journal", || mounted(mapped, wanted).map(drop))
}

/// Mounts it where nobody sees it; it is unmounted when this is dropped.
pub(super) fn mounted(mapped: &Mapped, wanted: FsSettings<'_>) -> Result<Detached, linux::Error> {
    let mut options = vec![MountOption::Value("source", mapped.path())];
    match (wanted.kind, wanted.on_error) {
        // Said here too: a disk of an earlier version has another word in its superblock.
        (FileSystem::Ext4, OnError::RemountReadOnly) => options.push(MountOption::Value("errors", "remount-ro")),
        (FileSystem::Ext4, OnError::Panic) => options.push(MountOption::Value("errors", "panic")),
        // btrfs turns read-only by itself (its `fatal_errors=panic` is about other errors), xfs shuts down.
        (FileSystem::Btrfs | FileSystem::Xfs, _) => {}
    }
    if wanted.kind == FileSystem::Ext4 && !wanted.lazy_tables {
        // A file system that grows, now or later, has the inode tables of new groups written at once: a table that is left to be
        // written later cannot be read until then.
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

/// xfs repeats metadata writes that fail for ever, unless it is told to shut down.
fn shut_down_at_once(mapped: &Mapped) -> Result<(), linux::Error> {
    let folder = format!("/sys/fs/xfs/{}/error/metadata", mapped.kernel_name());
    for kind in ["EIO", "default"] {
        let path = format!("{folder}/{kind}/max_retries");
        std::fs::write(&path, "0").map_err(|e| linux::Error::io("write", &path, &e))?;
    }
    Ok(())
}

/// Runs `work`, which may take a long time, as the recovery of a journal does: as long as the disk moves data there is progress.
/// `what` is what the console says.
pub(super) fn watched<T: Send>(
    mapped: &Mapped,
    label: &str,
    what: &'static str,
    work: impl FnOnce() -> Result<T, linux::Error> + Send,
) -> Result<T, linux::Error> {
    let mut outcome = None;
    watch(mapped, label, what, Box::new(|| outcome = Some(work())))?;
    // None: its thread ended without a word: its panic is told by the panic hook.
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
        // Nothing is sent: the end is the end of the sender.
        while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(LOOK) {
            let now = mapped.transferred();
            if now != moved {
                watchdog::alive();
                moved = now;
            }
            if Instant::now() >= report {
                log::info!("{label}: {what} lasts {} s", start.elapsed().as_secs());
                report = Instant::now() + REPORT;
            }
        }
        Ok(())
    })
}
