//! The exchange of messages: sends messages that are due and handles received frames.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use ipconfig::dhcp::{Client, Received};
use ipconfig::slaac::Advertisement;
use linux::link::Links;
use linux::packet::{Ethertype, PacketSocket};

use super::{FORWARDING, LinkAutoconf};
use crate::boot_log::step;
use crate::phase::net::offer::Plan;
use crate::phase::net::random;

/// The most frames taken at once, so that a flood on one link does not block the others.
const FRAMES_MAX: usize = 256;
/// A lease is renewed at half its lifetime (RFC 2131, section 4.4.5), but not more often than this.
const RENEWAL_MIN: Duration = Duration::from_secs(30);

impl LinkAutoconf {
    /// When the next action is due.
    pub(in crate::phase::net) fn wake(&self, now: Instant) -> Option<Instant> {
        let dhcp = self.dhcp.as_ref().map_or(self.renew, |(_, client)| client.wake());
        let slaac = self.slaac.as_ref().map(|(_, solicitor)| solicitor.wake());
        let advertisement = self.offer.advertisement.as_ref().map(|(_, since)| *since + FORWARDING).filter(|at| *at > now);
        [dhcp, slaac, advertisement, self.retry_at].into_iter().flatten().min()
    }

    pub(in crate::phase::net) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let dhcp = self.dhcp.as_ref().map(|(socket, _)| socket.as_fd());
        dhcp.into_iter().chain(self.slaac.as_ref().map(|(socket, _)| socket.as_fd()))
    }

    /// Sends the messages that are due and handles the frames that came.
    pub(in crate::phase::net) fn process(&mut self, plan: &Plan, links: &mut Links, now: Instant) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            if !self.is_up {
                self.bring_up(links, now);
            } else if self.carrier.is_some() {
                self.start(plan, now);
            }
        }
        if self.carrier.is_none() {
            return;
        }
        let worked = self.receive_lease(now).and_then(|()| self.receive_advertisements(now)).and_then(|()| {
            if plan.link_local && self.link_local.is_none() {
                self.link_local = links.link_local(self.found.index)?;
            }
            Ok(())
        });
        if let Err(error) = worked {
            self.fail(self.kernel_problem(error), now);
        }
    }

    fn receive_lease(&mut self, now: Instant) -> Result<(), linux::Error> {
        if self.renew.is_some_and(|renew| now >= renew) {
            self.renew = None;
            let wanted = self.offer.lease.as_ref().map(|lease| lease.address);
            let socket = PacketSocket::open(self.found.index, Ethertype::Ipv4)?;
            self.dhcp = Some((socket, Client::new(self.found.mac, wanted, now, random()?)));
        }
        let Some((socket, client)) = &mut self.dhcp else { return Ok(()) };
        for _ in 0..FRAMES_MAX {
            // The answer to an offer goes out before the next frame is read.
            if let Some(frame) = client.due(now, random()?) {
                socket.send(&frame)?;
            }
            let Some(frame) = socket.receive()? else { break };
            match client.take(&frame, now, random()?) {
                Received::Ignored => {}
                Received::Offer(address) => step(format_args!("dhcp: {} offered {address}", self.found.name)),
                Received::Nak => log::warn!("net: {}: the DHCP server refused the address that it had offered", self.found.name),
                Received::Ack(lease) => {
                    self.renew = lease.lifetime.map(|life| now + (life / 2).max(RENEWAL_MIN));
                    self.sent.0 += client.sent();
                    (self.dhcp, self.offer.lease) = (None, Some(*lease));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes the first advertisement that an address can be made of, and replaces it by one of a router that forwards.
    fn receive_advertisements(&mut self, now: Instant) -> Result<(), linux::Error> {
        let Some((socket, solicitor)) = &mut self.slaac else { return Ok(()) };
        if let Some(frame) = solicitor.due(now, random()?) {
            socket.send(&frame)?;
        }
        for _ in 0..FRAMES_MAX {
            let Some(frame) = socket.receive()? else { break };
            let Some(advertisement) = Advertisement::read(&frame) else { continue };
            let is_better = match &self.offer.advertisement {
                None => !advertisement.prefixes.is_empty(),
                Some((before, _)) => advertisement.is_default && !before.is_default && !advertisement.prefixes.is_empty(),
            };
            if !is_better {
                continue;
            }
            step(format_args!("slaac: {} has an advertisement of {}", self.found.name, advertisement.router));
            let is_default = advertisement.is_default;
            self.offer.advertisement = Some((advertisement, now));
            if is_default {
                self.sent.1 += solicitor.sent();
                self.slaac = None;
                break;
            }
        }
        Ok(())
    }
}
