//! Threads with names, and work with a timeout.
//!
//! A thread inside of a system call on a device cannot be ended before the device answers. A call that may get no answer runs in a
//! thread of its own, and the caller continues without it after the timeout.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::Error;
use crate::poll::Stop;

/// How often a request without an answer is reported, and its timeout: disks of clouds were seen to stall for half a minute.
pub(crate) const ANSWER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Starts a thread; the kernel keeps the first 15 bytes of `name`. `work` is boxed, so that the binary contains the code once.
///
/// # Errors
/// As clone(2): unlike [`std::thread::spawn`], which panics.
pub fn spawn(name: &str, work: Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>, Error> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| Error::io("clone", name, &error))
}

/// Does `work` in a thread with this name. `times` are the interval at which `waiting` gets the passed seconds, and the timeout;
/// `None` after the timeout. The thread then continues to exist and owns what `work` captured.
pub(crate) fn in_time<T: Send + 'static>(
    name: &str,
    times: (Duration, Duration),
    work: impl FnOnce() -> T + Send + 'static,
    waiting: &dyn Fn(u64),
) -> Result<Option<T>, Error> {
    let place = Arc::new(Mutex::new(None));
    let result = Arc::clone(&place);
    wait_for(name, times, Box::new(move || *lock(&place) = Some(work())), waiting)?;
    let done = lock(&result).take();
    Ok(done)
}

fn wait_for(
    name: &str,
    (report, longest): (Duration, Duration),
    work: Box<dyn FnOnce() + Send>,
    waiting: &dyn Fn(u64),
) -> Result<(), Error> {
    let done = Stop::new()?;
    let signal = done.clone();
    let both = move || {
        work();
        signal.signal();
    };
    let thread = spawn(name, Box::new(both))?;
    let start = Instant::now();
    while !done.within(report.min(longest.saturating_sub(start.elapsed()))) {
        if start.elapsed() >= longest {
            return Ok(());
        }
        waiting(start.elapsed().as_secs());
    }
    // The panic hook reports a panic of the work.
    thread.join().unwrap_or_default();
    Ok(())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock that refuses a thread which holds it already; the lock of std would wait for ever.
#[derive(Debug, Default)]
pub struct NonReentrantLock {
    lock: Mutex<()>,
    /// The thread ID of the holder; 0: none.
    holder: AtomicI32,
}

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct Guard<'a>(&'a AtomicI32, #[expect(dead_code, reason = "unlocks when it is dropped")] MutexGuard<'a, ()>);

impl NonReentrantLock {
    /// Creates a lock that no thread holds.
    #[must_use]
    pub const fn new() -> Self {
        Self { lock: Mutex::new(()), holder: AtomicI32::new(0) }
    }

    /// Waits until no other thread holds the lock; `None` when this thread holds it.
    #[must_use]
    pub fn enter(&self) -> Option<Guard<'_>> {
        let own = nix::unistd::gettid().as_raw();
        if self.holder.load(Ordering::Acquire) == own {
            return None;
        }
        let guard = lock(&self.lock);
        self.holder.store(own, Ordering::Release);
        Some(Guard(&self.holder, guard))
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_without_an_end_times_out_and_other_work_returns_its_result() {
        let times = (Duration::from_millis(5), Duration::from_millis(20));
        let (answer, never) = std::sync::mpsc::channel::<()>();
        let reports = std::cell::Cell::new(0);
        let count = |_| reports.set(reports.get() + 1);
        assert_eq!(in_time("hangs", times, move || never.recv().is_ok(), &count), Ok(None));
        assert!(reports.get() > 0);
        drop(answer);
        assert_eq!(in_time("done", ANSWER, || 7, &|_| ()), Ok(Some(7)));
    }

    #[test]
    fn thread_enters_once_and_another_waits_for_it() {
        static LOCK: NonReentrantLock = NonReentrantLock::new();
        let held = LOCK.enter();
        assert!(held.is_some() && LOCK.enter().is_none());
        let (sender, entered) = std::sync::mpsc::channel();
        let other = spawn("other", Box::new(move || sender.send(LOCK.enter().is_some()).unwrap())).unwrap();
        assert!(entered.recv_timeout(Duration::from_millis(20)).is_err());
        drop(held);
        assert_eq!(entered.recv(), Ok(true));
        other.join().unwrap();
        assert!(LOCK.enter().is_some());
    }
}
