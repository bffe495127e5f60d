//! An IPv4 address from DHCP, on one link.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use kernel::link::{Ethernet, Links};
use kernel::packet::{Ethertype, PacketSocket};
use netconf::dhcp::{Client, Lease, Taken};

use super::random;
use crate::journal::step;

/// The most frames that are taken in one go: what floods the link must not keep the others waiting.
const FRAMES_MAX: usize = 64;
/// A lease is renewed at half its life (RFC 2131, section 4.4.5), and never more often than this.
const RENEWAL_MIN: Duration = Duration::from_secs(30);

/// A client that asks, or a lease that holds.
pub(super) struct Dhcp {
    asking: Option<(PacketSocket, Client)>,
    lease: Option<Lease>,
    renew: Option<Instant>,
    /// What went out in all, also for leases before this one.
    sent: u32,
}

impl Dhcp {
    pub(super) const fn new() -> Self {
        Self { asking: None, lease: None, renew: None, sent: 0 }
    }

    /// Begins to ask, for the address of an earlier lease if there is one.
    pub(super) fn start(&mut self, link: &Ethernet, now: Instant) -> Result<(), kernel::Error> {
        let socket = PacketSocket::open(link.index, Ethertype::Ipv4)?;
        let wanted = self.lease.as_ref().map(|lease| lease.address);
        self.asking = Some((socket, Client::new(link.mac, wanted, now, random())));
        self.renew = None;
        Ok(())
    }

    /// Stops to ask; a lease that is there holds.
    pub(super) fn stop(&mut self) {
        (self.asking, self.renew) = (None, None);
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    pub(super) fn sent(&self) -> u32 {
        self.sent + self.asking.as_ref().map_or(0, |(_, client)| client.sent())
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        self.asking.as_ref().map_or(self.renew, |(_, client)| client.wake())
    }

    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.asking.as_ref().map(|(socket, _)| socket.as_fd())
    }

    /// Sends what is due, takes what has come, and applies a lease.
    pub(super) fn work(&mut self, link: &Ethernet, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        if self.renew.is_some_and(|renew| now >= renew) {
            self.start(link, now)?;
        }
        let Some((socket, client)) = &mut self.asking else { return Ok(()) };
        let mut leased = None;
        for _ in 0..FRAMES_MAX {
            // What an offer makes due goes out before the next frame is looked at.
            if let Some(frame) = client.due(now, random()) {
                socket.send(&frame)?;
            }
            let Some(frame) = socket.receive()? else { break };
            match client.take(&frame, now, random()) {
                Taken::Nothing => {}
                Taken::Offered(address) => step(format_args!("dhcp: {} offered {address}", link.name)),
                Taken::Refused => log::warn!("net: {}: the server refused what it had offered", link.name),
                Taken::Leased(lease) => {
                    leased = Some(*lease);
                    break;
                }
            }
        }
        if let Some(lease) = leased {
            self.sent = self.sent();
            self.asking = None;
            self.apply(lease, link, links, now)?;
        }
        Ok(())
    }

    fn apply(&mut self, lease: Lease, link: &Ethernet, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        self.renew = lease.lifetime.map(|life| now + (life / 2).max(RENEWAL_MIN));
        // Servers tell what is left of a lease, so how long it holds is no difference; what it gives is.
        let gives = |lease: &Lease| (lease.address, lease.prefix, lease.mtu);
        if self.lease.as_ref().is_some_and(|held| gives(held) != gives(&lease)) {
            self.remove(link, links);
        }
        let is_new = self.lease.is_none();
        if let Some(mtu) = lease.mtu
            && let Err(error) = links.set_mtu(link.index, mtu.into())
        {
            log::warn!("net: {}: {error}", link.name);
        }
        links.add_address(link.index, lease.address.into(), lease.prefix)?;
        if is_new {
            log::info!("net: {} is {}/{}", link.name, lease.address, lease.prefix);
        }
        // Again for a lease that is only confirmed: another link's may have taken their place meanwhile.
        for route in &lease.routes {
            // A route that cannot be is the server's mistake, or its lie; the next one may be what is needed.
            if let Err(error) = links.add_route(link.index, route.destination, route.prefix, route.gateway) {
                log::warn!("net: {}: {error}", link.name);
            }
        }
        self.lease = Some(lease);
        Ok(())
    }

    /// Takes routes and address of the lease from the link.
    pub(super) fn remove(&mut self, link: &Ethernet, links: &mut Links) {
        let Some(lease) = self.lease.take() else { return };
        for route in lease.routes.iter().rev() {
            if let Err(error) = links.remove_route(link.index, route.destination, route.prefix, route.gateway) {
                log::warn!("net: {}: {error}", link.name);
            }
        }
        if let Err(error) = links.remove_address(link.index, IpAddr::V4(lease.address), lease.prefix) {
            log::warn!("net: {}: {error}", link.name);
        }
    }
}
