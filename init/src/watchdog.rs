//! The watchdog of `cvm.watchdog`, which resets a machine whose boot makes no progress.
//!
//! No timer calls [`keepalive`]: it is called when a phase begins or ends, when a wait reports, while a wipe goes on. Each of
//! these is bounded by a deadline of its own, so a boot that does none of them for the policy's time hangs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linux::watchdog::Watchdog;

use crate::phase::early::{self, EarlyMounts};

/// The module group of watchdogs.
const MODULES: &str = "watchdog";

static WATCHDOG: Mutex<Option<Watchdog>> = Mutex::new(None);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("modules")]
    Modules(#[source] early::Error),
    #[error(transparent)]
    Kernel(linux::Error),
}

fn lock() -> MutexGuard<'static, Option<Watchdog>> {
    WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the watchdog: it fires when there is no progress for `timeout`.
pub(crate) fn start(early: EarlyMounts, timeout: Duration) -> Result<(), Error> {
    early::load(early, MODULES).map_err(Error::Modules)?;
    let (watchdog, granted) = Watchdog::open(timeout).map_err(Error::Kernel)?;
    log::info!("watchdog: resets the machine after {} s without progress", granted.as_secs());
    *lock() = Some(watchdog);
    Ok(())
}

/// Reports progress.
pub(crate) fn keepalive() {
    if let Some(Err(error)) = lock().as_mut().map(Watchdog::keepalive) {
        log::warn!("watchdog: {error}");
    }
}

/// Makes the kernel stop the watchdog inside of the exec, and not earlier: reading the real init from the disk may hang. The real
/// system has a watchdog of its own.
pub(crate) fn stop_at_exec() {
    if let Some(Err(error)) = lock().as_mut().map(Watchdog::stop_at_exec) {
        log::warn!("watchdog: {error}");
    }
}

/// Stops it before the machine halts, also when the thread that ends PID 1 holds the lock.
pub(crate) fn disarm() {
    let done = match WATCHDOG.try_lock() {
        Ok(mut open) => open.take().map(Watchdog::disarm),
        Err(_) => return linux::watchdog::disarm_open(),
    };
    if let Some(Err(error)) = done {
        log::warn!("watchdog: {error}");
    }
}
