//! One Ethernet link that is asked for an address, and what it offers. Nothing of that is applied here: two links with addresses
//! would take each other's routes, so only the one that is in use has any (applied.rs).

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use cmdline::NetMode;
use ipconfig::dhcp::{Client, Lease, Taken};
use ipconfig::slaac::{Advertisement, Solicitor};
use linux::link::{Ethernet, Links};
use linux::packet::{Ethertype, PacketSocket};
use linux::sysctl;

use super::random;
use super::status::Trouble;
use crate::journal::step;

/// The most frames that are taken in one go: what floods one link must not keep the others waiting.
const FRAMES_MAX: usize = 256;
/// How long a link rests after the kernel refused something, or after its addresses were somebody else's; and as much again by chance.
const REST: Duration = Duration::from_secs(4);
/// A lease is renewed at half its life (RFC 2131, section 4.4.5), and never more often than this.
const RENEWAL_MIN: Duration = Duration::from_secs(30);
/// How long a router that forwards is waited for beside one that only names a prefix.
const FORWARDING: Duration = Duration::from_secs(2);
/// How many unanswered messages make it likely that nobody is there (`MAX_RTR_SOLICITATIONS` of RFC 4861).
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
    pub(super) fn dhcp(&self) -> bool {
        matches!(self.mode, NetMode::Dhcp | NetMode::Dual)
    }

    pub(super) fn slaac(&self) -> bool {
        matches!(self.mode, NetMode::Slaac | NetMode::Dual)
    }
}

/// What somebody on the link gives.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) lease: Option<Lease>,
    /// The advertisement that an address is made of, and since when it is known.
    pub(super) said: Option<(Advertisement, Instant)>,
}

