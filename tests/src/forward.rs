//! TCP forwarding by the host: connections to one address reach another, unchanged.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Listens on the loopback and forwards every connection to `to`, for the life of the process.
///
/// # Errors
/// As bind(2).
pub(crate) fn to(to: SocketAddr) -> io::Result<SocketAddr> {
    from("127.0.0.1:0", to)
}

/// Like [`to`], listening at `at`.
///
/// # Errors
/// As bind(2).
pub(crate) fn from(at: &str, to: SocketAddr) -> io::Result<SocketAddr> {
    listen(at, move || to)
}

/// Redirects later connections of a forward that [`until`] started.
#[derive(Clone, Default)]
pub(crate) struct Redirect(Arc<AtomicBool>);

impl Redirect {
    /// Redirects from now on.
    pub(crate) fn start(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Forwards connections to `first` until `redirect` redirects them to `then`.
///
/// # Errors
/// As bind(2).
pub(crate) fn until(redirect: &Redirect, first: SocketAddr, then: SocketAddr) -> io::Result<SocketAddr> {
    let redirect = redirect.clone();
    listen("127.0.0.1:0", move || if redirect.0.load(Ordering::SeqCst) { then } else { first })
}

fn listen(at: &str, to: impl Fn() -> SocketAddr + Send + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(at)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // If the host cannot connect, the guest's connection closes.
            if let Ok(server) = TcpStream::connect(to()) {
                carry(&client, &server).and_then(|()| carry(&server, &client)).unwrap_or_default();
            }
        }
    });
    Ok(address)
}

/// Copies one direction in a thread.
fn carry(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    std::thread::spawn(move || {
        let carried = io::copy(&mut from, &mut to);
        let closed = to.shutdown(Shutdown::Write);
        drop((carried, closed));
    });
    Ok(())
}
