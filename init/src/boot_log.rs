//! The log of one boot: messages to the kernel log, the time of each phase, the measured debug flags.

use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use cmdline::{LogLevel, Phase, Policy};
use failure::FailureAction;
use linux::kmsg::Kmsg;
use log::{Level, LevelFilter, Metadata, Record};

use crate::error::BootError;
use crate::watchdog;

/// The target of timeline messages.
const TIMELINE: &str = "timeline";

static KMSG: OnceLock<Kmsg> = OnceLock::new();
/// Global, so that the panic hook reads it too.
static FAILURE_ACTION: OnceLock<Option<FailureAction>> = OnceLock::new();

/// The action after a failure that the measured policy names; `None` before there is a policy, or when it names none.
pub(crate) fn failure_action() -> Option<FailureAction> {
    FAILURE_ACTION.get().copied().flatten()
}

/// Which messages go to the kernel log.
struct LogSettings {
    level: LevelFilter,
    timeline: bool,
}

static SETTINGS: Mutex<LogSettings> = Mutex::new(LogSettings { level: LevelFilter::Info, timeline: false });

/// Phase times and debug pauses of one boot.
#[derive(Default)]
pub(crate) struct BootLog {
    phases: Mutex<Vec<(&'static str, u128)>>,
    pauses: OnceLock<Vec<Phase>>,
}

impl BootLog {
    /// Applies the log level and the debug flags of the measured policy.
    pub(crate) fn apply_policy(&self, policy: &Policy) {
        if let Ok(mut settings) = SETTINGS.lock() {
            settings.level = match policy.log {
                LogLevel::Error => LevelFilter::Error,
                LogLevel::Warn => LevelFilter::Warn,
                LogLevel::Info => LevelFilter::Info,
                LogLevel::Debug => LevelFilter::Debug,
            };
            settings.timeline = policy.debug.timeline;
        }
        log::set_max_level(LevelFilter::Debug);
        let taken = self.pauses.set(policy.debug.pauses.clone()).is_ok() && FAILURE_ACTION.set(policy.fail).is_ok();
        debug_assert!(taken, "one policy a boot");
        if policy.fail.is_some() {
            install_crash_handler();
        }
        // The policy phase has ended when its pause becomes known; its decisions are not applied yet.
        self.pause("after", Phase::Policy.as_str());
    }

    /// Waits for a line on the console when the measured flags name this phase.
    fn pause(&self, place: &str, name: &str) {
        if self.pauses.get().is_some_and(|pauses| pauses.iter().any(|phase| phase.as_str() == name)) {
            log::warn!("paused {place} {name}: press Enter on the console to continue");
            if let Err(error) = linux::console::wait_for_line() {
                log::warn!("pause: the console cannot be read: {error}");
            }
        }
    }

    /// Runs a phase, after a pause if the measured flags name it, and logs its duration.
    pub(crate) fn phase<T, E>(&self, name: &'static str, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.pause("before", name);
        watchdog::keepalive();
        let start = Instant::now();
        let outcome = run();
        watchdog::keepalive();
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

/// Installs the logger that writes to the kernel log, and the crash handler.
pub(crate) fn open(kmsg: Kmsg) {
    if KMSG.set(kmsg).is_ok() && log::set_logger(&KmsgLogger).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    install_crash_handler();
}

/// Makes a crash end the machine as any other failure does.
fn install_crash_handler() {
    let error = BootError::Internal(": it crashed".to_owned());
    let action = failure_action().unwrap_or_else(|| error.action());
    if let Err(error) = linux::crash::install_handler(&error.line(action), action) {
        log::warn!("no crash handler, so that a crash of PID 1 panics the kernel: {error}");
    }
}

/// Logs a step of the timeline (`cvm.debug=timeline`).
pub(crate) fn step(what: impl std::fmt::Display) {
    log::debug!(target: TIMELINE, "{:.3} s {what}", linux::clock::since_kernel_start().as_secs_f64());
}

/// Writes the line that says why the boot ended, at level critical, so that `quiet` does not hide it.
pub(crate) fn report_fatal(line: &str) {
    match KMSG.get() {
        Some(kmsg) => kmsg.write_record(2, &format!("cvm-init: {line}")),
        // The early phase failed before the kernel log was open.
        None => drop(std::fs::write("/dev/console", format!("cvm-init: {line}\r\n"))),
    }
}

struct KmsgLogger;

impl log::Log for KmsgLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_own = metadata.target().starts_with("cvm_init") || metadata.target() == TIMELINE || metadata.target() == "kernel";
        SETTINGS.lock().is_ok_and(|settings| {
            metadata.level() <= settings.level.min(if is_own { LevelFilter::Debug } else { LevelFilter::Warn })
                || settings.timeline && metadata.target() == TIMELINE
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
                // Level 6, also for debug messages: the kernel does not show level 7 on the console.
                Level::Info | Level::Debug | Level::Trace => 6,
            };
            kmsg.write_record(level, &format!("cvm-init: {}", record.args()));
        }
    }

    fn flush(&self) {}
}
