//! The kernel's announcements of new devices: what to wait on instead of looking again and again.

use std::time::Instant;

use netlink_sys::protocols::NETLINK_KOBJECT_UEVENT;
use netlink_sys::{Socket, SocketAddr};

use crate::Error;
use crate::poll::readable;

/// The multicast group in which the kernel itself speaks (udev's is 2).
const GROUP_KERNEL: u32 = 1;

/// The most announcements that are taken at once; what is left makes the next wait end at once.
pub(crate) const DRAIN_MAX: usize = 1024;

/// A subscription. Open it, look for the device, and only then wait: what comes between is queued.
pub struct Uevents(Socket);

impl Uevents {
    /// Subscribes.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_KOBJECT_UEVENT).map_err(|e| Error::io("socket", "uevents", &e))?;
        socket.bind(&SocketAddr::new(0, GROUP_KERNEL)).map_err(|e| Error::io("bind", "uevents", &e))?;
        socket.set_non_blocking(true).map_err(|e| Error::io("fcntl", "uevents", &e))?;
        Ok(Self(socket))
    }

    /// Waits for one or more announcements and takes them all; `false` when `deadline` passed without one.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait(&self, deadline: Instant) -> Result<bool, Error> {
        if !readable(&self.0, deadline).map_err(|e| Error::new("poll", "uevents", e))? {
            return Ok(false);
        }
        let mut buffer = Vec::with_capacity(8192);
        // An overrun (ENOBUFS) also means: something happened, look again.
        for _ in 0..DRAIN_MAX {
            if self.0.recv(&mut buffer, 0).is_err() {
                break;
            }
            buffer.clear();
        }
        Ok(true)
    }
}
