//! The end that even a crash of PID 1 has: a word on the console and the machine's end, not the kernel's panic, which tells nothing
//! of us and stays where the image says `panic=0`.

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;

use failure::FailureAction;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::io::Errno;

use crate::power;
use crate::{Error, watchdog};

/// What a processor or the C library does to a program that is broken.
const SIGNALS: [Signal; 6] = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGSYS];

/// What is said and done then.
struct FatalReport {
    log: File,
    line: Vec<u8>,
    action: FailureAction,
}

/// The first is from before there was a policy. Read in a signal handler: set once each, never taken away.
static FATAL_REPORTS: [OnceLock<FatalReport>; 2] = [OnceLock::new(), OnceLock::new()];

/// From here on a crash says `line` in the kernel's log, as critical, and ends the machine by `action`. May be called twice: the second
/// call is the policy's.
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
        // On the stack that std keeps for this: the one in use may have run out.
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
    // Nothing can be done here about a word that is not heard, or about a kernel that does not end.
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
