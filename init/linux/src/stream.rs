// UNSAFETY: one implementation of rustix's trait `SocketAddrArg`, which gives the kernel a pointer to a `sockaddr_vm`: neither rustix nor
// std has vsock addresses, and nix would add a second socket API to PID 1.

//! Connected streams: TCP to the first of several addresses that accepts, vsock to a context ID. Every wait has a deadline.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

use crate::poll::Stop;

/// A connected stream.
#[derive(Debug)]
pub struct Stream {
    socket: OwnedFd,
    stop: Stop,
    /// Deadline of the current read or write.
    until: Instant,
}

/// `struct sockaddr_vm` of linux/vm_sockets.h.
#[repr(C)]
struct VsockAddress {
    /// `AF_VSOCK`.
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

const _: () = assert!(size_of::<VsockAddress>() == 16, "sockaddr_vm is 16 bytes");

// SAFETY: the pointer is to a live sockaddr_vm for the time of the call, and the length is its size.
#[expect(unsafe_code, reason = "neither rustix nor std can make a vsock address")]
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), 16)
    }
}

/// A connection attempt that has not ended.
struct Attempt(OwnedFd);

impl Attempt {
    fn tcp(address: &SocketAddr) -> Result<Self, Errno> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let attempt = Self::start(family, Some(ipproto::TCP), address)?;
        sockopt::set_tcp_nodelay(&attempt.0, true)?;
        Ok(attempt)
    }

    fn start(
        family: AddressFamily,
        protocol: Option<rustix::net::Protocol>,
        address: &impl SocketAddrArg,
    ) -> Result<Self, Errno> {
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, protocol)?;
        match connect(&socket, address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self(socket)),
            Err(errno) => Err(errno),
        }
    }

    /// Turns an attempt that has ended into a stream.
    fn finish(self, stop: &Stop, until: Instant) -> Result<Stream, Errno> {
        sockopt::socket_error(&self.0)??;
        Ok(Stream { socket: self.0, stop: stop.clone(), until })
    }
}

impl Stream {
    /// Connects to the first of `addresses` that accepts before `deadline`, and returns which. It starts the next attempt after
    /// `attempt_delay`, in parallel to the earlier ones, or at once when all earlier ones have failed. `stop` cancels the attempts and
    /// every wait of the stream.
    ///
    /// # Errors
    /// The error of the last attempt; `ETIMEDOUT` when no attempt ended in time; `EDESTADDRREQ` without an address; `ECANCELED`.
    pub fn tcp(
        addresses: &[SocketAddr],
        attempt_delay: Duration,
        deadline: Instant,
        stop: &Stop,
    ) -> io::Result<(Self, SocketAddr)> {
        let mut left = addresses.iter();
        let mut under_way: Vec<(Attempt, SocketAddr)> = Vec::new();
        let mut last = Errno::DESTADDRREQ;
        loop {
            let (mut wake, mut more) = (deadline, false);
            if let Some(address) = left.next() {
                match Attempt::tcp(address) {
                    Ok(attempt) => under_way.push((attempt, *address)),
                    Err(errno) => last = errno,
                }
                more = left.len() > 0;
                wake = if more { deadline.min(Instant::now() + attempt_delay) } else { deadline };
            }
            if under_way.is_empty() {
                if more {
                    continue;
                }
                return Err(last.into());
            }
            // Handles every attempt that ends before the next one is due.
            loop {
                let fds: Vec<_> = under_way.iter().map(|(attempt, _)| attempt.0.as_fd()).collect();
                let ended = stop.or_wait(&fds, PollFlags::OUT, wake)?;
                let Some(at) = ended.iter().position(|ended| *ended) else { break };
                let (attempt, address) = under_way.swap_remove(at);
                match attempt.finish(stop, deadline) {
                    Ok(stream) => return Ok((stream, address)),
                    Err(errno) => last = errno,
                }
                if under_way.is_empty() {
                    break;
                }
            }
            if Instant::now() >= deadline {
                return Err(if under_way.is_empty() { last } else { Errno::TIMEDOUT }.into());
            }
        }
    }

    /// Connects to `port` of the context ID `cid` before `deadline`; `stop` as for [`Stream::tcp`].
    ///
    /// # Errors
    /// As connect(2) for vsock(7): `ENODEV` without a transport, `ECONNRESET` without a listener; `ETIMEDOUT`; `ECANCELED`.
    pub fn vsock(cid: u32, port: u32, deadline: Instant, stop: &Stop) -> io::Result<Self> {
        let address = VsockAddress { family: AddressFamily::VSOCK.as_raw(), reserved: 0, port, cid, zero: [0; 4] };
        let attempt = Attempt::start(AddressFamily::VSOCK, None, &address)?;
        if stop.or_wait(&[attempt.0.as_fd()], PollFlags::OUT, deadline)?.contains(&true) {
            return Ok(attempt.finish(stop, deadline)?);
        }
        Err(Errno::TIMEDOUT.into())
    }

