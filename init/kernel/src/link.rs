//! Network links through rtnetlink: list, bring up, wait for carrier, address, route.

use std::net::Ipv4Addr;
use std::time::Instant;

use rustix::io::Errno;

use crate::Error;
use crate::netlink::Netlink;
use crate::rtnetlink::{
    self, ACK, CREATE_OR_REPLACE, DELETE_ADDRESS, DUMP, ETHERNET, GET_LINK, LOOPBACK, LOWER_UP, NEW_ADDRESS, NEW_LINK, Request,
    SET_LINK, UP,
};

/// The group that announces links (`RTNLGRP_LINK` of linux/rtnetlink.h).
const GROUP_LINK: u32 = 1;

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
        let mut links = Vec::new();
        self.0.ask("link list", &Request::link(GET_LINK, DUMP, 0, 0, 0), |kind, body| {
            if kind == NEW_LINK {
                links.extend(rtnetlink::link(body).and_then(ethernet));
            }
        })?;
        links.sort_by_key(|link: &Ethernet| link.index);
        Ok(links)
    }

    /// Brings the link up.
    ///
    /// # Errors
    /// As the driver answers.
    pub fn up(&mut self, index: u32) -> Result<(), Error> {
        self.change("link up", &Request::link(SET_LINK, ACK, index, UP, UP))
    }

    /// Takes the link down; its routes go.
    ///
    /// # Errors
    /// As the driver answers.
    pub fn down(&mut self, index: u32) -> Result<(), Error> {
        self.change("link down", &Request::link(SET_LINK, ACK, index, 0, UP))
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
        let request = Request::address(NEW_ADDRESS, ACK | CREATE_OR_REPLACE, index, address, prefix);
        bounded("address add", address, prefix)?;
        self.change("address add", &request)
    }

    /// Takes an IPv4 address from the link, and with it the routes that came from it.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when it has none such.
    pub fn remove_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        self.change("address remove", &Request::address(DELETE_ADDRESS, ACK, index, address, prefix))
    }

    /// Adds a route to `destination`/`prefix` (0.0.0.0/0 is the default route), through `gateway` or on the link itself.
    ///
    /// # Errors
    /// `ENETUNREACH` when the gateway is not on the link; `EINVAL` for a prefix over 32.
    pub fn add_route(&mut self, index: u32, destination: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) -> Result<(), Error> {
        bounded("route add", destination, prefix)?;
        self.change("route add", &Request::route(ACK | CREATE_OR_REPLACE, index, destination, prefix, gateway))
    }

    fn change(&mut self, call: &'static str, request: &Request) -> Result<(), Error> {
        self.0.ask(call, request, |_, _| ())
    }
}

fn bounded(call: &'static str, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
    if prefix <= 32 { Ok(()) } else { Err(Error::new(call, address, Errno::INVAL)) }
}

fn ethernet(link: rtnetlink::Link) -> Option<Ethernet> {
    if link.hardware != ETHERNET || link.flags & LOOPBACK != 0 {
        return None;
    }
    Some(Ethernet { index: link.index, name: link.name, mac: link.mac?, carrier: link.flags & LOWER_UP != 0 })
}
