//! Byte streams on which every read and write ends at a deadline.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connected stream with a settable timeout.
pub trait Transport: Read + Write + Send {
    /// Sets the timeout of the next read and of the next write.
    ///
    /// # Errors
    /// As setsockopt(2).
    fn bound(&mut self, left: Duration) -> io::Result<()>;
}

impl Transport for TcpStream {
    fn bound(&mut self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

/// A transport with a deadline for all reads and writes of a step.
pub struct Timed<T> {
    /// The stream.
    pub inner: T,
    /// When every read and write ends.
    pub deadline: Instant,
}

impl<T: Transport> Timed<T> {
    /// Sets the timeout to the time left. A peer that sends single bytes does not extend the deadline.
    fn arm(&mut self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.inner.bound(left)
    }
}

/// Translates the `EAGAIN` of a socket's timeout.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl<T: Transport> Read for Timed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        self.inner.read(buffer).map_err(timed_out)
    }
}

impl<T: Transport> Write for Timed<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.arm()?;
        self.inner.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
