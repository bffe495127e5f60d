//! cvm-init: PID 1 of a confidential VM's initrd. [`boot::boot`] is the story; this file is how it ends.

mod boot;
mod error;
mod journal;
mod phase;
mod receipt;
mod watchdog;

use std::sync::Arc;

use error::BootError;
use failure::FailureAction;
use journal::Journal;
use linux::threads::OnceEach;

fn main() -> ! {
    let journal = Arc::new(Journal::default());
    // A panic is a bug; it must not become the kernel's panic, which says nothing and may hang.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        end(&BootError::Internal(place))
    }));
    match boot::boot(&journal) {
        Ok(never) => match never {},
        Err(error) => end(&error),
    }
}

/// Held by what ends PID 1: a failure, or the exec of the real init. The first takes all, and a failure never gives it back.
static LAST_ACT: OnceEach = OnceEach::new();

/// Prints why on the console and ends the machine: by the error's own action, unless the measured policy decides it.
fn end(error: &BootError) -> ! {
    let only = LAST_ACT.enter();
    let action = journal::action().unwrap_or_else(|| error.action());
    if action == FailureAction::Halt {
        watchdog::disarm(); // else it resets the machine while the operator reads the console
    }
    journal::last_words(&error.line(action));
    match only {
        Some(_) => linux::power::end(action),
        // A panic while this thread ended PID 1: what it was about to do is not tried again.
        None => linux::power::end_at_once(action),
    }
}
