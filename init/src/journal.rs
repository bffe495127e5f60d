//! What is said while it happens: the kernel's log, the time of each phase, the measured debug flags.

use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use cmdline::{LogLevel, Phase, Policy};
use failure::FailureAction;
use linux::kmsg::Kmsg;
use log::{Level, LevelFilter, Metadata, Record};

use crate::error::BootError;
use crate::watchdog;

/// Lines of the timeline go to this target.
const TIMELINE: &str = "timeline";

static KMSG: OnceLock<Kmsg> = OnceLock::new();
/// Where a panic finds it too.
static ACTION: OnceLock<Option<FailureAction>> = OnceLock::new();

/// What the machine does after a failure by the measured policy (`cvm.fail`), once it is read and if it says so.
pub(crate) fn action() -> Option<FailureAction> {
    ACTION.get().copied().flatten()
}

/// The `log` crate's way to the kernel's log.
struct ToKmsg {
    level: LevelFilter,
    timeline: bool,
}

static LOGGER: Mutex<ToKmsg> = Mutex::new(ToKmsg { level: LevelFilter::Info, timeline: false });

/// The journal of one boot.
#[derive(Default)]
pub(crate) struct Journal {
    phases: Mutex<Vec<(&'static str, u128)>>,
    pauses: OnceLock<Vec<Phase>>,
}

impl Journal {
    /// Takes the flags of the measured policy: from here on they are obeyed.
    pub(crate) fn obey(&self, policy: &Policy) {
        if let Ok(mut logger) = LOGGER.lock() {
            logger.level = match policy.log {
                LogLevel::Error => LevelFilter::Error,
                LogLevel::Warn => LevelFilter::Warn,
                LogLevel::Info => LevelFilter::Info,
                LogLevel::Debug => LevelFilter::Debug,
            };
            logger.timeline = policy.debug.timeline;
        }
        log::set_max_level(LevelFilter::Debug);
        let taken = self.pauses.set(policy.debug.pauses.clone()).is_ok() && ACTION.set(policy.fail).is_ok();
        debug_assert!(taken, "one policy a boot");
        if policy.fail.is_some() {
            outlive_crashes();
        }
        // That phase is over when its pause is known; what it decided is not in force yet.
        self.pause("behind", Phase::Policy.as_str());
    }

    /// Waits for a line on the console, if the measured flags ask for it here.
    fn pause(&self, place: &str, name: &str) {
        if self.pauses.get().is_some_and(|pauses| pauses.iter().any(|phase| phase.as_str() == name)) {
            log::warn!("paused {place} {name}: a line on the console goes on");
            if let Err(error) = linux::console::wait_for_line() {
                log::warn!("no line can come: {error}");
            }
        }
    }

    /// Runs a phase: pauses before it if the measured flags say so, and writes its time.
    pub(crate) fn phase<T, E>(&self, name: &'static str, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.pause("before", name);
        watchdog::alive();
        let start = Instant::now();
        let outcome = run();
        watchdog::alive();
        let took = start.elapsed().as_millis();
        if let Ok(mut phases) = self.phases.lock() {
            phases.push((name, took));
        }
        log::info!("phase {name}: {took} ms");
        outcome
    }

    /// The phases so far, in the order in which they ended, with their milliseconds.
    pub(crate) fn phases(&self) -> Vec<(&'static str, u128)> {
        self.phases.lock().map(|phases| phases.clone()).unwrap_or_default()
    }
}

/// Opens the kernel's log for everything that is said from now on.
pub(crate) fn open(kmsg: Kmsg) {
    if KMSG.set(kmsg).is_ok() && log::set_logger(&Proxy).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    outlive_crashes();
}

/// From here on a crash ends as any other failure does.
fn outlive_crashes() {
    let error = BootError::Internal(": it crashed".to_owned());
    let action = action().unwrap_or_else(|| error.action());
    if let Err(error) = linux::crash::last_words(&error.line(action), action) {
        log::warn!("a crash would be the kernel's panic: {error}");
    }
}

/// Marks a step of the timeline (`cvm.debug=timeline`).
pub(crate) fn step(what: impl std::fmt::Display) {
    log::debug!(target: TIMELINE, "{:.3} s {what}", linux::clock::since_kernel_start().as_secs_f64());
}

/// The line that says why the boot ended: critical, so that `quiet` does not hide it.
pub(crate) fn last_words(line: &str) {
    match KMSG.get() {
        Some(kmsg) => kmsg.line(2, &format!("cvm-init: {line}")),
        // The api phase failed: whatever console the kernel gave us is all there is.
        None => drop(std::fs::write("/dev/console", format!("cvm-init: {line}\r\n"))),
    }
}

struct Proxy;

impl log::Log for Proxy {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("cvm_init") || metadata.target() == TIMELINE || metadata.target() == "kernel";
        LOGGER.lock().is_ok_and(|logger| {
            metadata.level() <= logger.level.min(if ours { LevelFilter::Debug } else { LevelFilter::Warn })
                || logger.timeline && metadata.target() == TIMELINE
        })
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(kmsg) = KMSG.get() {
            let level = match record.level() {
                Level::Error => 3,
                Level::Warn => 4,
                // Debug lines are asked for by a measured flag, so they go where they can be seen: 7 stays off the console.
                Level::Info | Level::Debug | Level::Trace => 6,
            };
            kmsg.line(level, &format!("cvm-init: {}", record.args()));
        }
    }

    fn flush(&self) {}
}
