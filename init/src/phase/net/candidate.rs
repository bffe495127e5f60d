//! One Ethernet link on its way to an address, and back to what it was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use kernel::link::{Ethernet, Links};
use kernel::sysctl;
use netconf::Route;
use ondisk::cmdline::NetMode;

use super::address6::Address6;
use super::lease::Dhcp;
use super::status::{Trouble, Up};
use crate::journal::step;

/// How long a link rests after the kernel refused something, or after all of its addresses were somebody else's.
const REST: Duration = Duration::from_secs(5);
/// How long what a link had before it lost its carrier is not counted on: the cable may lead elsewhere now. After that, silence speaks for
/// it, since servers need not be there to use what they gave.
const GRACE: Duration = Duration::from_secs(5);
/// How many unanswered requests make it likely that there is no server.
const UNANSWERED: u32 = 3;
/// The kernel's own autoconfiguration takes every advertisement that comes: off while the link is ours.
const ACCEPT_ADVERTISEMENTS: &str = "accept_ra";

/// What is wanted of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) mode: NetMode,
    /// The name server that policy names.
    pub(super) dns: Option<IpAddr>,
    /// Whether an address on the link alone is of use: a vault has one.
    pub(super) link_local: bool,
}

impl Plan {
    fn dhcp(&self) -> bool {
        matches!(self.mode, NetMode::Dhcp | NetMode::Dual)
    }

    fn slaac(&self) -> bool {
        matches!(self.mode, NetMode::Slaac | NetMode::Dual)
    }
}

/// A link.
pub(super) struct Candidate {
    /// As it was found.
    found: Ethernet,
    /// The kernel's setting as it was found; none without IPv6.
    accepted: Option<String>,
    /// Whether the driver has brought it up.
    is_up: bool,
    /// Since when it has a carrier.
    carrier: Option<Instant>,
    dhcp: Dhcp,
    ipv6: Address6,
    fixed: Option<Fixed>,
    /// Whether what it has is known to hold since the carrier came.
    is_confirmed: bool,
    link_local: Option<Ipv6Addr>,
    trouble: Option<kernel::Error>,
    /// When to begin again.
    again: Option<Instant>,
    /// When to begin again with IPv6 alone.
    again6: Option<Instant>,
}

/// An IPv4 address of the command line, with its routes.
struct Fixed {
    address: Ipv4Addr,
    prefix: u8,
    routes: Vec<Route>,
}

impl Candidate {
    /// Takes a link and brings it up, now or when its driver lets it.
    pub(super) fn take(found: Ethernet, links: &mut Links, now: Instant) -> Self {
        let accepted = sysctl::replace_ipv6(&found.name, ACCEPT_ADVERTISEMENTS, "0").ok();
        let mut candidate = Self {
            found,
            accepted,
            is_up: false,
            carrier: None,
            dhcp: Dhcp::new(),
            ipv6: Address6::new(),
            fixed: None,
            is_confirmed: false,
            link_local: None,
            trouble: None,
            again: None,
            again6: None,
        };
        candidate.bring_up(links, now);
        candidate
    }

    fn bring_up(&mut self, links: &mut Links, now: Instant) {
        let up = links.up(self.found.index);
        self.is_up = up.is_ok();
        (self.again, self.trouble) = (None, None);
        self.note(up, now);
    }

    pub(super) fn index(&self) -> u32 {
        self.found.index
    }

    pub(super) fn name(&self) -> &str {
        &self.found.name
    }

    pub(super) fn has_carrier(&self) -> bool {
        self.carrier.is_some()
    }

    /// Takes what the kernel says of the carrier now. `is_wanted`: no other link is in use.
    pub(super) fn seen(&mut self, carrier: bool, is_wanted: bool, plan: &Plan, links: &mut Links, now: Instant) {
        if carrier == self.carrier.is_some() {
            return;
        }
        self.carrier = carrier.then_some(now);
        self.is_confirmed = false;
        if carrier {
            step(format_args!("net: {} has a carrier", self.found.name));
        } else {
            log::warn!("net: {} lost its carrier", self.found.name);
            self.rest();
        }
        if carrier && is_wanted {
            self.start(plan, links, now);
        }
    }

