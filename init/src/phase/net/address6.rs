//! An IPv6 address on one link: from the command line, or made of what a router advertises. The kernel finds out whether somebody
//! else on the link has it (duplicate address detection), and until it has, the address is none.

use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use kernel::link::{Detection, Ethernet, Links};
use kernel::packet::{Ethertype, PacketSocket};
use netconf::Route;
use netconf::slaac::{Advertisement, Prefix, Solicitor};

use super::random;
use crate::journal::step;

/// The most frames that are taken in one go.
const FRAMES_MAX: usize = 64;
/// How many other identifiers are tried when somebody has our address (`IDGEN_RETRIES` of RFC 7217).
const IDENTIFIERS_MAX: u32 = 3;
/// How many unanswered solicitations make it likely that there is no router (`MAX_RTR_SOLICITATIONS` of RFC 4861).
const UNANSWERED: u32 = 3;

/// An address with what the kernel knows of it.
struct Own {
    address: Ipv6Addr,
    prefix: u8,
    routes: Vec<Route>,
    is_proved: bool,
}

/// The IPv6 side of a link.
pub(super) struct Address6 {
    asking: Option<(PacketSocket, Solicitor)>,
    own: Option<Own>,
    resolvers: Vec<Ipv6Addr>,
    /// The last address that somebody else has.
    duplicate: Option<Ipv6Addr>,
    duplicates: u32,
    sent: u32,
}

impl Address6 {
    pub(super) const fn new() -> Self {
        Self { asking: None, own: None, resolvers: Vec::new(), duplicate: None, duplicates: 0, sent: 0 }
    }

    /// Begins to ask routers.
    pub(super) fn solicit(&mut self, link: &Ethernet, now: Instant) -> Result<(), kernel::Error> {
        let socket = PacketSocket::open(link.index, Ethertype::Ipv6)?;
        self.asking = Some((socket, Solicitor::new(link.mac, now)));
        self.duplicates = 0;
        Ok(())
    }

    /// Sets the address that policy wants.
    pub(super) fn set(
        &mut self,
        (address, prefix): (Ipv6Addr, u8),
        gateway: Option<Ipv6Addr>,
        link: &Ethernet,
        links: &mut Links,
    ) -> Result<(), kernel::Error> {
        let route =
            |gateway: Ipv6Addr| Route { destination: Ipv6Addr::UNSPECIFIED.into(), prefix: 0, gateway: Some(gateway.into()) };
        self.try_address(address, prefix, gateway.map(route).into_iter().collect(), link, links)
    }

    pub(super) fn stop(&mut self) {
        self.asking = None;
    }

    /// The address, once it is proved to be ours alone.
    pub(super) fn address(&self) -> Option<Ipv6Addr> {
        self.own.as_ref().filter(|own| own.is_proved).map(|own| own.address)
    }

    pub(super) fn is_unproved(&self) -> bool {
        self.own.as_ref().is_some_and(|own| !own.is_proved)
    }

    /// Whether routers have been asked so often that there is likely none.
    pub(super) fn has_no_router(&self) -> bool {
        self.own.is_none() && self.sent() >= UNANSWERED
    }

    pub(super) fn resolvers(&self) -> &[Ipv6Addr] {
        &self.resolvers
    }

    pub(super) fn duplicate(&self) -> Option<Ipv6Addr> {
        self.duplicate
    }

