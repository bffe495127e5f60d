//! A watchdog: hardware, or a timer of the kernel, that resets the machine unless it is kept alive.
//!
//! Source: Documentation/watchdog/watchdog-api.rst, linux/watchdog.h.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl, opcode};

use crate::Error;

const DEVICE: &str = "/dev/watchdog";
/// `WDIOC_SETTIMEOUT`: reads and writes an int, seconds.
const SET_TIMEOUT: rustix::ioctl::Opcode = opcode::read_write::<i32>(b'W', 6);

/// The descriptor of the open one, for a signal handler; -1: none.
static OPEN: AtomicI32 = AtomicI32::new(-1);

/// Disarms the open one where no lock can be taken: in a signal handler, or in a panic of the thread that has the lock. The machine is
/// about to halt.
pub fn disarm_open() {
    let descriptor = OPEN.load(Ordering::Relaxed);
    if descriptor >= 0 {
        // SAFETY: whoever opened it closes it only after it took the number back; the process ends here.
        #[expect(unsafe_code, reason = "a signal handler has no value to borrow from")]
        let device = unsafe { BorrowedFd::borrow_raw(descriptor) };
        rustix::io::write(device, b"V").map(drop).unwrap_or_default();
        OPEN.store(-1, Ordering::Relaxed);
    }
}

/// An open watchdog. It fires unless it is kept alive, also after it was dropped without [`Watchdog::disarm`].
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens the watchdog so that it fires after `timeout` without a keepalive; returns the timeout that the hardware uses.
    ///
    /// # Errors
    /// `ENOENT` when there is none; `EBUSY` when somebody has it; `EINVAL` when it cannot wait so long.
    pub fn open(timeout: Duration) -> Result<(Self, Duration), Error> {
        let file = OpenOptions::new().write(true).open(DEVICE).map_err(|e| Error::io("open", DEVICE, &e))?;
        let failed = |errno| Error::new("WDIOC_SETTIMEOUT", DEVICE, errno);
        let mut seconds = i32::try_from(timeout.as_secs()).map_err(|_| failed(Errno::INVAL))?;
        // SAFETY: the request reads and writes one int, which is what it is given.
        #[expect(unsafe_code, reason = "rustix has no call for watchdogs")]
        unsafe {
            ioctl(&file, Updater::<SET_TIMEOUT, i32>::new(&mut seconds)).map_err(failed)?;
        }
        OPEN.store(file.as_raw_fd(), Ordering::Relaxed);
        Ok((Self(file), Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
    }

    /// Keeps it alive.
    ///
    /// # Errors
    /// As write(2).
    pub fn keepalive(&mut self) -> Result<(), Error> {
        self.0.write_all(b".").map_err(|e| Error::io("write", DEVICE, &e))
    }

    /// Lets the kernel stop it when the descriptor is closed, as an exec does once nothing can hang it any more: before that, on the way to
    /// reading the program, it still fires. No keepalive may follow, which would undo this; this call counts as one.
    ///
    /// # Errors
    /// As write(2).
    pub fn stop_at_exec(&mut self) -> Result<(), Error> {
        self.0.write_all(b"V").map_err(|e| Error::io("write", DEVICE, &e))
    }

    /// Stops it, so that closing it does no harm; one that is built never to stop goes on.
    ///
    /// # Errors
    /// As write(2).
    pub fn disarm(mut self) -> Result<(), Error> {
        OPEN.store(-1, Ordering::Relaxed);
        self.0.write_all(b"V").map_err(|e| Error::io("write", DEVICE, &e))
    }
}