    /// Begins to get an address, or to hear whether the one that it has still holds.
    pub(super) fn start(&mut self, plan: &Plan, links: &mut Links, now: Instant) {
        (self.again, self.again6, self.trouble) = (None, None, None);
        let started = self.try_start(plan, links, now);
        self.note(started, now);
    }

    fn try_start(&mut self, plan: &Plan, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        if plan.dhcp() {
            self.dhcp.start(&self.found, now)?;
        }
        if let NetMode::Static { address: IpAddr::V4(address), prefix, gateway } = plan.mode {
            self.set_v4(address, prefix, gateway, links)?;
        }
        self.start_v6(plan, links, now)
    }

    fn start_v6(&mut self, plan: &Plan, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        self.again6 = None;
        if plan.slaac() {
            self.ipv6.solicit(&self.found, now)?;
        }
        if let NetMode::Static { address: IpAddr::V6(address), prefix, gateway } = plan.mode {
            let gateway = gateway.and_then(|gateway| if let IpAddr::V6(gateway) = gateway { Some(gateway) } else { None });
            self.ipv6.set((address, prefix), gateway, &self.found, links)?;
        }
        Ok(())
    }

    fn set_v4(&mut self, address: Ipv4Addr, prefix: u8, gateway: Option<IpAddr>, links: &mut Links) -> Result<(), kernel::Error> {
        let index = self.found.index;
        let mut routes = Vec::new();
        if let Some(IpAddr::V4(gateway)) = gateway {
            // A router outside the subnet is on the link all the same, and the kernel wants to be told.
            let host_bits = 32 - u32::from(prefix.min(32));
            if gateway.to_bits().checked_shr(host_bits) != address.to_bits().checked_shr(host_bits) {
                routes.push(Route { destination: gateway.into(), prefix: 32, gateway: None });
            }
            routes.push(Route { destination: Ipv4Addr::UNSPECIFIED.into(), prefix: 0, gateway: Some(gateway.into()) });
        }
        links.add_address(index, address.into(), prefix)?;
        for route in &routes {
            links.add_route(index, route.destination, route.prefix, route.gateway)?;
        }
        if self.fixed.is_none() {
            log::info!("net: {} is {address}/{prefix}", self.found.name);
        }
        self.fixed = Some(Fixed { address, prefix, routes });
        Ok(())
    }

    /// Stops to ask; what it has, it keeps.
    pub(super) fn rest(&mut self) {
        self.dhcp.stop();
        self.ipv6.stop();
        (self.again, self.again6) = (None, None);
    }

    /// Stops to ask and gives up what it has: another link is in use, and two would be in each other's way.
    pub(super) fn retreat(&mut self, links: &mut Links) {
        self.rest();
        self.dhcp.remove(&self.found, links);
        self.ipv6.remove(&self.found, links);
        self.is_confirmed = false;
        let Some(Fixed { address, prefix, routes }) = self.fixed.take() else { return };
        let mut remove = || {
            for route in routes.iter().rev() {
                links.remove_route(self.found.index, route.destination, route.prefix, route.gateway)?;
            }
            links.remove_address(self.found.index, address.into(), prefix)
        };
        if let Err(error) = remove() {
            log::warn!("net: {}: {error}", self.found.name);
        }
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        let grace = self.carrier.map(|since| since + GRACE).filter(|_| !self.is_confirmed && self.has_something());
        [self.dhcp.wake(), self.ipv6.wake(), self.again, self.again6, grace].into_iter().flatten().min()
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.dhcp.socket().into_iter().chain(self.ipv6.socket())
    }

    /// Sends what is due and takes what has come.
    pub(super) fn work(&mut self, plan: &Plan, links: &mut Links, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if !self.is_up && is_due(self.again) {
            self.bring_up(links, now);
        }
        let Some(since) = self.carrier else { return };
        if is_due(self.again) {
            self.start(plan, links, now);
        }
        let worked = self.try_work(plan, links, now);
        self.note(worked, now);
        self.is_confirmed |= self.has_something() && now >= since + GRACE;
    }

