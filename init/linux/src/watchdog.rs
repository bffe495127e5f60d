// UNSAFETY: one ioctl, `WDIOC_SETTIMEOUT`, which no crate here has, and one `BorrowedFd::borrow_raw` for a signal handler, which cannot
// borrow from a value.

//! The watchdog: hardware, or a timer of the kernel, that resets the machine when it gets no keepalive for the timeout.
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

/// The descriptor of the open watchdog, for a signal handler; -1: none.
static OPEN: AtomicI32 = AtomicI32::new(-1);

/// Disarms the open watchdog without a lock, before the machine is halted: in a signal handler, or in a panic of the thread that holds
/// the lock.
pub fn disarm_open() {
    let descriptor = OPEN.load(Ordering::Relaxed);
    if descriptor >= 0 {
        // SAFETY: `Watchdog::disarm` resets the number before it closes the descriptor, and the process ends here.
        #[expect(unsafe_code, reason = "a signal handler has no value to borrow from")]
        let device = unsafe { BorrowedFd::borrow_raw(descriptor) };
        rustix::io::write(device, b"V").map(drop).unwrap_or_default();
        OPEN.store(-1, Ordering::Relaxed);
    }
}

/// An open watchdog, which is armed. Dropped without [`Watchdog::disarm`], it stays armed.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens the watchdog and sets the time after which it fires without a keepalive. Returns the time that the driver set: hardware
    /// rounds it.
    ///
    /// # Errors
    /// `ENOENT` without a watchdog; `EBUSY` when another process has it open; `EINVAL` for a time that it does not support.
    pub fn open(timeout: Duration) -> Result<(Self, Duration), Error> {
        let file = OpenOptions::new().write(true).open(DEVICE).map_err(|e| Error::io("open", DEVICE, &e))?;
        let failed = |errno| Error::new("WDIOC_SETTIMEOUT", DEVICE, errno);
        let mut seconds = i32::try_from(timeout.as_secs()).map_err(|_| failed(Errno::INVAL))?;
        // SAFETY: the request reads and writes one int, the type of the argument.
        #[expect(unsafe_code, reason = "rustix has no call for watchdogs")]
        unsafe {
            ioctl(&file, Updater::<SET_TIMEOUT, i32>::new(&mut seconds)).map_err(failed)?;
        }
        OPEN.store(file.as_raw_fd(), Ordering::Relaxed);
        Ok((Self(file), Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
    }

    /// Sends a keepalive: the time starts again.
    ///
    /// # Errors
    /// As write(2).
    pub fn keepalive(&mut self) -> Result<(), Error> {
        self.0.write_all(b".").map_err(|e| Error::io("write", DEVICE, &e))
    }

    /// Sends the magic close character, so that the kernel stops the watchdog when an exec closes the descriptor. While the kernel reads
    /// the program, the watchdog still fires. This is also a keepalive; a later keepalive would revoke it.
    ///
    /// # Errors
    /// As write(2).
    pub fn stop_at_exec(&mut self) -> Result<(), Error> {
        self.0.write_all(b"V").map_err(|e| Error::io("write", DEVICE, &e))
    }

    /// Stops the watchdog. One whose driver is configured with `nowayout` continues.
    ///
    /// # Errors
    /// As write(2).
    pub fn disarm(mut self) -> Result<(), Error> {
        OPEN.store(-1, Ordering::Relaxed);
        self.0.write_all(b"V").map_err(|e| Error::io("write", DEVICE, &e))
    }
}
