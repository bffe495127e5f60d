//! Power off, reboot and halt.
//!
//! This code runs after another failure: it must not panic, wait without a deadline, or depend on starting a thread.

use std::time::Duration;

use failure::FailureAction;
use rustix::fs::sync;
use rustix::system::{RebootCommand, reboot};

use crate::threads::in_time;

/// How long sync(2) may take.
const WRITE_OUT: Duration = Duration::from_secs(5);
/// How long the kernel may take to shut its drivers down.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// Resets the machine without any driver: `b` of Documentation/admin-guide/sysrq.rst. The sysctl `kernel.sysrq` does not apply to it.
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

/// Writes pending data to the disks, then ends the machine.
pub fn end(action: FailureAction) -> ! {
    // The machine also ends when the host does not answer the writes, or the kernel refuses a thread: pending data is then lost.
    in_time("sync", (WRITE_OUT, WRITE_OUT), sync, &|_| ()).map(drop).unwrap_or_default();
    end_at_once(action)
}

/// Ends the machine without writing pending data.
pub fn end_at_once(action: FailureAction) -> ! {
    // reboot(2) shuts down each driver, and waits for a driver that is still probing a disk that does not answer.
    if in_time("end", (SHUTDOWN, SHUTDOWN), move || request(action), &|_| ()).is_err() {
        request(action); // without a thread, and so without a timeout
    }
    if action != FailureAction::Halt {
        std::fs::write(RESET.0, RESET.1).unwrap_or_default();
    }
    loop {
        // Nothing wakes this thread; PID 1 must not return.
        rustix::event::pause();
    }
}
