//! Waiting for descriptors, always with a deadline.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::Error;

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
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(vec![false; fds.len()]); // whatever there is to read: a peer that never stops does not move the deadline
        }
        let timeout = rustix::time::Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, flags)).collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
