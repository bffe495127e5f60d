#![cfg_attr(doc, doc = include_str!("../../README.md"))]
//!
//! # The program
//! Links above are relative to the top folder of the repository.
//!
//! cvm-init is PID 1 of a confidential VM's initrd. [`boot::boot`] runs the phases; this file ends the machine after a failure.

mod boot;
mod boot_log;
mod boot_report;
mod error;
mod phase;
mod watchdog;

use std::sync::Arc;

use boot_log::BootLog;
use error::BootError;
use failure::FailureAction;
use linux::threads::NonReentrantLock;

fn main() -> ! {
    let boot_log = Arc::new(BootLog::default());
    // A panic is a defect. Without this hook PID 1 would exit and the kernel would panic without a reason, and may hang.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        end(&BootError::Internal(place))
    }));
    match boot::boot(&boot_log) {
        Ok(never) => match never {},
        Err(error) => end(&error),
    }
}

/// Taken once by the thread that ends PID 1, by a failure or by the exec of the real init. A failure never gives it back.
static TERMINATION: NonReentrantLock = NonReentrantLock::new();

/// Prints why on the console and ends the machine: by the error's own action, unless the measured policy decides it.
fn end(error: &BootError) -> ! {
    let only = TERMINATION.enter();
    let action = boot_log::failure_action().unwrap_or_else(|| error.action());
    if action == FailureAction::Halt {
        watchdog::disarm(); // else it resets the machine while the operator reads the console
    }
    boot_log::report_fatal(&error.line(action));
    match only {
        Some(_) => linux::power::end(action),
        // A panic inside of this function: do not try the same again.
        None => linux::power::end_at_once(action),
    }
}
