//! How the machine ends.

use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::sync;
use rustix::system::{RebootCommand, reboot};

/// How long pending writes may take at the end.
const WRITE_OUT: Duration = Duration::from_secs(5);

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

/// Writes out what is pending and ends the machine. Returns only if the kernel refuses, and then waits for ever.
pub fn end(how: Power) -> ! {
    let (done, written) = mpsc::channel();
    std::thread::spawn(move || {
        sync();
        done.send(()).unwrap_or_default();
    });
    // A host that has stopped answering writes does not stop the end.
    written.recv_timeout(WRITE_OUT).unwrap_or_default();
    let refused = match how {
        Power::Off => reboot(RebootCommand::PowerOff).is_err(),
        Power::Restart => reboot(RebootCommand::Restart).is_err(),
        // Not only this thread: the others must not go on with what failed.
        Power::Park => reboot(RebootCommand::Halt).is_err(),
    };
    loop {
        // Nothing wakes this thread; PID 1 must not return.
        debug_assert!(refused, "reboot(2) returned without an error");
        std::thread::park();
    }
}
