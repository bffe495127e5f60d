// UNSAFETY: one call of sigaction(2), which is unsafe since a handler may interrupt any code. std, rustix and nix have no safe way to
// install a handler for SIGSEGV and the other signals of a crash.

//! The crash handler of PID 1: it writes one line to the kernel log and ends the machine. Without it the kernel would panic, which does
//! not name PID 1's error and, with `panic=0`, leaves the machine running.

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;

use failure::FailureAction;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::io::Errno;

use crate::power;
use crate::{Error, watchdog};

/// The signals that the processor or the C library raises for a program error.
const SIGNALS: [Signal; 6] = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGSYS];

/// The message for the kernel log, and the action after it.
struct FatalReport {
    log: File,
    line: Vec<u8>,
    action: FailureAction,
}

/// The first is set before the policy is known, the second by the policy. A signal handler reads them: each is set once, never cleared.
static FATAL_REPORTS: [OnceLock<FatalReport>; 2] = [OnceLock::new(), OnceLock::new()];

/// Installs the handler: a crash writes `line` to the kernel log as critical and ends the machine with `action`. The second call replaces
/// line and action of the first by those of the policy; there is no third.
///
/// # Errors
/// As opening `/dev/kmsg`, and sigaction(2).
pub fn install_handler(line: &str, action: FailureAction) -> Result<(), Error> {
    let log = File::options().write(true).open("/dev/kmsg").map_err(|e| Error::io("open", "/dev/kmsg", &e))?;
    let report = FatalReport { log, line: format!("<2>cvm-init: {line}\n").into_bytes(), action };
    let [first, second] = &FATAL_REPORTS;
    if let Err(report) = first.set(report) {
        second.set(report).map_err(|_| Error::new("sigaction", "a third time", Errno::EXIST))?;
    }
    for signal in SIGNALS {
        // On std's alternate stack: the current one may have overflowed.
        let action = SigAction::new(SigHandler::Handler(crashed), SaFlags::SA_ONSTACK, SigSet::all());
        // SAFETY: the handler makes system calls on memory that was allocated before, and never returns.
        #[expect(unsafe_code, reason = "a signal handler is unsafe by its nature")]
        unsafe {
            sigaction(signal, &action).map_err(|errno| Error::io("sigaction", signal, &errno.into()))?;
        }
    }
    Ok(())
}

extern "C" fn crashed(_signal: std::ffi::c_int) {
    let [first, second] = &FATAL_REPORTS;
    let report = second.get().or(first.get());
    // If the write or the reboot fails, nothing else can be done here.
    if let Some(report) = report {
        (&report.log).write_all(&report.line).unwrap_or_default();
    }
    let action = report.map_or(FailureAction::PowerOff, |report| report.action);
    if action == FailureAction::Halt {
        watchdog::disarm_open();
    }
    power::request(action);
    loop {
        rustix::event::pause();
    }
}