/// A link.
pub(super) struct Candidate {
    /// As it was found.
    pub(super) found: Ethernet,
    /// The kernel's setting as it was found; none without IPv6.
    accepted: Option<String>,
    /// Whether the driver has brought it up.
    is_up: bool,
    /// Since when it has a carrier.
    carrier: Option<Instant>,
    dhcp: Option<(PacketSocket, Client)>,
    renew: Option<Instant>,
    slaac: Option<(PacketSocket, Solicitor)>,
    /// What went out since it began to ask, before what is asked now.
    sent: (u32, u32),
    pub(super) offer: Offer,
    link_local: Option<Ipv6Addr>,
    trouble: Option<Trouble>,
    /// When to begin again.
    again: Option<Instant>,
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
            dhcp: None,
            renew: None,
            slaac: None,
            sent: (0, 0),
            offer: Offer::default(),
            link_local: None,
            trouble: None,
            again: None,
        };
        candidate.bring_up(links, now);
        candidate
    }

    fn bring_up(&mut self, links: &mut Links, now: Instant) {
        (self.again, self.trouble) = (None, None);
        match links.up(self.found.index) {
            Ok(()) => self.is_up = true,
            Err(error) => self.fail(self.kernel_trouble(error), now),
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

    /// Takes what the kernel says of the carrier now; `true` when it has just come.
    pub(super) fn seen(&mut self, carrier: bool, now: Instant) -> bool {
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

    /// Begins to ask, or to ask again: what was offered before counts no more.
    pub(super) fn start(&mut self, plan: &Plan, now: Instant) {
        self.stop();
        (self.trouble, self.sent) = (None, (0, 0));
        let before = std::mem::take(&mut self.offer).lease;
        if let Err(error) = self.try_start(plan, before.map(|lease| lease.address), now) {
            self.fail(self.kernel_trouble(error), now);
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

    /// Stops to ask.
    pub(super) fn stop(&mut self) {
        self.sent = self.sent();
        (self.dhcp, self.renew, self.slaac) = (None, None, None);
        // One that could not be brought up is tried again all the same.
        self.again = self.again.filter(|_| !self.is_up);
    }

    /// Rests after what went wrong, and begins again.
    pub(super) fn fail(&mut self, trouble: Trouble, now: Instant) {
        log::warn!("net: {trouble}");
        self.stop();
        self.trouble = Some(trouble);
        self.offer.said = None;
        // Links that went wrong together must not go on together: two with one address would be each other's duplicates for ever.
        let jitter = random().unwrap_or(u32::MAX); // the only use for which any number will do
        self.again = Some(now + REST.mul_f64(1.0 + f64::from(jitter) / f64::from(u32::MAX)));
    }

    pub(super) fn kernel_trouble(&self, error: linux::Error) -> Trouble {
        Trouble::Kernel { link: self.found.name.clone(), error }
    }

    /// Messages sent since it began to ask: requests and solicitations.
    fn sent(&self) -> (u32, u32) {
        let requests = self.dhcp.as_ref().map_or(0, |(_, client)| client.sent());
        let solicitations = self.slaac.as_ref().map_or(0, |(_, solicitor)| solicitor.sent());
        (self.sent.0 + requests, self.sent.1 + solicitations)
    }

    /// When there is something to do next.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        let dhcp = self.dhcp.as_ref().map_or(self.renew, |(_, client)| client.wake());
        let slaac = self.slaac.as_ref().map(|(_, solicitor)| solicitor.wake());
        let said = self.offer.said.as_ref().map(|(_, since)| *since + FORWARDING).filter(|at| *at > now);
        [dhcp, slaac, said, self.again].into_iter().flatten().min()
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let dhcp = self.dhcp.as_ref().map(|(socket, _)| socket.as_fd());
        dhcp.into_iter().chain(self.slaac.as_ref().map(|(socket, _)| socket.as_fd()))
    }

    /// Sends what is due and takes what has come.
    pub(super) fn work(&mut self, plan: &Plan, links: &mut Links, now: Instant) {
        if self.again.is_some_and(|again| now >= again) {
            self.again = None;
            if !self.is_up {
                self.bring_up(links, now);
            } else if self.carrier.is_some() {
                self.start(plan, now);
            }
        }
        if self.carrier.is_none() {
            return;
        }
        let worked = self.lease(now).and_then(|()| self.listen(now)).and_then(|()| {
            if plan.link_local && self.link_local.is_none() {
                self.link_local = links.link_local(self.found.index)?;
            }
            Ok(())
        });
        if let Err(error) = worked {
            self.fail(self.kernel_trouble(error), now);
        }
    }

    fn lease(&mut self, now: Instant) -> Result<(), linux::Error> {
        if self.renew.is_some_and(|renew| now >= renew) {
            self.renew = None;
            let wanted = self.offer.lease.as_ref().map(|lease| lease.address);
            let socket = PacketSocket::open(self.found.index, Ethertype::Ipv4)?;
            self.dhcp = Some((socket, Client::new(self.found.mac, wanted, now, random()?)));
        }
        let Some((socket, client)) = &mut self.dhcp else { return Ok(()) };
        for _ in 0..FRAMES_MAX {
            // What an offer makes due goes out before the next frame is looked at.
            if let Some(frame) = client.due(now, random()?) {
                socket.send(&frame)?;
            }
            let Some(frame) = socket.receive()? else { break };
            match client.take(&frame, now, random()?) {
                Taken::Nothing => {}
                Taken::Offered(address) => step(format_args!("dhcp: {} offered {address}", self.found.name)),
                Taken::Refused => log::warn!("net: {}: the server refused what it had offered", self.found.name),
                Taken::Leased(lease) => {
                    self.renew = lease.lifetime.map(|life| now + (life / 2).max(RENEWAL_MIN));
                    self.sent.0 += client.sent();
                    (self.dhcp, self.offer.lease) = (None, Some(*lease));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes the first advertisement that an address can be made of, and goes on until one is of a router that forwards.
    fn listen(&mut self, now: Instant) -> Result<(), linux::Error> {
        let Some((socket, solicitor)) = &mut self.slaac else { return Ok(()) };
        if let Some(frame) = solicitor.due(now, random()?) {
            socket.send(&frame)?;
        }
        for _ in 0..FRAMES_MAX {
            let Some(frame) = socket.receive()? else { break };
            let Some(said) = Advertisement::read(&frame) else { continue };
            let is_better = match &self.offer.said {
                None => !said.prefixes.is_empty(),
                Some((before, _)) => said.is_default && !before.is_default && !said.prefixes.is_empty(),
            };
            if !is_better {
                continue;
            }
            step(format_args!("slaac: {} heard {}", self.found.name, said.router));
            let is_default = said.is_default;
            self.offer.said = Some((said, now));
            if is_default {
                self.sent.1 += solicitor.sent();
                self.slaac = None;
                break;
            }
        }
        Ok(())
    }

    /// Whether there is something to apply: an address, or one on the link alone where that is of use and nobody gives another.
    pub(super) fn offers(&self, plan: &Plan, now: Instant) -> bool {
        let said = self.offer.said.as_ref().is_some_and(|(said, since)| said.is_default || now >= *since + FORWARDING);
        let fixed = matches!(plan.mode, NetMode::Static { .. }) && self.again.is_none();
        self.carrier.is_some() && (fixed || said || self.offer.lease.is_some() || self.offers_link_local(plan))
    }

    /// Whether the address on the link is all that there is to expect.
    pub(super) fn offers_link_local(&self, plan: &Plan) -> bool {
        let (requests, solicitations) = self.sent();
        let silent = (!plan.dhcp() || requests >= UNANSWERED) && (!plan.slaac() || solicitations >= UNANSWERED);
        self.link_local.is_some() && silent
    }

    /// Whom it says to ask for names: at most three a family.
    pub(super) fn resolvers(&self, plan: &Plan) -> Vec<IpAddr> {
        if let Some(named) = plan.dns {
            return vec![named];
        }
        let leased = self.offer.lease.iter().flat_map(|lease| &lease.resolvers).copied().map(IpAddr::V4);
        let advertised = self.offer.said.iter().flat_map(|(said, _)| &said.resolvers).copied().map(IpAddr::V6);
        leased.chain(advertised).collect()
    }

    /// What it is waiting for.
    pub(super) fn trouble(&self, plan: &Plan) -> Trouble {
        let link = self.found.name.clone();
        let (requests, solicitations) = self.sent();
        match &self.trouble {
            Some(trouble) => trouble.clone(),
            None if self.carrier.is_none() => Trouble::NoCarrier(link),
            None if plan.dhcp() => Trouble::NoLease { link, requests, solicitations: plan.slaac().then_some(solicitations) },
            None => Trouble::NoRouter { link, solicitations },
        }
    }

    /// Makes the link again what it was: the largest packet, up or down, the kernel's autoconfiguration. It has no address any more.
    pub(super) fn restore(self, links: &mut Links) {
        let down = if self.found.up { Ok(()) } else { links.down(self.found.index) };
        let size = links.set_mtu(self.found.index, self.found.mtu);
        if let Err(error) = down.and(size) {
            log::warn!("net: {} is not as it was found: {error}", self.found.name);
        }
        self.keep();
    }

    /// Leaves the link as it is for the real system, but for autoconfiguration.
    pub(super) fn keep(self) {
        let Some(accepted) = &self.accepted else { return };
        if let Err(error) = sysctl::replace_ipv6(&self.found.name, ACCEPT_ADVERTISEMENTS, accepted) {
            log::warn!("net: {}: {error}", self.found.name);
        }
    }
}
