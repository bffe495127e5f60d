//! Waiting for descriptors, always with a deadline, and with an end that another thread can set.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::Error;

/// Ends the waits of threads whose work is no longer needed. All clones are of one signal, which is never taken back.
#[derive(Debug, Clone)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// A signal that is not given yet.
    ///
    /// # Errors
    /// As eventfd(2).
    pub fn new() -> Result<Self, Error> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::new("eventfd", "stop", e))?;
        Ok(Self(Arc::new(event)))
    }

    /// Gives the signal: every wait with a clone of it ends now, and every later one at once.
    pub fn signal(&self) {
        // Refused only when the counter is full: then it was given before.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).map(drop).unwrap_or_default();
    }

    /// Waits for `time`; `true` when the signal is given before its end. Zero asks whether it was given.
    #[must_use]
    pub fn within(&self, time: Duration) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        poll_until(&mut polled, Instant::now() + time).unwrap_or(true)
    }

    /// Waits until `socket` has something to read, or failed; `false` at `deadline`, and when the signal is given.
    #[must_use]
    pub fn or_readable(&self, socket: &impl AsFd, deadline: Instant) -> bool {
        self.or_wait(&[socket.as_fd()], PollFlags::IN, deadline).is_ok_and(|ready| ready.contains(&true))
    }

    /// As [`wait`], or until the signal is given, which is `ECANCELED`.
    #[inline(never)] // waiting takes longer than a call, and every read and write of every stream has one
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

/// Waits until one of `fds` has something to read, and says which have; none when `deadline` passed.
///
/// # Errors
/// As poll(2).
pub fn any(fds: &[BorrowedFd<'_>], deadline: Instant) -> Result<Vec<bool>, Error> {
    wait(fds, PollFlags::IN, deadline).map_err(|e| Error::new("poll", "descriptors", e))
}

/// Waits until `socket` has something to read; `false` when `deadline` passed.
pub(crate) fn readable(socket: &impl AsRawFd, deadline: Instant) -> Result<bool, Errno> {
    wait_readable(borrowed(socket), deadline)
}

/// The descriptor of a socket of netlink-sys, which offers no `AsFd`.
pub(crate) fn borrowed(socket: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to `socket`, which outlives the borrow.
    #[expect(unsafe_code, reason = "a borrowed descriptor of a type that only has AsRawFd")]
    unsafe {
        BorrowedFd::borrow_raw(socket.as_raw_fd())
    }
}

/// Waits until `fd` has something to read; `false` when `deadline` passed.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Errno> {
    Ok(wait(&[fd], PollFlags::IN, deadline)?.contains(&true))
}

/// Waits until one of `fds` can do what `flags` say, or is broken, and says which.
pub(crate) fn wait(fds: &[BorrowedFd<'_>], flags: PollFlags, deadline: Instant) -> Result<Vec<bool>, Errno> {
    if Instant::now() >= deadline {
        return Ok(vec![false; fds.len()]); // whatever there is to read: a peer that never stops does not move the deadline
    }
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, flags)).collect();
    let any = poll_until(&mut polled, deadline)?;
    Ok(polled.iter().map(|fd| any && !fd.revents().is_empty()).collect())
}

/// Looks once at least, and until something is ready; `false` at `deadline`.
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
