//! How the machine ends.
//!
//! Nothing here may panic, wait for ever or need a thread to succeed: it runs when something else has failed already.

use std::time::Duration;

use failure::FailureAction;
use rustix::fs::sync;
use rustix::system::{RebootCommand, reboot};

use crate::threads::in_time;

/// How long pending writes may take at the end.
const WRITE_OUT: Duration = Duration::from_secs(5);
/// How long the kernel may take to shut its drivers down.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// Resets the machine without any driver: `b` of Documentation/admin-guide/sysrq.rst, whatever the sysctl `kernel.sysrq` says.
const RESET: (&str, &str) = ("/proc/sysrq-trigger", "b");

/// Asks the kernel for `action`. Returns only if the kernel refuses.
pub(crate) fn request(action: FailureAction) {
    let command = match action {
        FailureAction::PowerOff => RebootCommand::PowerOff,
        FailureAction::Reboot => RebootCommand::Restart,
        // Stops every processor, so that no other thread continues with what failed.
        FailureAction::Halt => RebootCommand::Halt,
    };
    reboot(command).unwrap_or_default();
}

/// Writes out what is pending and ends the machine.
pub fn end(action: FailureAction) -> ! {
    // A host that has stopped answering writes does not stop the end, nor does a kernel that refuses a thread: what is pending is then lost.
    in_time("sync", (WRITE_OUT, WRITE_OUT), sync, &|_| ()).map(drop).unwrap_or_default();
    end_at_once(action)
}

/// Ends the machine without writing anything out.
pub fn end_at_once(action: FailureAction) -> ! {
    // reboot(2) asks each driver to shut down, and waits for one that is still in its look at a disk that does not answer.
    if in_time("end", (SHUTDOWN, SHUTDOWN), move || request(action), &|_| ()).is_err() {
        request(action); // no thread: without a bound
    }
    if action != FailureAction::Halt {
        std::fs::write(RESET.0, RESET.1).unwrap_or_default();
    }
    loop {
        // Nothing wakes this thread; PID 1 must not return.
        rustix::event::pause();
    }
}
