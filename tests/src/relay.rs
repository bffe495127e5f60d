//! A host that leads one address to another: it carries bytes and changes none.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Listens on the loopback and leads every connection to `to`, for the life of the process.
///
/// # Errors
/// As bind(2).
pub(crate) fn to(to: SocketAddr) -> io::Result<SocketAddr> {
    from("127.0.0.1:0", to)
}

/// The same with another loopback.
///
/// # Errors
/// As bind(2).
pub(crate) fn from(at: &str, to: SocketAddr) -> io::Result<SocketAddr> {
    listen(at, move || to)
}

/// With what a host leads connections elsewhere than before.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    /// From now on.
    pub(crate) fn over(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Leads every connection to `first`, and to `then` once the host switches over.
///
/// # Errors
/// As bind(2).
pub(crate) fn until(switch: &Switch, first: SocketAddr, then: SocketAddr) -> io::Result<SocketAddr> {
    let switch = switch.clone();
    listen("127.0.0.1:0", move || if switch.0.load(Ordering::SeqCst) { then } else { first })
}

fn listen(at: &str, to: impl Fn() -> SocketAddr + Send + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(at)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A connection that cannot be led on ends here, as a host's would.
            if let Ok(server) = TcpStream::connect(to()) {
                carry(&client, &server).and_then(|()| carry(&server, &client)).unwrap_or_default();
            }
        }
    });
    Ok(address)
}

/// One direction, in a thread of its own.
fn carry(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    std::thread::spawn(move || {
        let carried = io::copy(&mut from, &mut to);
        let closed = to.shutdown(Shutdown::Write);
        drop((carried, closed));
    });
    Ok(())
}
