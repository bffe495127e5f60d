//! Network links through rtnetlink: listing, state, change notifications, addresses, routes.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::Error;
use crate::netlink::Netlink;
use crate::poll;
use crate::rtnetlink::{
    self, ACK, CREATE_OR_REPLACE, DELETE_ADDRESS, DELETE_ROUTE, DUMP, DUPLICATE, ETHERNET, GET_LINK, LOOPBACK, LOWER_UP,
    NEW_ADDRESS, NEW_LINK, NEW_ROUTE, Request, SET_LINK, TENTATIVE, UP,
};

/// Multicast group for changes of links (`RTNLGRP_LINK` of linux/rtnetlink.h).
const GROUP_LINK: u32 = 1;
/// Multicast group for changes of IPv6 addresses (`RTNLGRP_IPV6_IFADDR`), with the results of duplicate address detection.
const GROUP_IPV6_ADDRESS: u32 = 9;

/// How often a dump is repeated when the list changed meanwhile.
const LIST_TRIES: u32 = 5;

/// An Ethernet link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ethernet {
    /// The kernel's interface index.
    pub index: u32,
    /// Name, for example `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Whether the link has a carrier (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// Whether the link is administratively up (`IFF_UP`).
    pub up: bool,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
}

/// The state of duplicate address detection for an IPv6 address (RFC 4862, section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DadState {
    /// The detection has not ended.
    Tentative,
    /// No other node of the link uses the address.
    Unique,
    /// Another node of the link uses the address.
    Duplicate,
}

/// Two rtnetlink sockets: one for requests, one for notifications.
pub struct Links {
    requests: Netlink,
    /// A socket of its own, since the request socket skips every message that does not answer its request.
    notifications: Netlink,
}

