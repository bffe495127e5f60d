//! The watchdog that policy asks for (`cvm.watchdog`): fed by progress, so that a boot that hangs is reset like one that crashed.
//!
//! Nothing feeds it by the clock: a phase begins or ends, a wait reports, a wipe goes on. Each of these has a bound of its own; what
//! makes none of them for the policy's time hangs, whatever the reason.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linux::watchdog::Watchdog;

use crate::phase::api::{self, Api};

/// The group of modules for watchdogs.
const MODULES: &str = "watchdog";

static WATCHDOG: Mutex<Option<Watchdog>> = Mutex::new(None);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("modules")]
    Modules(#[source] api::Error),
    #[error(transparent)]
    Kernel(linux::Error),
}

fn lock() -> MutexGuard<'static, Option<Watchdog>> {
    WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the machine reset when there is no progress for `timeout`.
pub(crate) fn start(api: Api, timeout: Duration) -> Result<(), Error> {
    api::load(api, MODULES).map_err(Error::Modules)?;
    let (watchdog, granted) = Watchdog::open(timeout).map_err(Error::Kernel)?;
    log::info!("watchdog: bites after {} s without progress", granted.as_secs());
    *lock() = Some(watchdog);
    Ok(())
}

/// Says that there is progress.
pub(crate) fn alive() {
    if let Some(Err(error)) = lock().as_mut().map(Watchdog::feed) {
        log::warn!("watchdog: {error}");
    }
}

/// Has it stop when the real system, which has its own, is executed and not before: reading that program from the disk may hang.
pub(crate) fn stop_at_exec() {
    if let Some(Err(error)) = lock().as_mut().map(Watchdog::stop_at_exec) {
        log::warn!("watchdog: {error}");
    }
}

/// Stops it before the machine is parked, also where the thread that ends PID 1 is the one that has the lock.
pub(crate) fn disarm() {
    let done = match WATCHDOG.try_lock() {
        Ok(mut open) => open.take().map(Watchdog::disarm),
        Err(_) => return linux::watchdog::disarm_open(),
    };
    if let Some(Err(error)) = done {
        log::warn!("watchdog: {error}");
    }
}