    fn try_work(&mut self, plan: &Plan, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        let was_asking = self.dhcp.is_asking();
        self.dhcp.work(&self.found, links, now)?;
        self.ipv6.work(&self.found, links, now)?;
        self.is_confirmed |= was_asking && !self.dhcp.is_asking() && self.dhcp.lease().is_some()
            || self.ipv6.address().is_some() && self.ipv6.is_answered()
            || self.fixed.is_some();
        let duplicates_only = self.ipv6.duplicate().is_some() && self.ipv6.socket().is_none();
        if plan.slaac() && self.ipv6.may_try_another() && self.ipv6.socket().is_none() {
            self.ipv6.solicit_again(&self.found, now)?;
        } else if self.again6.is_some_and(|at| now >= at) {
            self.start_v6(plan, links, now)?;
        } else if duplicates_only && self.again6.is_none() {
            self.again6 = Some(now + REST);
        }
        if plan.link_local && self.link_local.is_none() {
            self.link_local = links.link_local(self.found.index)?;
        }
        Ok(())
    }

    fn note(&mut self, outcome: Result<(), kernel::Error>, now: Instant) {
        let Err(error) = outcome else { return };
        log::warn!("net: {}: {error}", self.found.name);
        self.rest();
        self.trouble = Some(error);
        self.again = Some(now + REST);
    }

    /// Whether it has an address that others than its neighbours can be reached from.
    fn has_something(&self) -> bool {
        self.dhcp.lease().is_some() || self.fixed.is_some() || self.ipv6.address().is_some()
    }

    /// The link as others may use it, once it can be: with a global address that holds since the carrier came, or one on the link
    /// where that is of use and nobody gives another.
    pub(super) fn up(&self, plan: &Plan) -> Option<Up> {
        let silent = (!plan.dhcp() || self.dhcp.sent() >= UNANSWERED) && (!plan.slaac() || self.ipv6.has_no_router());
        let local = self.link_local.is_some() && silent;
        let leased = self.dhcp.lease().into_iter().flat_map(|lease| &lease.resolvers).copied().map(IpAddr::V4);
        let advertised = self.ipv6.resolvers().iter().copied().map(IpAddr::V6);
        let resolvers = plan.dns.map_or_else(|| leased.chain(advertised).collect(), |named| vec![named]);
        let usable = self.carrier.is_some() && (self.has_something() && self.is_confirmed || local);
        usable.then(|| Up { index: self.found.index, name: self.found.name.clone(), resolvers })
    }

    /// What it is waiting for.
    pub(super) fn trouble(&self, plan: &Plan) -> Trouble {
        let link = self.found.name.clone();
        if let Some(error) = &self.trouble {
            return Trouble::Kernel { link, error: error.clone() };
        }
        match self.ipv6.duplicate() {
            _ if self.carrier.is_none() => Trouble::NoCarrier(link),
            _ if self.dhcp.is_asking() => {
                let solicitations = plan.slaac().then(|| self.ipv6.sent());
                Trouble::NoLease { link, requests: self.dhcp.sent(), solicitations }
            }
            Some(address) => Trouble::Duplicate { link, address: address.into() },
            None if self.ipv6.is_unproved() => Trouble::Unproved { link },
            None => Trouble::NoRouter { link, solicitations: self.ipv6.sent() },
        }
    }

    /// Makes the link again what it was: addresses and routes away, the largest packet, up or down.
    pub(super) fn restore(mut self, links: &mut Links) {
        self.retreat(links);
        let down = if self.found.up { Ok(()) } else { links.down(self.found.index) };
        let size = links.set_mtu(self.found.index, self.found.mtu);
        if let Err(error) = down.and(size) {
            log::warn!("net: {} is not as it was found: {error}", self.found.name);
        }
        self.keep();
    }

    /// Leaves addresses and routes for the real system, and autoconfiguration as it was found.
    pub(super) fn keep(self) {
        let Some(accepted) = &self.accepted else { return };
        if let Err(error) = sysctl::replace_ipv6(&self.found.name, ACCEPT_ADVERTISEMENTS, accepted) {
            log::warn!("net: {}: {error}", self.found.name);
        }
    }
}
