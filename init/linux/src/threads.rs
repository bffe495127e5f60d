//! Threads with names, and work that is given up when it takes too long.
//!
//! A thread inside of a system call on a device cannot be ended: only the device's answer ends it. So what may have no answer runs in a
//! thread of its own, and the caller goes on without it.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::Error;
use crate::poll::Stop;

/// How often a request to a device without an answer is reported, and when it is given up: disks of clouds have been seen to stop for
/// half a minute.
pub(crate) const ANSWER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Starts a thread; the kernel keeps the first 15 bytes of `name`. Boxed, so that the binary has what starts a thread once.
///
/// # Errors
/// As clone(2): unlike [`std::thread::spawn`], which panics.
pub fn spawn(name: &str, work: Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>, Error> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| Error::io("clone", name, &error))
}

/// Does `work` in a thread of this name and calls `waiting` with the seconds that have passed every so often; `None` when it is not
/// done after the longest time. Its thread then stays, with what `work` holds.
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
    // A panic of the work is told by the panic hook.
    thread.join().unwrap_or_default();
    Ok(())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock that a thread which has it already is refused, where that of the standard library would wait for ever.
#[derive(Debug, Default)]
pub struct NonReentrantLock {
    lock: Mutex<()>,
    /// The thread that has it; 0: none.
    holder: AtomicI32,
}

/// The lock is held while this exists.
#[derive(Debug)]
pub struct Held<'a>(&'a AtomicI32, #[expect(dead_code, reason = "unlocks when it is dropped")] MutexGuard<'a, ()>);

impl NonReentrantLock {
    /// One that nobody has.
    #[must_use]
    pub const fn new() -> Self {
        Self { lock: Mutex::new(()), holder: AtomicI32::new(0) }
    }

    /// Waits until no other thread has it; `None` when this thread does.
    #[must_use]
    pub fn enter(&self) -> Option<Held<'_>> {
        let own = nix::unistd::gettid().as_raw();
        if self.holder.load(Ordering::Acquire) == own {
            return None;
        }
        let guard = lock(&self.lock);
        self.holder.store(own, Ordering::Release);
        Some(Held(&self.holder, guard))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_without_an_end_is_given_up_and_its_result_comes_otherwise() {
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
