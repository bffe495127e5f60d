//! IP configuration: DHCPv4, IPv6 router advertisements, and name resolution by DNS. No clock, no socket, no thread.
//!
//! Threat model: the host and every node of the link can send any answer, also in the name of another node. The identity of a vault does
//! not depend on these answers. A wrong answer costs time, which the caller bounds, and memory, which this crate bounds.

pub mod dhcp;
pub mod dns;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod happy_eyeballs;
pub mod slaac;

use std::net::IpAddr;

/// The most name servers that are kept for a link, as in libc (`MAXNS` of resolv.h).
pub const RESOLVERS_MAX: usize = 3;

/// A route from a DHCP server or a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The destination; the unspecified address with a prefix of 0 for the default route.
    pub destination: IpAddr,
    /// Length of the destination's prefix, in bits.
    pub prefix: u8,
    /// The router; `None` when the destination is on-link.
    pub gateway: Option<IpAddr>,
}
