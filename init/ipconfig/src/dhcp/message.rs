//! The DHCP messages of the client, and the contents of a server's answers that the client uses.
//!
//! Source: RFC 2131, RFC 2132, RFC 3442 (classless routes).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::options::{self, Reply};
use crate::{RESOLVERS_MAX, Route, frame};

/// Message types (option 53).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// The parameter request list (option 55): classless routes before the router, as RFC 3442 requires.
const PARAMETER_REQUEST_LIST: &[u8] =
    &[options::SUBNET_MASK, options::CLASSLESS_ROUTES, options::ROUTER, options::NAME_SERVER, options::MTU];
/// The most routes that are used.
const ROUTES_MAX: usize = 16;
/// The range of accepted MTUs. Below 1,280 the kernel disables IPv6 on the link and drops its addresses and settings.
const MTUS: std::ops::RangeInclusive<u16> = 1280..=9216;
/// An infinite lease time (RFC 2131, section 3.3).
const INFINITE: u32 = u32::MAX;
/// The maximum message size that is sent to servers (option 57), in bytes: the payload of an Ethernet frame.
const ANSWER_MAX: u16 = 1500;

/// The contents of a DHCPACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address of the link.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, 0 to 32 bits.
    pub prefix: u8,
    /// Routes, at most 16, in the order in which they can be added: before a router outside the subnet, there is a route to it.
    pub routes: Vec<Route>,
    /// Name servers, at most three.
    pub resolvers: Vec<Ipv4Addr>,
    /// The MTU of the link, 1,280 to 9,216 bytes, if the server sent one.
    pub mtu: Option<u16>,
    /// The lease time; `None`: infinite.
    pub lifetime: Option<Duration>,
}

/// A DHCPOFFER: the address, and the server identifier for the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) address: Ipv4Addr,
    pub(super) server: Ipv4Addr,
}

/// A server's answer to a DHCPREQUEST.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Leased(Box<Lease>),
    Refused,
}

/// One transaction of a client: answers with another transaction ID or hardware address do not belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) mac: [u8; 6],
    pub(super) xid: u32,
}

impl Transaction {
    /// Encodes a DHCPDISCOVER, with `wanted` as requested address. `secs`: seconds since the client started.
    pub(super) fn discover(&self, wanted: Option<Ipv4Addr>, secs: u16) -> Option<Vec<u8>> {
        let wanted = wanted.map(|address| (options::REQUESTED_ADDRESS, address));
        self.frame(DISCOVER, wanted.as_slice(), secs)
    }

    /// Encodes a DHCPREQUEST that accepts an offer.
    pub(super) fn request(&self, offer: &Offer, secs: u16) -> Option<Vec<u8>> {
        self.frame(REQUEST, &[(options::REQUESTED_ADDRESS, offer.address), (options::SERVER, offer.server)], secs)
    }

    fn frame(&self, kind: u8, addresses: &[(u8, Ipv4Addr)], secs: u16) -> Option<Vec<u8>> {
        let (kind, largest) = ([kind], ANSWER_MAX.to_be_bytes());
        let addresses: Vec<_> = addresses.iter().map(|(code, address)| (*code, address.octets())).collect();
        let mut all: Vec<(u8, &[u8])> = vec![(options::MESSAGE_TYPE, &kind)];
        all.extend(addresses.iter().map(|(code, octets)| (*code, octets.as_slice())));
        all.extend([(options::PARAMETERS, PARAMETER_REQUEST_LIST), (options::LARGEST_MESSAGE, &largest)]);
        frame::write_dhcp(self.mac, &options::write(self.mac, self.xid, secs, &all))
    }

    /// Decodes a frame that belongs to this transaction: message type, server identifier, and the message.
    fn read(&self, bytes: &[u8]) -> Option<(u8, Ipv4Addr, Reply)> {
        let reply = Reply::read(self.mac, self.xid, frame::read_dhcp(bytes)?)?;
        let [kind] = reply.fixed(options::MESSAGE_TYPE)?;
        Some((kind, reply.fixed::<4>(options::SERVER)?.into(), reply))
    }

