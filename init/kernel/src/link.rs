//! Network links through rtnetlink: list, bring up, wait for carrier, address, route.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use crate::Error;
use crate::netlink::Netlink;

/// The group that announces links (`RTNLGRP_LINK` of linux/rtnetlink.h).
const GROUP_LINK: u32 = 1;
/// The main routing table (`RT_TABLE_MAIN`).
const TABLE_MAIN: u8 = 254;

/// An Ethernet link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ethernet {
    /// The kernel's index.
    pub index: u32,
    /// Name, as `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Whether a cable (or the host's word for one) is plugged in.
    pub carrier: bool,
}

/// A conversation with the kernel about links.
pub struct Links(Netlink);

impl Links {
    /// Opens it; link announcements are collected from here on.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> Result<Self, Error> {
        Netlink::open(&[GROUP_LINK]).map(Self)
    }

    /// The Ethernet links there are, by index.
    ///
    /// # Errors
    /// As the kernel answers.
    pub fn ethernet(&mut self) -> Result<Vec<Ethernet>, Error> {
        let answers = self.0.dump("link list", RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let mut links: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => ethernet(&link),
                _ => None,
            })
            .collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Brings the link up.
    ///
    /// # Errors
    /// As the driver answers.
    pub fn up(&mut self, index: u32) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.0.change("link up", RouteNetlinkMessage::SetLink(message))
    }

    /// Waits until something about a link is announced; `false` when `deadline` passed.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait(&mut self, deadline: Instant) -> Result<bool, Error> {
        self.0.announced(deadline)
    }

    /// Gives the link an IPv4 address with a prefix length of 0 to 32 bits.
    ///
    /// # Errors
    /// `EINVAL` for a prefix over 32.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        if prefix > 32 {
            return Err(Error::new("address add", address, Errno::INVAL));
        }
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
        message.attributes.push(AddressAttribute::Address(IpAddr::V4(address)));
        self.0.change("address add", RouteNetlinkMessage::NewAddress(message))
    }

    /// Adds a route to `destination`/`prefix` (0.0.0.0/0 is the default route), through `gateway` or on the link itself.
    ///
    /// # Errors
    /// `ENETUNREACH` when the gateway is not on the link.
    pub fn add_route(&mut self, index: u32, destination: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) -> Result<(), Error> {
        if prefix > 32 {
            return Err(Error::new("route add", destination, Errno::INVAL));
        }
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = prefix;
        message.header.table = TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.kind = RouteType::Unicast;
        message.header.scope = if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
        if prefix > 0 {
            message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(destination)));
        }
        message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(RouteAddress::Inet(gateway))));
        message.attributes.push(RouteAttribute::Oif(index));
        self.0.change("route add", RouteNetlinkMessage::NewRoute(message))
    }

    /// Takes the link down; its addresses of version 4 stay with it, its routes go.
    ///
    /// # Errors
    /// As the driver answers.
    pub fn down(&mut self, index: u32) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        self.0.change("link down", RouteNetlinkMessage::SetLink(message))
    }

    /// Takes an IPv4 address from the link, and with it the routes that came from it.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when it has none such.
    pub fn remove_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
        self.0.change("address remove", RouteNetlinkMessage::DelAddress(message))
    }
}

fn ethernet(link: &LinkMessage) -> Option<Ethernet> {
    if link.header.link_layer_type != LinkLayerType::Ether || link.header.flags.contains(LinkFlags::Loopback) {
        return None;
    }
    let (mut name, mut mac) = (None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    Some(Ethernet { index: link.header.index, name: name?, mac: mac?, carrier: link.header.flags.contains(LinkFlags::LowerUp) })
}
