//! Requests addresses on one Ethernet link by DHCP and router solicitation. The offer is not applied here: routes of two
//! configured links would conflict, so only the link in use gets addresses (active_link.rs).

mod exchange;

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use cmdline::NetMode;
use ipconfig::dhcp::Client;
use ipconfig::slaac::Solicitor;
use linux::link::{Ethernet, Links};
use linux::packet::{Ethertype, PacketSocket};
use linux::sysctl;

use super::offer::{Offer, Plan};
use super::random;
use super::status::LinkProblem;
use crate::boot_log::step;

/// The pause after the kernel refused a setting or all addresses were duplicates; a random part of the same length is added.
const REST: Duration = Duration::from_secs(4);
/// How long to wait for a router that forwards when another one only announces a prefix.
const FORWARDING: Duration = Duration::from_secs(2);
/// After how many unanswered messages no answer is expected (`MAX_RTR_SOLICITATIONS` of RFC 4861).
const UNANSWERED: u32 = 3;
/// The kernel's own autoconfiguration accepts every advertisement; it is off while PID 1 manages the link.
const ACCEPT_ADVERTISEMENTS: &str = "accept_ra";

/// A link on which addresses are requested.
pub(super) struct LinkAutoconf {
    /// The link as it was found.
    pub(super) found: Ethernet,
    /// The kernel's setting as it was found; none without IPv6.
    accepted: Option<String>,
    /// Whether the link was brought up.
    is_up: bool,
    /// Since when it has a carrier.
    carrier: Option<Instant>,
    dhcp: Option<(PacketSocket, Client)>,
    renew: Option<Instant>,
    slaac: Option<(PacketSocket, Solicitor)>,
    /// Requests and solicitations sent before the present exchange.
    sent: (u32, u32),
    pub(super) offer: Offer,
    link_local: Option<Ipv6Addr>,
    problem: Option<LinkProblem>,
    /// When to try again.
    retry_at: Option<Instant>,
}

impl LinkAutoconf {
    /// Takes over a link and brings it up, now or when its driver permits.
    pub(super) fn new(found: Ethernet, links: &mut Links, now: Instant) -> Self {
        let accepted = sysctl::replace_ipv6(&found.name, ACCEPT_ADVERTISEMENTS, "0").ok();
        let mut candidate = Self {
            found,
            accepted,
            is_up: false,
            carrier: None,
            dhcp: None,
            renew: None,
            slaac: None,
            sent: (0, 0),
            offer: Offer::default(),
            link_local: None,
            problem: None,
            retry_at: None,
        };
        candidate.bring_up(links, now);
        candidate
    }

    fn bring_up(&mut self, links: &mut Links, now: Instant) {
        (self.retry_at, self.problem) = (None, None);
        match links.up(self.found.index) {
            Ok(()) => self.is_up = true,
            Err(error) => self.fail(self.kernel_problem(error), now),
        }
    }

    pub(super) fn index(&self) -> u32 {
        self.found.index
    }

    pub(super) fn name(&self) -> &str {
        &self.found.name
    }

    /// Since when it has a carrier.
    pub(super) fn carrier(&self) -> Option<Instant> {
        self.carrier
    }

    /// Updates the carrier; `true` when it has just appeared.
    pub(super) fn update_carrier(&mut self, carrier: bool, now: Instant) -> bool {
        if carrier == self.carrier.is_some() {
            return false;
        }
        self.carrier = carrier.then_some(now);
        if carrier {
            step(format_args!("net: {} has a carrier", self.found.name));
        } else {
            log::warn!("net: {} lost its carrier", self.found.name);
            self.stop();
        }
        carrier
    }

    /// Starts to request addresses, or starts again: an earlier offer is dropped.
    pub(super) fn start(&mut self, plan: &Plan, now: Instant) {
        self.stop();
        (self.problem, self.sent) = (None, (0, 0));
        let before = std::mem::take(&mut self.offer).lease;
        if let Err(error) = self.try_start(plan, before.map(|lease| lease.address), now) {
            self.fail(self.kernel_problem(error), now);
        }
    }

    fn try_start(&mut self, plan: &Plan, wanted: Option<std::net::Ipv4Addr>, now: Instant) -> Result<(), linux::Error> {
        if plan.dhcp() {
            let socket = PacketSocket::open(self.found.index, Ethertype::Ipv4)?;
            self.dhcp = Some((socket, Client::new(self.found.mac, wanted, now, random()?)));
        }
        if plan.slaac() {
            let socket = PacketSocket::open(self.found.index, Ethertype::Ipv6)?;
            self.slaac = Some((socket, Solicitor::new(self.found.mac, now)));
        }
        Ok(())
    }

