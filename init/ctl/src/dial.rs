//! TCP connections to a name or an address, with a deadline.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Why a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialError {
    /// The name does not resolve.
    Resolve(io::ErrorKind),
    /// No address accepted the connection.
    Connect(io::ErrorKind),
}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        let (DialError::Resolve(kind) | DialError::Connect(kind)) = error;
        kind.into()
    }
}

/// Connects to the first address of the name (`host:port`) that accepts. `deadline` is for all addresses together.
pub(crate) fn connect(address: &str, deadline: Instant) -> Result<TcpStream, DialError> {
    let mut last = DialError::Resolve(io::ErrorKind::NotFound);
    let mut candidates = resolve(address, deadline)?;
    while let Some(candidate) = candidates.pop() {
        let others = u32::try_from(candidates.len()).unwrap_or(u32::MAX - 1);
        let share = deadline.saturating_duration_since(Instant::now()) / (others + 1);
        if share.is_zero() {
            return Err(DialError::Connect(io::ErrorKind::TimedOut));
        }
        let connected =
            TcpStream::connect_timeout(&candidate, share).and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = DialError::Connect(error.kind()),
        }
    }
    Err(last)
}

/// The addresses of a name, last first. The system's resolver has no timeout, so its thread is abandoned at the deadline.
fn resolve(address: &str, deadline: Instant) -> Result<Vec<SocketAddr>, DialError> {
    let (sender, answer) = mpsc::channel();
    let name = address.to_owned();
    thread::spawn(move || sender.send(name.to_socket_addrs().map(Vec::from_iter)).ok());
    let left = deadline.saturating_duration_since(Instant::now());
    let found = answer.recv_timeout(left).map_err(|_| DialError::Resolve(io::ErrorKind::TimedOut))?;
    let mut addresses = found.map_err(|error| DialError::Resolve(error.kind()))?;
    addresses.reverse();
    Ok(addresses)
}
