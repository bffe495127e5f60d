//! The check of the file system before it is mounted, by the verified root's own tool on the open disk.
//!
//! What a tool prints may have names of files in it, and the console is the host's: it goes to a file that only the running system
//! reads.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use cmdline::{Check, DiskName, FileSystem};
use linux::child::Program;

use super::luks::Mapped;
use super::tool::{self, DISK, Workplace};
use crate::journal::step;
use crate::phase::root::Root;

/// Where the output goes: `check.log`, and `check-NAME.log` of a disk with a name.
const FOLDER: &str = "/run/cvm-init";
/// How long a check may take: a full one of a large disk reads all of its metadata.
const LONGEST: Duration = Duration::from_secs(6 * 60 * 60);
/// The memory that a tool may use for temporary files, in bytes.
const SCRATCH_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Tool(#[from] tool::Error),
    #[error("{0}")]
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
    #[error("{0} ended with {1:?} before it was through")]
    NotThrough(&'static str, Option<i32>),
}

impl Error {
    /// Whether the tool may come through the next time: it could not read the disk, or was ended.
    pub(super) const fn is_transient(&self) -> bool {
        matches!(self, Self::NotThrough(..) | Self::Unreadable(..))
    }
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No tool was run.
    NotRun,
    /// Nothing was wrong.
    Clean,
    /// Errors were found and mended.
    Repaired,
}

impl Outcome {
    /// As the receipt has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotRun => "not_run",
            Self::Clean => "clean",
            Self::Repaired => "repaired",
        }
    }
}

/// A tool, its arguments, and what its exit codes mean.
struct Tool {
    path: &'static str,
    arguments: &'static [&'static str],
    outcome: fn(Option<i32>) -> Result<Outcome, Verdict>,
}

/// Why a tool did not come to a good end.
enum Verdict {
    ErrorsLeft(i32),
    NotThrough(Option<i32>),
}

/// The tool for a file system and a depth of checking; none where mounting does all there is to do.
fn tool_for(kind: FileSystem, check: Check) -> Option<Tool> {
    Some(match (kind, check) {
        (_, Check::No) | (FileSystem::Xfs | FileSystem::Btrfs, Check::Auto) => return None,
        (FileSystem::Ext4, Check::Auto) => Tool { path: "/usr/sbin/e2fsck", arguments: &["-p", DISK], outcome: e2fsck },
        (FileSystem::Ext4, Check::Force) => Tool { path: "/usr/sbin/e2fsck", arguments: &["-f", "-y", DISK], outcome: e2fsck },
        (FileSystem::Xfs, Check::Force) => Tool { path: "/usr/sbin/xfs_repair", arguments: &["-e", DISK], outcome: xfs_repair },
        // Its own repair is documented as dangerous, so it is never run here.
        (FileSystem::Btrfs, Check::Force) => {
            Tool { path: "/usr/bin/btrfs", arguments: &["check", "--readonly", DISK], outcome: plain }
        }
    })
}

/// Source: e2fsck(8), EXIT CODE: a sum of 1 corrected, 2 corrected and a reboot is wanted (of a mounted root), 4 left, and more.
const fn e2fsck(status: Option<i32>) -> Result<Outcome, Verdict> {
    match status {
        Some(0) => Ok(Outcome::Clean),
        Some(1..=3) => Ok(Outcome::Repaired),
        Some(code @ 4..=7) => Err(Verdict::ErrorsLeft(code)),
        other => Err(Verdict::NotThrough(other)),
    }
}

/// Source: xfs_repair(8), EXIT STATUS, with -e: 4 when errors were fixed, 1 when it could not, 2 with a log to be replayed.
const fn xfs_repair(status: Option<i32>) -> Result<Outcome, Verdict> {
    match status {
        Some(0) => Ok(Outcome::Clean),
        Some(4) => Ok(Outcome::Repaired),
        Some(code) => Err(Verdict::ErrorsLeft(code)),
        None => Err(Verdict::NotThrough(None)),
    }
}

const fn plain(status: Option<i32>) -> Result<Outcome, Verdict> {
    match status {
        Some(0) => Ok(Outcome::Clean),
        Some(code) => Err(Verdict::ErrorsLeft(code)),
        None => Err(Verdict::NotThrough(None)),
    }
}

/// Checks the file system of `kind` on the open disk as policy asks.
pub(super) fn run(
    root: &Root,
    mapped: &Mapped,
    (kind, disk): (FileSystem, Option<&DiskName>),
    check: Check,
) -> Result<Outcome, Error> {
    let Some(Tool { path, arguments, outcome }) = tool_for(kind, check) else {
        return Ok(Outcome::NotRun);
    };
    match tool::find(root, path) {
        // Mounting replays the journal without the tool; only a policy that says `force` relies on it.
        Err(error) if check == Check::Auto => {
            log::warn!("data: the file system is not checked: {error}");
            return Ok(Outcome::NotRun);
        }
        found => found?,
    }
    let log = disk.map_or_else(|| format!("{FOLDER}/check.log"), |name| format!("{FOLDER}/check-{}.log", name.as_str()));
    let output = output(&log).map_err(|error| Error::Output(log.clone(), error))?;
    let workplace = Workplace::new(root, SCRATCH_BYTES, Some(mapped))?;
    let mut moved = mapped.transferred();
    let alive = || {
        let before = std::mem::replace(&mut moved, mapped.transferred());
        before != moved
    };
    let program = Program { path, arguments, output: Some(&output) };
    let ended = workplace.run(&program, LONGEST, alive).map_err(|error| Error::Run(path, error))?;
    let outcome = outcome(ended.status).map_err(|verdict| match verdict {
        // e2fsck counts a block that it cannot read among the errors; that one the next boot may read.
        Verdict::ErrorsLeft(code) => match failed_reads(mapped) {
            0 => Error::ErrorsLeft(path, code),
            count => Error::Unreadable(path, code, count),
        },
        Verdict::NotThrough(status) => Error::NotThrough(path, status),
    })?;
    step("data: file system checked");
    if outcome == Outcome::Repaired {
        log::warn!("data: {path} repaired the file system: see {log}");
    }
    Ok(outcome)
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
        let told = |outcome: Result<Outcome, Verdict>| match outcome {
            Ok(outcome) => outcome.as_str().to_owned(),
            Err(Verdict::ErrorsLeft(code)) => format!("left {code}"),
            Err(Verdict::NotThrough(status)) => format!("not through {status:?}"),
        };
        let of_e2fsck = [0, 1, 2, 3, 4, 5, 8, 12, 32, 128].map(|code| told(e2fsck(Some(code))));
        let want = ["clean", "repaired", "repaired", "repaired", "left 4", "left 5"];
        assert_eq!(of_e2fsck[..6], want);
        assert_eq!(of_e2fsck[6..], [8, 12, 32, 128].map(|code| format!("not through Some({code})")));
        assert_eq!(told(e2fsck(None)), "not through None");
        assert_eq!([0, 4, 1, 2].map(|code| told(xfs_repair(Some(code)))), ["clean", "repaired", "left 1", "left 2"]);
        assert_eq!([0, 1].map(|code| told(plain(Some(code)))), ["clean", "left 1"]);
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
