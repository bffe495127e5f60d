//! Checks the file system before it is mounted, with the verified root's own tool on the open disk.
//!
//! The tool's output may contain names of files, and the host reads the console: the output goes to a file that only the running
//! system reads.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use cmdline::{Check, DiskName, FileSystem};
use linux::process::Program;

use super::luks::Mapped;
use super::tool::{self, DISK, ToolEnvironment};
use crate::boot_log::step;
use crate::phase::root::Root;

/// The folder of the output: `check.log`, or `check-NAME.log` for a disk with a name.
const FOLDER: &str = "/run/cvm-init";
/// How long a check may take: a full check reads all metadata of the disk.
const LONGEST: Duration = Duration::from_secs(6 * 60 * 60);
/// The limit of a tool's temporary files, in bytes of memory.
const SCRATCH_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Tool(#[from] tool::Error),
    #[error("writing {0}")]
    Output(String, #[source] std::io::Error),
    #[error("running {0}")]
    Run(&'static str, #[source] linux::Error),
    #[error(
        "{0} ended with {1}: errors are left; cvm.data.check=force repairs what it can, cvm.data.open=no-mount leaves the disk to you"
    )]
    ErrorsLeft(&'static str, i32),
    #[error(
        "{0} ended with {1}, and the kernel logged {2} reads of the disk that failed: restore the disk from a backup if they fail again"
    )]
    Unreadable(&'static str, i32, usize),
    #[error("{0} ended with {1:?} before it was done")]
    Incomplete(&'static str, Option<i32>),
}

impl Error {
    /// Whether the check may succeed after the next start: the tool could not read the disk, or was killed.
    pub(super) const fn is_transient(&self) -> bool {
        matches!(self, Self::Incomplete(..) | Self::Unreadable(..))
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckResult {
    /// No tool was run.
    NotRun,
    /// No errors were found.
    Clean,
    /// Errors were found and repaired.
    Repaired,
}

impl CheckResult {
    /// As the boot report contains it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotRun => "not_run",
            Self::Clean => "clean",
            Self::Repaired => "repaired",
        }
    }
}

/// A tool, its arguments, and the meaning of its exit codes.
struct Tool {
    path: &'static str,
    arguments: &'static [&'static str],
    interpret: fn(Option<i32>) -> Result<CheckResult, CheckFailure>,
}

/// Why a check failed.
enum CheckFailure {
    ErrorsLeft(i32),
    Incomplete(Option<i32>),
}

/// The tool for a file system and a kind of check; none where mounting does the whole check.
fn tool_for(kind: FileSystem, check: Check) -> Option<Tool> {
    Some(match (kind, check) {
        (_, Check::No) | (FileSystem::Xfs | FileSystem::Btrfs, Check::Auto) => return None,
        (FileSystem::Ext4, Check::Auto) => Tool { path: "/usr/sbin/e2fsck", arguments: &["-p", DISK], interpret: e2fsck },
        (FileSystem::Ext4, Check::Force) => Tool { path: "/usr/sbin/e2fsck", arguments: &["-f", "-y", DISK], interpret: e2fsck },
        (FileSystem::Xfs, Check::Force) => Tool { path: "/usr/sbin/xfs_repair", arguments: &["-e", DISK], interpret: xfs_repair },
        // The manual calls repair by `btrfs check` dangerous, so it only reads.
        (FileSystem::Btrfs, Check::Force) => {
            Tool { path: "/usr/bin/btrfs", arguments: &["check", "--readonly", DISK], interpret: plain }
        }
    })
}

/// Source: e2fsck(8), EXIT CODE: the sum of 1 (errors corrected), 2 (corrected, reboot wanted, for a mounted root), 4 (errors
/// left) and others.
const fn e2fsck(status: Option<i32>) -> Result<CheckResult, CheckFailure> {
    match status {
        Some(0) => Ok(CheckResult::Clean),
        Some(1..=3) => Ok(CheckResult::Repaired),
        Some(code @ 4..=7) => Err(CheckFailure::ErrorsLeft(code)),
        other => Err(CheckFailure::Incomplete(other)),
    }
}

/// Source: xfs_repair(8), EXIT STATUS with -e: 4 (errors corrected), 1 (cannot repair), 2 (log must be replayed first).
const fn xfs_repair(status: Option<i32>) -> Result<CheckResult, CheckFailure> {
    match status {
        Some(0) => Ok(CheckResult::Clean),
        Some(4) => Ok(CheckResult::Repaired),
        Some(code) => Err(CheckFailure::ErrorsLeft(code)),
        None => Err(CheckFailure::Incomplete(None)),
    }
}