impl Links {
    /// Opens both sockets. The kernel queues notifications about links and IPv6 addresses from here on.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> Result<Self, Error> {
        let notifications = Netlink::open(&[GROUP_LINK, GROUP_IPV6_ADDRESS])?;
        Ok(Self { requests: Netlink::open(&[])?, notifications })
    }

    /// Lists the Ethernet links, sorted by index.
    ///
    /// # Errors
    /// As the kernel answers.
    pub fn ethernet(&mut self) -> Result<Vec<Ethernet>, Error> {
        let listed = self.list("link list", &Request::link(GET_LINK, DUMP, 0, 0, 0), |kind, body| {
            (kind == NEW_LINK).then(|| rtnetlink::link(body).and_then(ethernet))?
        })?;
        let mut links = Vec::with_capacity(listed.len());
        for link in listed {
            let place = links.partition_point(|before: &Ethernet| before.index < link.index);
            links.insert(place, link);
        }
        Ok(links)
    }

    /// Brings the link up.
    ///
    /// # Errors
    /// As the driver answers.
    pub fn up(&mut self, index: u32) -> Result<(), Error> {
        self.change("link up", &Request::link(SET_LINK, ACK, index, UP, UP))
    }

    /// Takes the link down; the kernel removes its routes and IPv6 addresses.
    ///
    /// # Errors
    /// As the driver answers.
    pub fn down(&mut self, index: u32) -> Result<(), Error> {
        self.change("link down", &Request::link(SET_LINK, ACK, index, 0, UP))
    }

    /// Returns the descriptor of the notifications, to poll.
    #[must_use]
    pub fn notifications(&self) -> BorrowedFd<'_> {
        poll::borrowed(self.notifications.socket())
    }

    /// Discards the queued notifications: they only mean that the caller lists links and addresses again.
    pub fn drain_notifications(&mut self) {
        self.notifications.drain();
    }

    /// Sets the maximum transmission unit of the link, in bytes.
    ///
    /// # Errors
    /// `EINVAL` when the driver does not support it.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), Error> {
        self.change("mtu", &Request::mtu(ACK, index, mtu))
    }

    /// Gives the link an address with a prefix length of 0 to 32 or 128 bits.
    ///
    /// # Errors
    /// `EINVAL` for a longer prefix.
    pub fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        bounded("address add", address, prefix)?;
        self.change("address add", &Request::address(NEW_ADDRESS, ACK | CREATE_OR_REPLACE, index, address, prefix))
    }

    /// Removes an address from the link; the kernel removes the routes that came from it.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when the link does not have the address.
    pub fn remove_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        self.change("address remove", &Request::address(DELETE_ADDRESS, ACK, index, address, prefix))
    }

    /// Returns the state of duplicate address detection for an address; `None` when the link does not have the address.
    ///
    /// # Errors
    /// As the kernel answers.
    pub fn detection(&mut self, index: u32, address: Ipv6Addr) -> Result<Option<DadState>, Error> {
        Ok(self.ipv6(index)?.into_iter().find(|(own, _)| *own == address).map(|(_, detection)| detection))
    }

    /// Returns the link-local address of the link, once duplicate address detection has found it unique.
    ///
    /// # Errors
    /// As the kernel answers.
    pub fn link_local(&mut self, index: u32) -> Result<Option<Ipv6Addr>, Error> {
        let is_unique = |(own, state): &(Ipv6Addr, DadState)| own.is_unicast_link_local() && *state == DadState::Unique;
        Ok(self.ipv6(index)?.into_iter().find(is_unique).map(|(own, _)| own))
    }

    fn ipv6(&mut self, index: u32) -> Result<Vec<(Ipv6Addr, DadState)>, Error> {
        self.list("address list", &Request::addresses(DUMP), |kind, body| {
            let address = rtnetlink::address(body).filter(|address| kind == NEW_ADDRESS && address.index == index)?;
            let detection = match address.flags {
                flags if flags & DUPLICATE != 0 => DadState::Duplicate,
                flags if flags & TENTATIVE != 0 => DadState::Tentative,
                _ => DadState::Unique,
            };
            Some((Ipv6Addr::from(address.octets), detection))
        })
    }

    /// Makes a dump request; repeats it when the list changed during the dump.
    fn list<T>(
        &mut self,
        call: &'static str,
        request: &Request,
        mut read: impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut tries = LIST_TRIES;
        loop {
            let mut found = Vec::new();
            match self.requests.request(call, request, |kind, body| found.extend(read(kind, body))) {
                Err(error) if error.errno() == Errno::AGAIN && tries > 0 => tries -= 1,
                outcome => return outcome.map(|()| found),
            }
        }
    }

    /// Adds a route to `destination`/`prefix` (the unspecified address with 0 is the default route), through `gateway` or on-link.
    ///
    /// # Errors
    /// `ENETUNREACH` when the gateway is not on-link; `EINVAL` for a prefix that is too long.
    pub fn add_route(&mut self, index: u32, destination: IpAddr, prefix: u8, gateway: Option<IpAddr>) -> Result<(), Error> {
        bounded("route add", destination, prefix)?;
        self.change("route add", &Request::route(NEW_ROUTE, ACK | CREATE_OR_REPLACE, index, destination, prefix, gateway))
    }

    /// Removes a route that [`Links::add_route`] added. A route that does not exist any more is not an error.
    ///
    /// # Errors
    /// As the kernel answers.
    pub fn remove_route(&mut self, index: u32, destination: IpAddr, prefix: u8, gateway: Option<IpAddr>) -> Result<(), Error> {
        match self.change("route remove", &Request::route(DELETE_ROUTE, ACK, index, destination, prefix, gateway)) {
            Err(error) if error.errno() == Errno::SRCH => Ok(()),
            outcome => outcome,
        }
    }

    fn change(&mut self, call: &'static str, request: &Request) -> Result<(), Error> {
        self.requests.request(call, request, |_, _| ())
    }
}

fn bounded(call: &'static str, address: IpAddr, prefix: u8) -> Result<(), Error> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    if prefix <= most { Ok(()) } else { Err(Error::new(call, address, Errno::INVAL)) }
}

fn ethernet(link: rtnetlink::Link) -> Option<Ethernet> {
    if link.hardware != ETHERNET || link.flags & LOOPBACK != 0 {
        return None;
    }
    let (up, carrier) = (link.flags & UP != 0, link.flags & LOWER_UP != 0);
    Some(Ethernet { index: link.index, name: link.name, mac: link.mac?, carrier, up, mtu: link.mtu? })
}
