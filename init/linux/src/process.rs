// UNSAFETY: three calls. `pre_exec`, which std marks unsafe since its closure runs between fork and exec: std has no stable way to
// chroot a child. close_range(2), which neither rustix nor nix offers. signal(2) of nix, which is unsafe for every handler.

//! Programs that run before the real init (mkfs and fsck of the verified root, in a chroot of that root), and the exec of that init.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Error;

/// How often `waiting` is called.
const REPORT: Duration = Duration::from_secs(5);
/// How much of a program's standard error is kept, in bytes.
const STDERR_MAX: u64 = 200;

/// Exit status and first output of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status: 0 is success, `None` means that a signal ended the program.
    pub status: Option<i32>,
    /// The first bytes of standard error, printable characters only; empty where [`Program::output`] was a file.
    pub stderr: String,
}

/// A program of the verified root, with its arguments.
#[derive(Debug)]
pub struct Program<'a> {
    /// The path inside of the root.
    pub path: &'a str,
    /// The arguments, without the program's name.
    pub arguments: &'a [&'a str],
    /// The file for standard output and standard error; `None`: standard output is discarded.
    pub output: Option<&'a File>,
}

/// Runs `program` in a chroot of `root`, with an empty environment. `waiting` is called every five seconds until it ends.
///
/// # Errors
/// `ENOENT` when the root does not contain the program; `ETIMEDOUT` when it was killed at `deadline`.
pub fn run_in(root: &Path, program: &Program<'_>, deadline: Instant, mut waiting: impl FnMut()) -> Result<Output, Error> {
    let Program { path: program, arguments, output } = *program;
    let stderr = crate::memfd::anonymous_file("stderr").map_err(|e| Error::io("memfd_create", program, &e))?;
    let duplicate = |file: &File| file.try_clone().map(Stdio::from).map_err(|e| Error::io("dup", program, &e));
    #[expect(clippy::disallowed_methods, reason = "mkfs and fsck of the verified root; nothing else is ever run")]
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(output.map_or_else(|| Ok(Stdio::null()), duplicate)?)
        .stderr(duplicate(output.unwrap_or(&stderr))?);
    let root = root.to_owned();
    let enter = move || {
        close_at_exec()?;
        rustix::process::chroot(&root)?;
        rustix::process::chdir("/")?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes three system calls on memory that was allocated before the fork.
    #[expect(unsafe_code, reason = "std has no stable way to enter a chroot between fork and exec")]
    unsafe {
        command.pre_exec(enter);
    }
    let mut child = command.spawn().map_err(|e| Error::io("exec", program, &e))?;
    let failed = |errno| Error::new("wait", program, errno);
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(failed)?;
    let ended = loop {
        let until = deadline.min(Instant::now() + REPORT);
        if crate::poll::wait_readable(pidfd.as_fd(), until).map_err(failed)? {
            break true;
        }
        if until == deadline {
            break false;
        }
        waiting();
    };
    if !ended {
        child.kill().map_err(|e| Error::io("kill", program, &e))?;
    }
    let status = child.wait().map_err(|e| Error::io("wait", program, &e))?;
    if !ended {
        return Err(Error::new("exec", program, Errno::TIMEDOUT));
    }
    Ok(Output { status: status.code(), stderr: read_stderr(&stderr) })
}

/// The first bytes of standard error on one line; empty when they cannot be read, since callers decide by the status.
fn read_stderr(mut stderr: &File) -> String {
    let mut bytes = Vec::new();
    let read = stderr.rewind().and_then(|()| stderr.take(STDERR_MAX).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(if read.is_ok() { &bytes } else { b"" });
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect()
}

/// Sets close-on-exec on every descriptor but the standard ones: C libraries open some without it.
fn close_at_exec() -> Result<(), Errno> {
    let flags = i32::try_from(nix::libc::CLOSE_RANGE_CLOEXEC).map_err(|_| Errno::INVAL)?;
    // SAFETY: the call only sets a flag on descriptors; their owners can use them as before.
    #[expect(unsafe_code, reason = "neither rustix nor nix has close_range")]
    let done = unsafe { nix::libc::close_range(3, u32::MAX, flags) };
    if done == 0 { Ok(()) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

/// Path and arguments of an execv(2) call, allocated before the call.
pub struct PreparedExec {
    path: CString,
    arguments: Vec<CString>,
}

impl PreparedExec {
    /// Prepares `program` with `arguments`, of which the first is its name.
    ///
    /// # Errors
    /// `EINVAL` for a NUL byte in one of them.
    pub fn new(program: &str, arguments: &[String]) -> Result<Self, Error> {
        let c_string = |text: &str| CString::new(text).map_err(|_| Error::new("exec", program, Errno::INVAL));
        let mut made = Self { path: c_string(program)?, arguments: Vec::with_capacity(arguments.len()) };
        for argument in arguments {
            made.arguments.push(c_string(argument)?);
        }
        Ok(made)
    }

    /// Replaces this process by the program. The program gets the environment that the kernel gave PID 1, only the standard
    /// descriptors, and default signal dispositions.
    ///
    /// # Errors
    /// Returns only when the kernel refuses: `ENOENT`, `EACCES`, `ENOEXEC`.
    #[must_use]
    pub fn exec(&self) -> Error {
        let errno = match self.attempt() {
            Ok(never) => match never {},
            Err(errno) => errno,
        };
        Error::new("exec", self.path.to_string_lossy(), errno)
    }

    fn attempt(&self) -> Result<Infallible, Errno> {
        // Rust's runtime ignores SIGPIPE, and an exec would keep that.
        // SAFETY: no handler is installed.
        #[expect(unsafe_code, reason = "signal(2) is unsafe for handlers")]
        unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map_err(of_nix)?;
        close_at_exec()?;
        nix::unistd::execv(&self.path, &self.arguments).map_err(of_nix)
    }
}

fn of_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_io_error(&std::io::Error::from(errno)).unwrap_or(Errno::IO)
}
