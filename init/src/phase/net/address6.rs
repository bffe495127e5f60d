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
const FRAMES_MAX: usize = 256;
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
    /// Whether the routes are set.
    is_routed: bool,
}

/// The IPv6 side of a link.
pub(super) struct Address6 {
    asking: Option<(PacketSocket, Solicitor)>,
    own: Option<Own>,
    /// Whether a router that forwards has been heard since the asking began.
    has_router: bool,
    resolvers: Vec<Ipv6Addr>,
    /// The last address that somebody else has.
    duplicate: Option<Ipv6Addr>,
    duplicates: u32,
    sent: u32,
}

impl Address6 {
    pub(super) const fn new() -> Self {
        Self { asking: None, own: None, has_router: false, resolvers: Vec::new(), duplicate: None, duplicates: 0, sent: 0 }
    }

    /// Begins to ask routers.
    pub(super) fn solicit(&mut self, link: &Ethernet, now: Instant) -> Result<(), kernel::Error> {
        let socket = PacketSocket::open(link.index, Ethertype::Ipv6)?;
        self.asking = Some((socket, Solicitor::new(link.mac, now)));
        (self.has_router, self.duplicates) = (false, 0);
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

    /// Whether nothing is asked any more.
    pub(super) fn is_answered(&self) -> bool {
        self.asking.is_none()
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

    /// Sends what is due, takes what has come, and looks after the address.
    pub(super) fn work(&mut self, link: &Ethernet, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        for _ in 0..FRAMES_MAX {
            let Some(said) = self.listen(link, now)? else { break };
            self.heard(&said, link, links)?;
        }
        self.look(link, links)
    }

    /// Takes what an advertisement is good for. The asking ends with a router that forwards; one that only names a prefix gives an
    /// address, and the other is waited for.
    fn heard(&mut self, said: &Advertisement, link: &Ethernet, links: &mut Links) -> Result<(), kernel::Error> {
        if self.resolvers.is_empty() {
            self.resolvers.clone_from(&said.resolvers);
        }
        if let Some(mtu) = said.mtu
            && let Err(error) = links.set_mtu(link.index, mtu.into())
        {
            log::warn!("net: {}: {error}", link.name);
        }
        let route = said.route().filter(|_| !self.has_router);
        self.has_router |= route.is_some();
        match said.prefixes.first() {
            Some(prefix) if self.own.is_none() || said.is_default => {
                let address = self.own_address(prefix, link);
                self.try_address(address, prefix.length(), route.into_iter().collect(), link, links)?;
            }
            _ => {
                if let (Some(own), Some(route)) = (&mut self.own, route) {
                    own.routes.push(route);
                    (own.is_routed, self.has_router) = (false, true);
                }
            }
        }
        if self.has_router {
            self.sent = self.sent();
            self.asking = None;
        }
        Ok(())
    }

    /// The next advertisement of the link that is of use: one that an address can be made of, and where there is one, a router.
    fn listen(&mut self, link: &Ethernet, now: Instant) -> Result<Option<Advertisement>, kernel::Error> {
        let Some((socket, solicitor)) = &mut self.asking else { return Ok(None) };
        if let Some(frame) = solicitor.due(now, random()) {
            socket.send(&frame)?;
        }
        for _ in 0..FRAMES_MAX {
            let Some(frame) = socket.receive()? else { break };
            let is_of_use = |said: &Advertisement| !said.prefixes.is_empty() || self.own.is_some() && said.is_default;
            if let Some(said) = Advertisement::read(&frame).filter(is_of_use) {
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
        if let Some(own) = self.own.as_mut().filter(|own| own.address == address && own.prefix == prefix) {
            // Heard again after the link came back. Another link's routes may have taken the place of its own.
            (own.routes, own.is_routed) = (routes, false);
            return Ok(());
        }
        self.remove(link, links);
        links.add_address(link.index, address.into(), prefix)?;
        self.own = Some(Own { address, prefix, routes, is_proved: false, is_routed: false });
        Ok(())
    }

    /// Asks the kernel what it has found out.
    fn look(&mut self, link: &Ethernet, links: &mut Links) -> Result<(), kernel::Error> {
        let Some(own) = self.own.as_mut() else { return Ok(()) };
        let address = own.address;
        if !own.is_proved {
            match links.detection(link.index, address)? {
                Some(Detection::Pending) => return Ok(()),
                Some(Detection::Unique) => {
                    (own.is_proved, self.duplicate) = (true, None);
                    log::info!("net: {} is {address}/{}", link.name, own.prefix);
                }
                // The kernel takes an address away when it made it itself; ours it leaves, marked.
                Some(Detection::Duplicate) | None => {
                    log::warn!("net: {}: {address} is somebody else's", link.name);
                    self.duplicate = Some(address);
                    self.duplicates += 1;
                    self.remove(link, links);
                    return Ok(());
                }
            }
        }
        if !own.is_routed {
            own.is_routed = true;
            for route in &own.routes {
                if let Err(error) = links.add_route(link.index, route.destination, route.prefix, route.gateway) {
                    log::warn!("net: {}: {error}", link.name);
                }
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

    /// Takes routes and address from the link.
    pub(super) fn remove(&mut self, link: &Ethernet, links: &mut Links) {
        let Some(own) = self.own.take() else { return };
        for route in own.routes.iter().filter(|_| own.is_routed) {
            if let Err(error) = links.remove_route(link.index, route.destination, route.prefix, route.gateway) {
                log::warn!("net: {}: {error}", link.name);
            }
        }
        if let Err(error) = links.remove_address(link.index, own.address.into(), own.prefix) {
            log::warn!("net: {}: {error}", link.name);
        }
    }
}
