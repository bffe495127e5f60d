//! How a link gets its addresses and names get theirs: DHCPv4, router advertisements, DNS. No clock, no socket, no thread.
//!
//! Threat model: whoever is on the link may answer anything, or for others. Nothing here decides whom a vault is believed to be;
//! a lie costs time, which the caller bounds, and memory, which is bounded here.

pub mod dhcp;
pub mod dns;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod happy_eyeballs;
pub mod slaac;

use std::net::IpAddr;

/// The most name servers that are kept of what a link names: resolvers never ask more (`MAXNS` of resolv.h).
pub const RESOLVERS_MAX: usize = 3;

/// A route that somebody on the link gave us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; unspecified with a prefix of 0 for the default route.
    pub destination: IpAddr,
    /// Length of the prefix, in bits.
    pub prefix: u8,
    /// The router; none when the destination is on the link itself.
    pub gateway: Option<IpAddr>,
}
