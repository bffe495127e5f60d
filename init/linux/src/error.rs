//! The error of a system call: call, object and errno, as strace shows them.

use std::fmt;

use rustix::io::Errno;

/// A failed call: its name, the object it was made on, and the errno.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    call: &'static str,
    on: String,
    errno: Errno,
}

impl Error {
    /// Names the call, the object it was made on, and the errno it returned.
    pub fn new(call: &'static str, on: impl fmt::Display, errno: Errno) -> Self {
        Self { call, on: on.to_string(), errno }
    }

    /// Takes the errno from a [`std::io::Error`]; one without an errno becomes `EIO`.
    pub fn io(call: &'static str, on: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(call, on, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// Whether the object does not exist: no such file, no such device.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        [Errno::NOENT, Errno::NODEV, Errno::NXIO].contains(&self.errno)
    }

    /// Whether the device failed to read or write (`EIO`), or did not answer (`ETIMEDOUT`).
    #[must_use]
    pub fn is_io(&self) -> bool {
        [Errno::IO, Errno::TIMEDOUT].contains(&self.errno)
    }

    /// Whether there was no answer in time (`ETIMEDOUT`).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.errno == Errno::TIMEDOUT
    }

    /// Whether the device may become usable later: it, its node or its medium does not exist yet, or another process uses it.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        self.is_absence() || [Errno::NOMEDIUM, Errno::BUSY, Errno::AGAIN].contains(&self.errno)
    }

    /// Whether the call is not permitted, for example a write to a read-only disk.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        [Errno::ACCESS, Errno::PERM, Errno::ROFS].contains(&self.errno)
    }

    /// Returns the errno, for the few callers that branch on it.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.call, self.on, self.errno)
    }
}

impl std::error::Error for Error {}