    pub(super) fn sent(&self) -> u32 {
        self.sent + self.asking.as_ref().map_or(0, |(_, solicitor)| solicitor.sent())
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        self.asking.as_ref().map(|(_, solicitor)| solicitor.wake())
    }

    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.asking.as_ref().map(|(socket, _)| socket.as_fd())
    }

    /// Sends what is due, takes what has come, and looks after the address. `fixed`: policy has set it.
    pub(super) fn work(&mut self, link: &Ethernet, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        if let Some(said) = self.listen(link, now)? {
            self.sent = self.sent();
            self.asking = None;
            self.resolvers.clone_from(&said.resolvers);
            if let Some(mtu) = said.mtu
                && let Err(error) = links.set_mtu(link.index, mtu.into())
            {
                log::warn!("net: {}: {error}", link.name);
            }
            if let Some(prefix) = said.prefixes.first() {
                let address = self.own_address(prefix, link);
                self.try_address(address, prefix.length(), said.route().into_iter().collect(), link, links)?;
            }
        }
        self.look(link, links)
    }

    /// The first advertisement of the link that an address can be made of, if it has come.
    fn listen(&mut self, link: &Ethernet, now: Instant) -> Result<Option<Advertisement>, kernel::Error> {
        let Some((socket, solicitor)) = &mut self.asking else { return Ok(None) };
        if let Some(frame) = solicitor.due(now, random()) {
            socket.send(&frame)?;
        }
        for _ in 0..FRAMES_MAX {
            let Some(frame) = socket.receive()? else { break };
            if let Some(said) = Advertisement::read(&frame).filter(|said| !said.prefixes.is_empty()) {
                step(format_args!("slaac: {} heard {}", link.name, said.router));
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// Made of the link's hardware address, and of random bits when somebody had that one.
    fn own_address(&self, prefix: &Prefix, link: &Ethernet) -> Ipv6Addr {
        if self.duplicates == 0 {
            return prefix.address(link.mac);
        }
        let (high, low) = (u64::from(random()), u64::from(random()));
        prefix.join((high << 32 | low).to_be_bytes())
    }

    fn try_address(
        &mut self,
        address: Ipv6Addr,
        prefix: u8,
        routes: Vec<Route>,
        link: &Ethernet,
        links: &mut Links,
    ) -> Result<(), kernel::Error> {
        if self.own.as_ref().is_some_and(|own| own.address == address && own.prefix == prefix) {
            return Ok(()); // heard again after the link came back
        }
        self.remove(link, links);
        links.add_address(link.index, address.into(), prefix)?;
        self.own = Some(Own { address, prefix, routes, is_proved: false });
        Ok(())
    }

    /// Asks the kernel what it has found out.
    fn look(&mut self, link: &Ethernet, links: &mut Links) -> Result<(), kernel::Error> {
        let Some(own) = self.own.as_mut().filter(|own| !own.is_proved) else { return Ok(()) };
        let address = own.address;
        match links.detection(link.index, address)? {
            Some(Detection::Pending) => {}
            Some(Detection::Unique) => {
                own.is_proved = true;
                self.duplicate = None;
                log::info!("net: {} is {address}/{}", link.name, own.prefix);
                for route in &own.routes {
                    if let Err(error) = links.add_route(link.index, route.destination, route.prefix, route.gateway) {
                        log::warn!("net: {}: {error}", link.name);
                    }
                }
            }
            // The kernel takes an address away when it made it itself; ours it leaves, marked.
            Some(Detection::Duplicate) | None => {
                log::warn!("net: {}: {address} is somebody else's", link.name);
                self.duplicate = Some(address);
                self.duplicates += 1;
                self.remove(link, links);
            }
        }
        Ok(())
    }

    /// Whether another identifier may still be tried.
    pub(super) fn may_try_another(&self) -> bool {
        self.own.is_none() && self.duplicates > 0 && self.duplicates <= IDENTIFIERS_MAX
    }

    /// Asks the routers again, for another identifier.
    pub(super) fn solicit_again(&mut self, link: &Ethernet, now: Instant) -> Result<(), kernel::Error> {
        let duplicates = self.duplicates;
        self.solicit(link, now)?;
        self.duplicates = duplicates;
        Ok(())
    }

    /// Takes the address from the link.
    pub(super) fn remove(&mut self, link: &Ethernet, links: &mut Links) {
        let Some(own) = self.own.take() else { return };
        if let Err(error) = links.remove_address(link.index, own.address.into(), own.prefix) {
            log::warn!("net: {}: {error}", link.name);
        }
    }
}
