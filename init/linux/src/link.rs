//! Network links through rtnetlink: list, bring up, hear of changes, address, route.

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

/// The group that announces links (`RTNLGRP_LINK` of linux/rtnetlink.h).
const GROUP_LINK: u32 = 1;
/// The one that announces IPv6 addresses (`RTNLGRP_IPV6_IFADDR`): duplicate address detection ends there.
const GROUP_IPV6_ADDRESS: u32 = 9;

/// How often a list that changed is read again.
const LIST_TRIES: u32 = 5;

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
    /// Whether it is up as far as its administrator says.
    pub up: bool,
    /// The largest packet that it carries, in bytes.
    pub mtu: u32,
}

/// What the kernel has found out about an IPv6 address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DadState {
    /// Nobody has said that it is theirs yet.
    Tentative,
    /// It is ours alone.
    Unique,
    /// Somebody on the link has it already.
    Duplicate,
}

/// A conversation with the kernel about links.
pub struct Links {
    asked: Netlink,
    /// A socket of its own: what is announced while an answer is read must not be lost with what the answer is not.
    announced: Netlink,
}

impl Links {
    /// Opens it; announcements about links and IPv6 addresses are collected from here on.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> Result<Self, Error> {
        let announced = Netlink::open(&[GROUP_LINK, GROUP_IPV6_ADDRESS])?;
        Ok(Self { asked: Netlink::open(&[])?, announced })
    }

    /// The Ethernet links there are, by index.
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

    /// Takes the link down; its routes go, and its IPv6 addresses.
    ///
    /// # Errors
    /// As the driver answers.
    pub fn down(&mut self, index: u32) -> Result<(), Error> {
        self.change("link down", &Request::link(SET_LINK, ACK, index, 0, UP))
    }

    /// What announcements wait on.
    #[must_use]
    pub fn announcements(&self) -> BorrowedFd<'_> {
        poll::borrowed(self.announced.socket())
    }

    /// Takes the announcements that have come: something changed, and what is to be asked.
    pub fn drain_announcements(&mut self) {
        self.announced.drain();
    }

    /// Sets the largest packet that the link carries, in bytes.
    ///
    /// # Errors
    /// `EINVAL` when the driver cannot.
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

    /// Takes an address from the link, and with it the routes that came from it.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when it has none such.
    pub fn remove_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        self.change("address remove", &Request::address(DELETE_ADDRESS, ACK, index, address, prefix))
    }

    /// How duplicate address detection of an address ended, or goes; none when the link does not have it.
    ///
    /// # Errors
    /// As the kernel answers.
    pub fn detection(&mut self, index: u32, address: Ipv6Addr) -> Result<Option<DadState>, Error> {
        Ok(self.ipv6(index)?.into_iter().find(|(own, _)| *own == address).map(|(_, detection)| detection))
    }

    /// The link's own address on the link, once it is proved to be ours alone.
    ///
    /// # Errors
    /// As the kernel answers.
    pub fn link_local(&mut self, index: u32) -> Result<Option<Ipv6Addr>, Error> {
        let proved = |(own, detection): &(Ipv6Addr, DadState)| own.is_unicast_link_local() && *detection == DadState::Unique;
        Ok(self.ipv6(index)?.into_iter().find(proved).map(|(own, _)| own))
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

    /// A list of the kernel's, whole: one that changed while it was read is read again.
    fn list<T>(
        &mut self,
        call: &'static str,
        request: &Request,
        mut read: impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut tries = LIST_TRIES;
        loop {
            let mut found = Vec::new();
            match self.asked.ask(call, request, |kind, body| found.extend(read(kind, body))) {
                Err(error) if error.errno() == Errno::AGAIN && tries > 0 => tries -= 1,
                outcome => return outcome.map(|()| found),
            }
        }
    }

    /// Adds a route to `destination`/`prefix` (an unspecified address and 0 is the default route), through `gateway` or on the link
    /// itself.
    ///
    /// # Errors
    /// `ENETUNREACH` when the gateway is not on the link; `EINVAL` for a prefix that is too long.
    pub fn add_route(&mut self, index: u32, destination: IpAddr, prefix: u8, gateway: Option<IpAddr>) -> Result<(), Error> {
        bounded("route add", destination, prefix)?;
        self.change("route add", &Request::route(NEW_ROUTE, ACK | CREATE_OR_REPLACE, index, destination, prefix, gateway))
    }

    /// Takes away a route that [`Links::add_route`] added; one that is gone already is no error.
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
        self.asked.ask(call, request, |_, _| ())
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
