//! How the machine ends.
//!
//! Nothing here may panic, wait for ever or need a thread to succeed: it runs when something else has failed already.

use std::time::Duration;

use rustix::fs::sync;
use rustix::system::{RebootCommand, reboot};

use crate::threads::in_time;

/// How long pending writes may take at the end.
const WRITE_OUT: Duration = Duration::from_secs(5);
/// How long the kernel may take to shut its drivers down.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// Resets the machine without any driver: `b` of Documentation/admin-guide/sysrq.rst, whatever the sysctl `kernel.sysrq` says.
const RESET: (&str, &str) = ("/proc/sysrq-trigger", "b");

/// What to do with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Off,
    /// Start again.
    Restart,
    /// Neither: the processors stop, with the console readable.
    Park,
}

impl Power {
    /// Asks the kernel for it. Returns only if the kernel refuses.
    pub(crate) fn ask(self) {
        let command = match self {
            Self::Off => RebootCommand::PowerOff,
            Self::Restart => RebootCommand::Restart,
            // Not only this thread: the others must not go on with what failed.
            Self::Park => RebootCommand::Halt,
        };
        reboot(command).unwrap_or_default();
    }
}

/// Writes out what is pending and ends the machine.
pub fn end(how: Power) -> ! {
    // A host that has stopped answering writes does not stop the end, nor does a kernel that refuses a thread: what is pending is then lost.
    in_time("sync", (WRITE_OUT, WRITE_OUT), sync, &|_| ()).map(drop).unwrap_or_default();
    end_at_once(how)
}

/// Ends the machine without writing anything out.
pub fn end_at_once(how: Power) -> ! {
    // reboot(2) asks each driver to shut down, and waits for one that is still in its look at a disk that does not answer.
    if in_time("end", (SHUTDOWN, SHUTDOWN), move || how.ask(), &|_| ()).is_err() {
        how.ask(); // no thread: without a bound
    }
    if how != Power::Park {
        std::fs::write(RESET.0, RESET.1).unwrap_or_default();
    }
    loop {
        // Nothing wakes this thread; PID 1 must not return.
        rustix::event::pause();
    }
}
