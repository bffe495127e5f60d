//! Uevents: notifications of the kernel about devices, so that a caller waits for a new device without polling sysfs.

use std::time::Instant;

use netlink_sys::protocols::NETLINK_KOBJECT_UEVENT;
use netlink_sys::{Socket, SocketAddr};

use crate::Error;
use crate::poll::readable;

/// The multicast group of the kernel (that of udev is 2).
const GROUP_KERNEL: u32 = 1;

/// The most notifications that one wait discards; the rest ends the next wait at once.
pub(crate) const DRAIN_MAX: usize = 1024;

/// A subscription to uevents. Open it, then look for the device, then wait: the kernel queues uevents that come between.
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

    /// Waits for uevents and discards them; `false` at `deadline`.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait(&self, deadline: Instant) -> Result<bool, Error> {
        if !readable(&self.0, deadline).map_err(|e| Error::new("poll", "uevents", e))? {
            return Ok(false);
        }
        let mut buffer = Vec::with_capacity(8192);
        // An overrun (ENOBUFS) also means that devices changed.
        for _ in 0..DRAIN_MAX {
            if self.0.recv(&mut buffer, 0).is_err() {
                break;
            }
            buffer.clear();
        }
        Ok(true)
    }
}
