//! Connected streams: TCP to the first of several addresses that answers, vsock to a context. Every wait has a deadline.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

use crate::readiness;

/// A connected stream.
#[derive(Debug)]
pub struct Stream(OwnedFd);

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

/// An attempt on its way.
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

    /// The stream of an attempt that has ended, or why there is none.
    fn finish(self) -> Result<Stream, Errno> {
        sockopt::socket_error(&self.0)??;
        rustix::io::ioctl_fionbio(&self.0, false)?;
        Ok(Stream(self.0))
    }
}

impl Stream {
    /// Connects to the first of `addresses` that answers until `deadline`, and says which. One more is tried beside the others every `stagger`, and
    /// at once when none is left on its way.
    ///
    /// # Errors
    /// Why the last attempt failed; `ETIMEDOUT` when none ended in time; `EDESTADDRREQ` without an address.
    pub fn tcp(addresses: &[SocketAddr], stagger: Duration, deadline: Instant) -> io::Result<(Self, SocketAddr)> {
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
                wake = if more { deadline.min(Instant::now() + stagger) } else { deadline };
            }
            if under_way.is_empty() {
                if more {
                    continue;
                }
                return Err(last.into());
            }
            // All of those that end before it is time for the next address.
            loop {
                let fds: Vec<_> = under_way.iter().map(|(attempt, _)| attempt.0.as_fd()).collect();
                let ended = readiness::wait(&fds, PollFlags::OUT, wake)?;
                let Some(at) = ended.iter().position(|ended| *ended) else { break };
                let (attempt, address) = under_way.swap_remove(at);
                match attempt.finish() {
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

    /// Connects to `port` of the context `cid` until `deadline`.
    ///
    /// # Errors
    /// As connect(2) for vsock(7): `ENODEV` without a transport, `ECONNRESET` when nobody listens; `ETIMEDOUT`.
    pub fn vsock(cid: u32, port: u32, deadline: Instant) -> io::Result<Self> {
        let address = VsockAddress { family: AddressFamily::VSOCK.as_raw(), reserved: 0, port, cid, zero: [0; 4] };
        let attempt = Attempt::start(AddressFamily::VSOCK, None, &address)?;
        if readiness::wait(&[attempt.0.as_fd()], PollFlags::OUT, deadline)?.contains(&true) {
            return Ok(attempt.finish()?);
        }
        Err(Errno::TIMEDOUT.into())
    }

    /// Bounds the next reads and writes, each.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub fn bound(&self, left: Duration) -> io::Result<()> {
        for which in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&self.0, which, Some(left))?;
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buffer)?)
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // A peer that hung up is an error, not a signal.
        Ok(rustix::net::send(&self.0, buffer, rustix::net::SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const STAGGER: Duration = Duration::from_millis(50);

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// A listener whose queue is full: further connections stay unanswered, as behind a packet filter that drops.
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
            let (mut stream, peer) = Stream::tcp(&addresses, STAGGER, soon()).unwrap();
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
            Stream::tcp(addresses, STAGGER, Instant::now() + Duration::from_millis(300)).unwrap_err().kind()
        };
        assert_eq!(kind(&[refused]), io::ErrorKind::ConnectionRefused);
        assert_eq!(kind(&[silent]), io::ErrorKind::TimedOut);
        assert_eq!(kind(&[silent, refused]), io::ErrorKind::TimedOut);
        assert!(Stream::tcp(&[], STAGGER, soon()).is_err());
    }

    #[test]
    fn read_ends_when_its_bound_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut stream, _) = Stream::tcp(&[listener.local_addr().unwrap()], STAGGER, soon()).unwrap();
        stream.bound(Duration::from_millis(20)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn vsock_without_a_listener_is_an_error() {
        // Without the module EAFNOSUPPORT, with it and without a transport ENODEV: an error in either case.
        assert!(Stream::vsock(2, 1, Instant::now() + Duration::from_millis(200)).is_err());
    }
}
