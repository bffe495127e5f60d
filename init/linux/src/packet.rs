// UNSAFETY: one implementation of rustix's trait `SocketAddrArg`, which gives the kernel a pointer to a `sockaddr_ll`: rustix has no
// link-layer addresses, and nix has no constructor for one.

//! Packet sockets: whole Ethernet frames on one link, for DHCP and router solicitation before the link has an address.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

use crate::Error;

/// The largest frame that is received, in bytes; longer ones are truncated and then fail to parse.
const FRAME_MAX: usize = 2048;

/// The EtherType of the frames that a socket receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ethertype {
    /// `ETH_P_IP`.
    Ipv4,
    /// `ETH_P_IPV6`.
    Ipv6,
}

impl Ethertype {
    /// In network byte order, as packet sockets expect it.
    fn to_network(self) -> u16 {
        match self {
            Self::Ipv4 => 0x0800_u16.to_be(),
            Self::Ipv6 => 0x86dd_u16.to_be(),
        }
    }
}

/// Size of the receive queue in bytes, as the kernel counts them: some thousand small frames. The default queue holds a few hundred,
/// so a flood would push out the answer.
const QUEUE_BYTES: usize = 4 << 20;

/// A packet socket bound to one link, for frames of one ethertype.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// `struct sockaddr_ll` of linux/if_packet.h, as far as bind(2) reads it.
#[repr(C)]
struct LinkLayerAddress {
    /// `AF_PACKET`.
    family: u16,
    /// EtherType in network byte order.
    protocol: u16,
    /// Interface index of the link.
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
    /// Opens a socket on the link with the interface index `index`.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` without `af_packet`; `ENODEV` when the link is gone.
    pub fn open(index: u32, frames: Ethertype) -> Result<Self, Error> {
        // Without a protocol until bind: otherwise it would receive frames of all links between the two calls.
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

    /// Sends a whole frame with its Ethernet header. If the queue of the link is full, the frame is dropped, as on the network.
    ///
    /// # Errors
    /// `ENETDOWN` when the link is down.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        match send(&self.0, frame, SendFlags::DONTWAIT) {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => Ok(()),
            Err(errno) => Err(Error::new("send", "packet", errno)),
        }
    }

    /// Receives the next queued frame; `None` when the queue is empty. To wait for one, use [`crate::poll`].
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
