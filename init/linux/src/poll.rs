// UNSAFETY: one `BorrowedFd::borrow_raw`: the sockets of netlink-sys implement `AsRawFd` only, and poll(2) of rustix takes `AsFd`.

//! Waiting for descriptors: poll(2) with a deadline, and a signal by which another thread ends the wait.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::Error;

/// A signal that ends the waits of threads whose work is no longer needed. Clones share the signal, which cannot be reset.
#[derive(Debug, Clone)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// Creates a signal that is not set.
    ///
    /// # Errors
    /// As eventfd(2).
    pub fn new() -> Result<Self, Error> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::new("eventfd", "stop", e))?;
        Ok(Self(Arc::new(event)))
    }

    /// Sets the signal: current waits with any clone end now, later waits at once.
    pub fn signal(&self) {
        // The write fails only when the counter is full: then the signal is set already.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).map(drop).unwrap_or_default();
    }

    /// Waits for `time`; `true` when the signal is set before its end. A time of zero tests the signal.
    #[must_use]
    pub fn within(&self, time: Duration) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        poll_until(&mut polled, Instant::now() + time).unwrap_or(true)
    }

    /// Waits until `socket` is readable or has an error; `false` at `deadline`, and when the signal is set.
    #[must_use]
    pub fn or_readable(&self, socket: &impl AsFd, deadline: Instant) -> bool {
        self.or_wait(&[socket.as_fd()], PollFlags::IN, deadline).is_ok_and(|ready| ready.contains(&true))
    }

    /// Waits as [`wait`], or until the signal is set: `ECANCELED`.
    #[inline(never)] // for size: each read and write of each stream contains a call
    pub(crate) fn or_wait(&self, fds: &[BorrowedFd<'_>], flags: PollFlags, deadline: Instant) -> Result<Vec<bool>, Errno> {
        let stop = PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN);
        let others = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, flags));
        let mut polled: Vec<PollFd<'_>> = std::iter::once(stop).chain(others).collect();
        if !poll_until(&mut polled, deadline)? {
            return Ok(vec![false; fds.len()]);
        }
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) { Err(Errno::CANCELED) } else { Ok(ready.collect()) }
    }
}

/// Waits until one of `fds` is readable, and returns which are; none at `deadline`.
///
/// # Errors
/// As poll(2).
pub fn any(fds: &[BorrowedFd<'_>], deadline: Instant) -> Result<Vec<bool>, Error> {
    wait(fds, PollFlags::IN, deadline).map_err(|e| Error::new("poll", "descriptors", e))
}

/// Waits until `socket` is readable; `false` at `deadline`.
pub(crate) fn readable(socket: &impl AsRawFd, deadline: Instant) -> Result<bool, Errno> {
    wait_readable(borrowed(socket), deadline)
}

/// Borrows the descriptor of a socket of netlink-sys, which does not implement `AsFd`.
pub(crate) fn borrowed(socket: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to `socket`, which outlives the borrow.
    #[expect(unsafe_code, reason = "a borrowed descriptor of a type that only has AsRawFd")]
    unsafe {
        BorrowedFd::borrow_raw(socket.as_raw_fd())
    }
}

/// Waits until `fd` is readable; `false` at `deadline`.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Errno> {
    Ok(wait(&[fd], PollFlags::IN, deadline)?.contains(&true))
}

/// Waits until one of `fds` has one of the events `flags` or an error, and returns which have.
pub(crate) fn wait(fds: &[BorrowedFd<'_>], flags: PollFlags, deadline: Instant) -> Result<Vec<bool>, Errno> {
    if Instant::now() >= deadline {
        return Ok(vec![false; fds.len()]); // even if data is readable: a peer that sends without end must not extend the deadline
    }
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, flags)).collect();
    let any = poll_until(&mut polled, deadline)?;
    Ok(polled.iter().map(|fd| any && !fd.revents().is_empty()).collect())
}

/// Polls until a descriptor is ready, at least once; `false` at `deadline`.
fn poll_until(polled: &mut [PollFd<'_>], deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::time::Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(polled, Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_ends_every_wait_with_it_and_no_other() {
        let (stop, far) = (Stop::new().unwrap(), Instant::now() + Duration::from_secs(60));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!stop.within(Duration::ZERO));
        assert!(!stop.or_readable(&ours, Instant::now() + Duration::from_millis(5)));
        std::io::Write::write_all(&mut &theirs, b"x").unwrap();
        assert!(stop.or_readable(&ours, far));
        assert_eq!(stop.or_wait(&[ours.as_fd()], PollFlags::OUT, far), Ok(vec![true]));
        let waiting = stop.clone();
        let waiter = std::thread::spawn(move || waiting.within(Duration::from_secs(60)));
        stop.signal();
        assert!(waiter.join().unwrap() && stop.within(Duration::ZERO));
        assert!(!stop.or_readable(&ours, far));
        assert_eq!(stop.or_wait(&[ours.as_fd()], PollFlags::OUT, far), Err(Errno::CANCELED));
    }
}
