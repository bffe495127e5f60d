//! How the machine ends.

use rustix::fs::sync;
use rustix::system::{RebootCommand, reboot};

/// What to do with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Off,
    /// Start again.
    Restart,
    /// Neither: stop here with the console readable.
    Park,
}

/// Writes out what is pending and ends the machine. Returns only if the kernel refuses, and then waits for ever.
pub fn end(how: Power) -> ! {
    sync();
    let refused = match how {
        Power::Off => reboot(RebootCommand::PowerOff).is_err(),
        Power::Restart => reboot(RebootCommand::Restart).is_err(),
        Power::Park => true,
    };
    loop {
        // Nothing wakes this thread; PID 1 must not return.
        debug_assert!(refused, "reboot(2) returned without an error");
        std::thread::park();
    }
}
