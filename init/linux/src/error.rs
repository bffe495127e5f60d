//! What the kernel refused, as strace would say it.

use std::fmt;

use rustix::io::Errno;

/// A call that the kernel refused: which, on what, and its errno.
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

    /// The same from a [`std::io::Error`]; one without an errno becomes `EIO`.
    pub fn io(call: &'static str, on: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(call, on, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// Whether what was called on is not there: no such file, no such device.
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

    /// Whether the device may be usable later although nothing is wrong with it: it, its node or its medium is not there yet,
    /// or another process holds it.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        self.is_absence() || [Errno::NOMEDIUM, Errno::BUSY, Errno::AGAIN].contains(&self.errno)
    }

    /// Whether it is not allowed at all, as writing to a disk that is read-only.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        [Errno::ACCESS, Errno::PERM, Errno::ROFS].contains(&self.errno)
    }

    /// The errno, for the few callers that branch on it.
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