    /// Decodes a DHCPOFFER with a usable lease.
    pub(super) fn read_offer(&self, bytes: &[u8]) -> Option<Offer> {
        let (kind, server, reply) = self.read(bytes)?;
        let lease = read_lease(&reply).filter(|_| kind == OFFER)?;
        Some(Offer { address: lease.address, server })
    }

    /// Decodes the answer of the server `asked`; `None` for another server, and for a DHCPACK without a usable lease.
    pub(super) fn read_answer(&self, bytes: &[u8], asked: Ipv4Addr) -> Option<Answer> {
        let (kind, server, reply) = self.read(bytes)?;
        match kind {
            _ if server != asked => None,
            ACK => read_lease(&reply).map(Box::new).map(Answer::Leased),
            NAK => Some(Answer::Refused),
            _ => None,
        }
    }
}

/// Reads a lease; `None` for a non-contiguous mask or an address that no host can have. Other invalid values are left out.
fn read_lease(reply: &Reply) -> Option<Lease> {
    let address = Some(reply.address).filter(|address| is_host(*address))?;
    let prefix = match reply.get(options::SUBNET_MASK) {
        Some(_) => prefix_of(reply.fixed::<4>(options::SUBNET_MASK)?.into())?,
        None => 32,
    };
    let lifetime = reply.fixed(options::LEASE_TIME).map(u32::from_be_bytes).filter(|seconds| *seconds != INFINITE);
    Some(Lease {
        address,
        prefix,
        routes: routes(reply, address, prefix),
        resolvers: reply.addresses(options::NAME_SERVER).filter(|server| is_host(*server)).take(RESOLVERS_MAX).collect(),
        mtu: reply.fixed(options::MTU).map(u16::from_be_bytes).filter(|mtu| MTUS.contains(mtu)),
        lifetime: lifetime.map(|seconds| Duration::from_secs(seconds.into())),
    })
}

/// Returns the classless routes; without that option, a default route through the router option (RFC 3442).
fn routes(reply: &Reply, address: Ipv4Addr, prefix: u8) -> Vec<Route> {
    let default = || reply.addresses(options::ROUTER).take(1).map(|router| (Ipv4Addr::UNSPECIFIED, 0, router)).collect();
    let received: Vec<(Ipv4Addr, u8, Ipv4Addr)> = reply.classless_routes().unwrap_or_else(default);
    let mut routes = Vec::new();
    for (destination, length, router) in received {
        let gateway = Some(router).filter(|router| !router.is_unspecified());
        let usable = gateway.is_none_or(|router| is_host(router) && router != address);
        if !usable || !is_destination(destination, length) {
            continue;
        }
        // Some clouds assign a /32: the router is on-link, and the kernel needs a route to it.
        if let Some(router) = gateway.filter(|router| !is_on_link(*router, address, prefix)) {
            let neighbour = Route { destination: router.into(), prefix: 32, gateway: None };
            if !routes.contains(&neighbour) {
                routes.push(neighbour);
            }
        }
        routes.push(Route { destination: destination.into(), prefix: length, gateway: gateway.map(IpAddr::V4) });
        if routes.len() >= ROUTES_MAX {
            break;
        }
    }
    routes.truncate(ROUTES_MAX);
    routes
}

/// Refuses routes to loopback and multicast addresses.
fn is_destination(destination: Ipv4Addr, prefix: u8) -> bool {
    prefix == 0 || !(destination.is_loopback() || destination.is_multicast() || destination.is_broadcast())
}

fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback())
}

fn is_on_link(other: Ipv4Addr, address: Ipv4Addr, prefix: u8) -> bool {
    let host_bits = 32 - u32::from(prefix.min(32));
    let subnet = |address: Ipv4Addr| u64::from(address.to_bits()) >> host_bits;
    subnet(address) == subnet(other)
}

fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    u8::try_from(bits.leading_ones()).ok().filter(|ones| u32::from(*ones) == bits.count_ones())
}

#[cfg(test)]
mod tests;