const fn plain(status: Option<i32>) -> Result<CheckResult, CheckFailure> {
    match status {
        Some(0) => Ok(CheckResult::Clean),
        Some(code) => Err(CheckFailure::ErrorsLeft(code)),
        None => Err(CheckFailure::Incomplete(None)),
    }
}

/// Checks the file system of `kind` on the open disk, as policy asks.
pub(super) fn run(
    root: &Root,
    mapped: &Mapped,
    (kind, disk): (FileSystem, Option<&DiskName>),
    check: Check,
) -> Result<CheckResult, Error> {
    let Some(Tool { path, arguments, interpret }) = tool_for(kind, check) else {
        return Ok(CheckResult::NotRun);
    };
    match tool::check_exists(root, path) {
        // Mounting replays the journal without the tool, so only `force` requires it.
        Err(error) if check == Check::Auto => {
            log::warn!("data: the file system is not checked: {error}");
            return Ok(CheckResult::NotRun);
        }
        found => found?,
    }
    let log = disk.map_or_else(|| format!("{FOLDER}/check.log"), |name| format!("{FOLDER}/check-{}.log", name.as_str()));
    let output = output(&log).map_err(|error| Error::Output(log.clone(), error))?;
    let environment = ToolEnvironment::new(root, SCRATCH_BYTES, Some(mapped))?;
    let mut moved = mapped.transferred();
    let has_progress = || {
        let before = std::mem::replace(&mut moved, mapped.transferred());
        before != moved
    };
    let program = Program { path, arguments, output: Some(&output) };
    let ended = environment.run(&program, LONGEST, has_progress).map_err(|error| Error::Run(path, error))?;
    let result = interpret(ended.status).map_err(|failure| match failure {
        // e2fsck counts an unreadable block as an error; the next boot may be able to read it.
        CheckFailure::ErrorsLeft(code) => match failed_reads(mapped) {
            0 => Error::ErrorsLeft(path, code),
            count => Error::Unreadable(path, code, count),
        },
        CheckFailure::Incomplete(status) => Error::Incomplete(path, status),
    })?;
    step("data: file system checked");
    if result == CheckResult::Repaired {
        log::warn!("data: {path} repaired the file system: see {log}");
    }
    Ok(result)
}

/// How many failed reads of the open disk the kernel logged in this boot; it does not log each.
fn failed_reads(mapped: &Mapped) -> usize {
    linux::kmsg::records_with(&format!("I/O error on dev {},", mapped.kernel_name())).unwrap_or(0)
}

fn output(log: &str) -> std::io::Result<File> {
    fs::create_dir_all(FOLDER)?;
    File::options().write(true).create_new(true).mode(0o600).open(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_mean_what_the_manuals_say() {
        let text = |result: Result<CheckResult, CheckFailure>| match result {
            Ok(result) => result.as_str().to_owned(),
            Err(CheckFailure::ErrorsLeft(code)) => format!("left {code}"),
            Err(CheckFailure::Incomplete(status)) => format!("incomplete {status:?}"),
        };
        let of_e2fsck = [0, 1, 2, 3, 4, 5, 8, 12, 32, 128].map(|code| text(e2fsck(Some(code))));
        let want = ["clean", "repaired", "repaired", "repaired", "left 4", "left 5"];
        assert_eq!(of_e2fsck[..6], want);
        assert_eq!(of_e2fsck[6..], [8, 12, 32, 128].map(|code| format!("incomplete Some({code})")));
        assert_eq!(text(e2fsck(None)), "incomplete None");
        assert_eq!([0, 4, 1, 2].map(|code| text(xfs_repair(Some(code)))), ["clean", "repaired", "left 1", "left 2"]);
        assert_eq!([0, 1].map(|code| text(plain(Some(code)))), ["clean", "left 1"]);
    }

    #[test]
    fn tool_is_run_only_where_the_mount_does_not_do_it() {
        for kind in FileSystem::ALL {
            assert!(tool_for(*kind, Check::No).is_none());
            assert!(tool_for(*kind, Check::Force).is_some());
            assert_eq!(tool_for(*kind, Check::Auto).is_some(), *kind == FileSystem::Ext4);
        }
    }
}
