//! Whole Ethernet frames on one link, for DHCP and router solicitation before the link has an address.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

use crate::Error;

/// The largest frame that is taken, in bytes; longer ones are cut and then fail to parse.
const FRAME_MAX: usize = 2048;
/// Which frames are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ethertype {
    /// `ETH_P_IP`.
    Ipv4,
    /// `ETH_P_IPV6`.
    Ipv6,
}

impl Ethertype {
    /// In network order, as packet sockets want it.
    fn to_network(self) -> u16 {
        match self {
            Self::Ipv4 => 0x0800_u16.to_be(),
            Self::Ipv6 => 0x86dd_u16.to_be(),
        }
    }
}

/// What may wait to be read, in bytes as the kernel counts them: some thousand small frames. The usual queue holds a few hundred, and
/// with a flood the one frame that matters is lost.
const QUEUE_BYTES: usize = 4 << 20;

/// A packet socket bound to one link, for frames of one ethertype.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// `struct sockaddr_ll` of linux/if_packet.h, as far as bind(2) reads it.
#[repr(C)]
struct LinkLayerAddress {
    /// `AF_PACKET`.
    family: u16,
    /// Ethertype in network order.
    protocol: u16,
    /// Index of the link.
    index: i32,
    hardware_type: u16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

const _: () = assert!(size_of::<LinkLayerAddress>() == 20, "sockaddr_ll is 20 bytes");

// SAFETY: the pointer is to a live sockaddr_ll for the time of the call, and the length is its size.
#[expect(unsafe_code, reason = "neither rustix nor nix can make a link-layer address")]
unsafe impl SocketAddrArg for LinkLayerAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), 20)
    }
}

impl PacketSocket {
    /// Opens one on the link with `index`.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` without `af_packet`; `ENODEV` when the link is gone.
    pub fn open(index: u32, frames: Ethertype) -> Result<Self, Error> {
        // Of no protocol until it is bound: else it would hear all links between the two calls.
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(|e| Error::new("socket", "packet", e))?;
        let address = LinkLayerAddress {
            family: AddressFamily::PACKET.as_raw(),
            protocol: frames.to_network(),
            index: i32::try_from(index).map_err(|_| Error::new("bind", index, Errno::NODEV))?,
            hardware_type: 0,
            packet_type: 0,
            address_length: 0,
            address: [0; 8],
        };
        set_socket_recv_buffer_size_force(&socket, QUEUE_BYTES).map_err(|e| Error::new("SO_RCVBUFFORCE", "packet", e))?;
        bind(&socket, &address).map_err(|e| Error::new("bind", format_args!("link {index}"), e))?;
        Ok(Self(socket))
    }

    /// Sends a whole frame, Ethernet header included. One that the link does not take at once is lost, as any frame may be.
    ///
    /// # Errors
    /// `ENETDOWN` when the link is down.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        match send(&self.0, frame, SendFlags::DONTWAIT) {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => Ok(()),
            Err(errno) => Err(Error::new("send", "packet", errno)),
        }
    }

    /// The next frame that has come; `None` when there is none. Waiting is for `readiness`.
    ///
    /// # Errors
    /// `ENETDOWN` when the link went down.
    pub fn receive(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut frame = vec![0; FRAME_MAX];
        match recv(&self.0, frame.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((length, _)) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(Error::new("recv", "packet", errno)),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