    /// Stops requesting.
    pub(super) fn stop(&mut self) {
        self.sent = self.sent();
        (self.dhcp, self.renew, self.slaac) = (None, None, None);
        // A link that could not be brought up is tried again all the same.
        self.retry_at = self.retry_at.filter(|_| !self.is_up);
    }

    /// Stops after a problem and schedules another try.
    pub(super) fn fail(&mut self, problem: LinkProblem, now: Instant) {
        log::warn!("net: {problem}");
        self.stop();
        self.problem = Some(problem);
        self.offer.advertisement = None;
        // Links that failed together must not retry together: two links with one address would stay duplicates of each other.
        let jitter = random().unwrap_or(u32::MAX); // any number will do for a pause
        self.retry_at = Some(now + REST.mul_f64(1.0 + f64::from(jitter) / f64::from(u32::MAX)));
    }

    pub(super) fn kernel_problem(&self, error: linux::Error) -> LinkProblem {
        LinkProblem::Kernel { link: self.found.name.clone(), error }
    }

    /// Messages sent since the start: requests and solicitations.
    fn sent(&self) -> (u32, u32) {
        let requests = self.dhcp.as_ref().map_or(0, |(_, client)| client.sent());
        let solicitations = self.slaac.as_ref().map_or(0, |(_, solicitor)| solicitor.sent());
        (self.sent.0 + requests, self.sent.1 + solicitations)
    }

    /// Whether there is an address to apply; a link-local address counts where it is useful and nothing else is offered.
    pub(super) fn offers(&self, plan: &Plan, now: Instant) -> bool {
        let advertisement = self
            .offer
            .advertisement
            .as_ref()
            .is_some_and(|(advertisement, since)| advertisement.is_default || now >= *since + FORWARDING);
        let fixed = matches!(plan.mode, NetMode::Static { .. }) && self.retry_at.is_none();
        self.carrier.is_some() && (fixed || advertisement || self.offer.lease.is_some() || self.offers_link_local(plan))
    }

    /// Whether the link-local address is all that can be expected.
    pub(super) fn offers_link_local(&self, plan: &Plan) -> bool {
        let (requests, solicitations) = self.sent();
        let unanswered = (!plan.dhcp() || requests >= UNANSWERED) && (!plan.slaac() || solicitations >= UNANSWERED);
        self.link_local.is_some() && unanswered
    }

    /// The name servers of policy, or those offered: at most three of each family.
    pub(super) fn resolvers(&self, plan: &Plan) -> Vec<IpAddr> {
        if let Some(named) = plan.dns {
            return vec![named];
        }
        let leased = self.offer.lease.iter().flat_map(|lease| &lease.resolvers).copied().map(IpAddr::V4);
        let advertised =
            self.offer.advertisement.iter().flat_map(|(advertisement, _)| &advertisement.resolvers).copied().map(IpAddr::V6);
        leased.chain(advertised).collect()
    }

    /// What the link is waiting for.
    pub(super) fn problem(&self, plan: &Plan) -> LinkProblem {
        let link = self.found.name.clone();
        let (requests, solicitations) = self.sent();
        match &self.problem {
            Some(problem) => problem.clone(),
            None if self.carrier.is_none() => LinkProblem::NoCarrier(link),
            None if plan.dhcp() => LinkProblem::NoLease { link, requests, solicitations: plan.slaac().then_some(solicitations) },
            None => LinkProblem::NoRouter { link, solicitations },
        }
    }

    /// Restores the link as it was found: MTU, up or down, the kernel's autoconfiguration. Its addresses were removed before.
    pub(super) fn restore(self, links: &mut Links) {
        let down = if self.found.up { Ok(()) } else { links.down(self.found.index) };
        let size = links.set_mtu(self.found.index, self.found.mtu);
        if let Err(error) = down.and(size) {
            log::warn!("net: {} could not be restored as it was found: {error}", self.found.name);
        }
        self.keep();
    }

    /// Leaves the link configured for the real system; only the kernel's autoconfiguration is restored.
    pub(super) fn keep(self) {
        let Some(accepted) = &self.accepted else { return };
        if let Err(error) = sysctl::replace_ipv6(&self.found.name, ACCEPT_ADVERTISEMENTS, accepted) {
            log::warn!("net: {}: {error}", self.found.name);
        }
    }
}
