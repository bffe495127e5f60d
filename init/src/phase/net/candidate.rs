//! One Ethernet link on its way to an address, and back to what it was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use kernel::link::{Ethernet, Links};
use kernel::sysctl;
use ondisk::cmdline::NetMode;

use super::address6::Address6;
use super::lease::Dhcp;
use super::status::{Trouble, Up};
use crate::journal::step;

/// How long a link rests after the kernel refused something, or after all of its addresses were somebody else's.
const REST: Duration = Duration::from_secs(5);
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
    has_carrier: bool,
    dhcp: Dhcp,
    ipv6: Address6,
    fixed: Option<(Ipv4Addr, u8)>,
    link_local: Option<Ipv6Addr>,
    trouble: Option<kernel::Error>,
    /// When to begin again.
    again: Option<Instant>,
}

impl Candidate {
    /// Takes a link and brings it up.
    pub(super) fn take(found: Ethernet, links: &mut Links) -> Result<Self, kernel::Error> {
        let accepted = sysctl::replace_ipv6(&found.name, ACCEPT_ADVERTISEMENTS, "0").ok();
        links.up(found.index)?;
        Ok(Self {
            found,
            accepted,
            has_carrier: false,
            dhcp: Dhcp::new(),
            ipv6: Address6::new(),
            fixed: None,
            link_local: None,
            trouble: None,
            again: None,
        })
    }

    pub(super) fn index(&self) -> u32 {
        self.found.index
    }

    pub(super) fn name(&self) -> &str {
        &self.found.name
    }

    pub(super) fn has_carrier(&self) -> bool {
        self.has_carrier
    }

    /// Takes what the kernel says of the carrier now. `is_wanted`: no other link is in use.
    pub(super) fn seen(&mut self, carrier: bool, is_wanted: bool, plan: &Plan, links: &mut Links, now: Instant) {
        if carrier == self.has_carrier {
            return;
        }
        self.has_carrier = carrier;
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
        (self.again, self.trouble) = (None, None);
        let started = self.try_start(plan, links, now);
        self.note(started, now);
    }

    fn try_start(&mut self, plan: &Plan, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        if plan.dhcp() {
            self.dhcp.start(&self.found, now)?;
        }
        if plan.slaac() {
            self.ipv6.solicit(&self.found, now)?;
        }
        match plan.mode {
            NetMode::Static { address: IpAddr::V4(address), prefix, gateway } => self.set_v4(address, prefix, gateway, links),
            NetMode::Static { address: IpAddr::V6(address), prefix, gateway } => {
                let gateway = gateway.and_then(|gateway| if let IpAddr::V6(gateway) = gateway { Some(gateway) } else { None });
                self.ipv6.set((address, prefix), gateway, &self.found, links)
            }
            _ => Ok(()),
        }
    }

    fn set_v4(&mut self, address: Ipv4Addr, prefix: u8, gateway: Option<IpAddr>, links: &mut Links) -> Result<(), kernel::Error> {
        let index = self.found.index;
        if self.fixed.is_some() {
            return Ok(());
        }
        links.add_address(index, address.into(), prefix)?;
        self.fixed = Some((address, prefix));
        if let Some(IpAddr::V4(gateway)) = gateway {
            // A router outside the subnet is on the link all the same, and the kernel wants to be told.
            let host_bits = 32 - u32::from(prefix.min(32));
            if gateway.to_bits().checked_shr(host_bits) != address.to_bits().checked_shr(host_bits) {
                links.add_route(index, gateway.into(), 32, None)?;
            }
            links.add_route(index, Ipv4Addr::UNSPECIFIED.into(), 0, Some(gateway.into()))?;
        }
        log::info!("net: {} is {address}/{prefix}", self.found.name);
        Ok(())
    }

    /// Stops to ask; what it has, it keeps.
    pub(super) fn rest(&mut self) {
        self.dhcp.stop();
        self.ipv6.stop();
        self.again = None;
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        [self.dhcp.wake(), self.ipv6.wake(), self.again].into_iter().flatten().min()
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.dhcp.socket().into_iter().chain(self.ipv6.socket())
    }

    /// Sends what is due and takes what has come.
    pub(super) fn work(&mut self, plan: &Plan, links: &mut Links, now: Instant) {
        if !self.has_carrier {
            return;
        }
        if self.again.is_some_and(|again| now >= again) {
            self.start(plan, links, now);
        }
        let worked = self.try_work(plan, links, now);
        self.note(worked, now);
    }

    fn try_work(&mut self, plan: &Plan, links: &mut Links, now: Instant) -> Result<(), kernel::Error> {
        self.dhcp.work(&self.found, links, now)?;
        self.ipv6.work(&self.found, links, now)?;
        if plan.slaac() && self.ipv6.may_try_another() && self.ipv6.socket().is_none() {
            self.ipv6.solicit_again(&self.found, now)?;
        } else if self.ipv6.duplicate().is_some() && self.ipv6.socket().is_none() && self.again.is_none() {
            self.again = Some(now + REST);
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

    /// The link as others may use it, once it can be: a global address, or one on the link where that is of use and no router answers.
    pub(super) fn up(&self, plan: &Plan) -> Option<Up> {
        let local = || self.link_local.is_some() && (!plan.slaac() || self.ipv6.has_no_router());
        let usable = self.dhcp.lease().is_some() || self.fixed.is_some() || self.ipv6.address().is_some() || local();
        let leased = self.dhcp.lease().into_iter().flat_map(|lease| &lease.resolvers).copied().map(IpAddr::V4);
        let advertised = self.ipv6.resolvers().iter().copied().map(IpAddr::V6);
        let resolvers = plan.dns.map_or_else(|| leased.chain(advertised).collect(), |named| vec![named]);
        (usable && self.has_carrier).then(|| Up { index: self.found.index, name: self.found.name.clone(), resolvers })
    }

    /// What it is waiting for.
    pub(super) fn trouble(&self, plan: &Plan) -> Trouble {
        let link = self.found.name.clone();
        if let Some(error) = &self.trouble {
            return Trouble::Kernel { link, error: error.clone() };
        }
        match self.ipv6.duplicate() {
            _ if !self.has_carrier => Trouble::NoCarrier(link),
            Some(address) => Trouble::Duplicate { link, address: address.into() },
            None if self.ipv6.is_unproved() => Trouble::Unproved { link },
            None if self.dhcp.is_asking() => {
                let solicitations = plan.slaac().then(|| self.ipv6.sent());
                Trouble::NoLease { link, requests: self.dhcp.sent(), solicitations }
            }
            None => Trouble::NoRouter { link, solicitations: self.ipv6.sent() },
        }
    }

    /// Makes the link again what it was: addresses and routes away, the largest packet, up or down.
    pub(super) fn restore(mut self, links: &mut Links) {
        self.rest();
        self.dhcp.remove(&self.found, links);
        self.ipv6.remove(&self.found, links);
        if let Some((address, prefix)) = self.fixed.take()
            && let Err(error) = links.remove_address(self.found.index, address.into(), prefix)
        {
            log::warn!("net: {}: {error}", self.found.name);
        }
        let mut settle = || {
            links.set_mtu(self.found.index, self.found.mtu)?;
            if !self.found.up {
                links.down(self.found.index)?;
            }
            Ok::<_, kernel::Error>(())
        };
        if let Err(error) = settle() {
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