    /// Sets the time that is left for the next reads and writes. Until the first call, the deadline of the connection applies.
    pub fn set_timeout(&mut self, left: Duration) {
        self.until = Instant::now() + left;
    }

    /// Waits for `flags` on the socket; `EAGAIN` at the deadline.
    fn wait(&self, flags: PollFlags) -> Result<(), Errno> {
        let ready = self.stop.or_wait(&[self.socket.as_fd()], flags, self.until)?;
        if ready.contains(&true) { Ok(()) } else { Err(Errno::AGAIN) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Err(Errno::AGAIN | Errno::INTR) => self.wait(PollFlags::IN)?,
                done => return Ok(done?),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            // With NOSIGNAL, a closed connection gives EPIPE and no SIGPIPE.
            match rustix::net::send(&self.socket, buffer, rustix::net::SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN | Errno::INTR) => self.wait(PollFlags::OUT)?,
                done => return Ok(done?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const ATTEMPT_DELAY: Duration = Duration::from_millis(50);

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn stop() -> Stop {
        Stop::new().unwrap()
    }

    /// A listener with a full backlog: further connection attempts get no answer, as behind a packet filter that drops.
    fn black_hole() -> (OwnedFd, SocketAddr, Vec<Attempt>) {
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let bound = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        let fill = (0..4).map(|_| Attempt::tcp(&bound).unwrap()).collect();
        (socket, bound, fill)
    }

    #[test]
    fn first_address_that_answers_is_the_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_held, silent, _fill) = black_hole();
        let refused = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
        let good = listener.local_addr().unwrap();
        for addresses in [vec![good], vec![refused, good], vec![silent, good], vec![silent, refused, good, silent]] {
            let (mut stream, peer) = Stream::tcp(&addresses, ATTEMPT_DELAY, soon(), &stop()).unwrap();
            assert_eq!(peer, good);
            stream.write_all(b"hello").unwrap();
            let mut got = [0; 5];
            listener.accept().unwrap().0.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"hello", "{addresses:?}");
        }
    }

    #[test]
    fn no_answer_is_an_error_by_its_kind() {
        let (_held, silent, _fill) = black_hole();
        let refused = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
        let kind = |addresses: &[SocketAddr]| {
            Stream::tcp(addresses, ATTEMPT_DELAY, Instant::now() + Duration::from_millis(300), &stop()).unwrap_err().kind()
        };
        assert_eq!(kind(&[refused]), io::ErrorKind::ConnectionRefused);
        assert_eq!(kind(&[silent]), io::ErrorKind::TimedOut);
        assert_eq!(kind(&[silent, refused]), io::ErrorKind::TimedOut);
        assert!(Stream::tcp(&[], ATTEMPT_DELAY, soon(), &stop()).is_err());
    }

    #[test]
    fn read_ends_when_its_bound_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut stream, _) = Stream::tcp(&[listener.local_addr().unwrap()], ATTEMPT_DELAY, soon(), &stop()).unwrap();
        stream.set_timeout(Duration::from_millis(20));
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn stop_ends_a_connection_that_nobody_answers_and_a_read_that_waits() {
        let (_held, silent, _fill) = black_hole();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let canceled = |error: io::Error| error.raw_os_error() == Some(Errno::CANCELED.raw_os_error());
        let stop = stop();
        let (mut stream, _) = Stream::tcp(&[listener.local_addr().unwrap()], ATTEMPT_DELAY, soon(), &stop).unwrap();
        let connecting = stop.clone();
        let attempt =
            std::thread::spawn(move || Stream::tcp(&[silent], ATTEMPT_DELAY, soon(), &connecting).map(drop).unwrap_err());
        let read = std::thread::spawn(move || stream.read(&mut [0]).unwrap_err());
        stop.signal();
        assert!(canceled(attempt.join().unwrap()) && canceled(read.join().unwrap()));
    }

    #[test]
    fn vsock_without_a_listener_is_an_error() {
        // EAFNOSUPPORT without the kernel module, ENODEV with it and without a transport.
        assert!(Stream::vsock(2, 1, Instant::now() + Duration::from_millis(200), &stop()).is_err());
    }
}
