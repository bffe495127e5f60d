//! cvm-init: PID 1 of a confidential VM's initrd. [`boot::boot`] is the story; this file is how it ends.

mod boot;
mod error;
mod journal;
mod phase;
mod receipt;
mod watchdog;

use std::sync::Arc;

use error::{BootError, Verdict};
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

/// Says why on the console and ends the machine: by the error's own verdict, unless the measured policy has another.
fn end(error: &BootError) -> ! {
    let only = LAST_ACT.enter();
    let verdict = journal::verdict().unwrap_or_else(|| error.verdict());
    if verdict == Verdict::Park {
        watchdog::disarm(); // it would end the reading
    }
    journal::last_words(&format!("{} ({})", error.line(), verdict.meaning()));
    match only {
        Some(_) => linux::power::end(verdict.power()),
        // A panic while this thread ended PID 1: what it was about to do is not tried again.
        None => linux::power::end_at_once(verdict.power()),
    }
}
