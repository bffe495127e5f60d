//! DHCPv4 as a client that wants one lease: discover, request, with retransmission. Source: RFC 2131.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, DhcpOptions, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use kernel::link::Ethernet;
use kernel::packet::PacketSocket;

use super::frame;
use crate::journal::step;

/// The first wait for an answer; each next one is twice as long, all with up to a second of jitter (RFC 2131, section 4.1).
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// What a server gave us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    /// Length of the subnet's prefix, 0 to 32 bits.
    pub(super) prefix: u8,
    pub(super) router: Option<Ipv4Addr>,
}

impl Lease {
    /// Whether `address` is in the subnet of the lease.
    pub(super) fn is_on_link(&self, address: Ipv4Addr) -> bool {
        let host_bits = 32 - u32::from(self.prefix.min(32));
        let subnet = |address: Ipv4Addr| u64::from(address.to_bits()) >> host_bits;
        subnet(address) == subnet(self.address)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no lease after {0} requests")]
    Silence(u32),
    #[error("socket")]
    Socket(#[source] kernel::Error),
    #[error("message not encodable")]
    Encode,
}

/// An offer, and what names it in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    lease: Lease,
    server: Ipv4Addr,
}

/// Asks the servers of the link for a lease until `deadline`.
pub(super) fn lease(link: &Ethernet, deadline: Instant) -> Result<Lease, Error> {
    let socket = PacketSocket::open(link.index).map_err(Error::Socket)?;
    let mut wait = FIRST_WAIT;
    for attempt in 0.. {
        let xid = random()?;
        let until = deadline.min(Instant::now() + wait + jitter()?);
        if let Some(lease) = attempt_lease(&socket, link.mac, xid, until)? {
            return Ok(lease);
        }
        if Instant::now() >= deadline {
            return Err(Error::Silence(attempt + 1));
        }
        log::info!("dhcp: no answer on {}, asking again", link.name);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Err(Error::Silence(0))
}

/// One discover and, if a server offers, one request; `None` when nobody acknowledged until `until`.
fn attempt_lease(socket: &PacketSocket, mac: [u8; 6], xid: u32, until: Instant) -> Result<Option<Lease>, Error> {
    send(socket, mac, &discover(mac, xid))?;
    let Some(offer) = receive(socket, until, |message| read_offer(message, mac, xid))? else {
        return Ok(None);
    };
    step(format_args!("dhcp: offered {} by {}", offer.lease.address, offer.server));
    send(socket, mac, &request(mac, xid, &offer))?;
    let answer = receive(socket, until, |message| read_answer(message, mac, xid, offer.server))?;
    Ok(answer.flatten())
}

fn send(socket: &PacketSocket, mac: [u8; 6], message: &Message) -> Result<(), Error> {
    let payload = message.to_vec().map_err(|_| Error::Encode)?;
    let frame = frame::write(mac, &payload).ok_or(Error::Encode)?;
    socket.send(&frame).map_err(Error::Socket)
}

/// Takes frames until `wanted` finds its message in one, or until `until`.
fn receive<T>(socket: &PacketSocket, until: Instant, wanted: impl Fn(&Message) -> Option<T>) -> Result<Option<T>, Error> {
    while let Some(bytes) = socket.receive(until).map_err(Error::Socket)? {
        let message = frame::read(&bytes).and_then(|payload| Message::decode(&mut Decoder::new(payload)).ok());
        if let Some(found) = message.as_ref().and_then(&wanted) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn discover(mac: [u8; 6], xid: u32) -> Message {
    message(mac, xid, [DhcpOption::MessageType(MessageType::Discover)])
}

fn request(mac: [u8; 6], xid: u32, offer: &Offer) -> Message {
    let options = [
        DhcpOption::MessageType(MessageType::Request),
        DhcpOption::RequestedIpAddress(offer.lease.address),
        DhcpOption::ServerIdentifier(offer.server),
    ];
    message(mac, xid, options)
}

fn message(mac: [u8; 6], xid: u32, options: impl IntoIterator<Item = DhcpOption>) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(xid, none, none, none, none, &mac);
    // Answers come by broadcast: some stacks drop unicast to an address that they do not have yet.
    message.set_flags(Flags::default().set_broadcast());
    let wanted = DhcpOption::ParameterRequestList(vec![OptionCode::SubnetMask, OptionCode::Router]);
    let mut all = DhcpOptions::new();
    for option in options.into_iter().chain([wanted]) {
        all.insert(option);
    }
    message.set_opts(all);
    message
}

/// Whether the message answers our own.
fn is_ours(message: &Message, mac: [u8; 6], xid: u32) -> bool {
    message.xid() == xid && message.chaddr() == mac
}

fn read_offer(message: &Message, mac: [u8; 6], xid: u32) -> Option<Offer> {
    let options = message.opts();
    if !is_ours(message, mac, xid) || !options.has_msg_type(MessageType::Offer) {
        return None;
    }
    let Some(DhcpOption::ServerIdentifier(server)) = options.get(OptionCode::ServerIdentifier) else { return None };
    Some(Offer { lease: read_lease(message)?, server: *server })
}

/// The outer option: an answer came. The inner one: it was an acknowledgement with a lease.
#[expect(clippy::option_option, reason = "no answer, a refusal and a lease are three things")]
fn read_answer(message: &Message, mac: [u8; 6], xid: u32, server: Ipv4Addr) -> Option<Option<Lease>> {
    let options = message.opts();
    let same = matches!(options.get(OptionCode::ServerIdentifier), Some(DhcpOption::ServerIdentifier(id)) if *id == server);
    match options.msg_type()? {
        MessageType::Ack if is_ours(message, mac, xid) && same => Some(read_lease(message)),
        MessageType::Nak if is_ours(message, mac, xid) && same => Some(None),
        _ => None,
    }
}

/// Address, mask and first router; a mask with holes or an address that no host can have is no lease.
fn read_lease(message: &Message) -> Option<Lease> {
    let address = message.yiaddr();
    if address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback() {
        return None;
    }
    let options = message.opts();
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => prefix_of(*mask)?,
        _ => 32,
    };
    let router = match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => routers.first().copied(),
        _ => None,
    };
    Some(Lease { address, prefix, router })
}

fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    u8::try_from(bits.leading_ones()).ok().filter(|ones| u32::from(*ones) == bits.count_ones())
}

fn random() -> Result<u32, Error> {
    let mut bytes = [0; 4];
    kernel::clock::random(&mut bytes).map_err(Error::Socket)?;
    Ok(u32::from_ne_bytes(bytes))
}

fn jitter() -> Result<Duration, Error> {
    Ok(Duration::from_millis(u64::from(random()? % 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

    fn answer(kind: MessageType, change: impl FnOnce(&mut Message)) -> Message {
        let mut message = message(MAC, 7, [DhcpOption::MessageType(kind)]);
        message.set_yiaddr(Ipv4Addr::new(10, 0, 2, 15));
        message.opts_mut().insert(DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 2, 2)));
        message.opts_mut().insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
        message.opts_mut().insert(DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 2, 2)]));
        change(&mut message);
        message
    }

    #[test]
    fn offer_gives_address_prefix_router_and_server() {
        let offer = read_offer(&answer(MessageType::Offer, |_| ()), MAC, 7).unwrap();
        let lease = Lease { address: Ipv4Addr::new(10, 0, 2, 15), prefix: 24, router: Some(Ipv4Addr::new(10, 0, 2, 2)) };
        assert_eq!(offer, Offer { lease, server: Ipv4Addr::new(10, 0, 2, 2) });
    }

    #[test]
    fn router_outside_the_subnet_is_told_from_one_inside() {
        let cases = [(24, [10, 0, 2, 2], true), (24, [10, 0, 3, 2], false), (32, [10, 0, 2, 1], false), (0, [8, 8, 8, 8], true)];
        for (prefix, router, want) in cases {
            let lease = Lease { address: Ipv4Addr::new(10, 0, 2, 15), prefix, router: None };
            assert_eq!(lease.is_on_link(Ipv4Addr::from(router)), want, "/{prefix} {router:?}");
        }
    }

    #[test]
    fn offers_that_are_not_for_us_or_no_lease_are_passed_over() {
        type Change = fn(&mut Message);
        let cases: [(&str, Change); 7] = [
            ("another transaction", |m| {
                m.set_xid(8);
            }),
            ("another client", |m| {
                m.set_chaddr(&[1; 6]);
            }),
            ("no server", |m| drop(m.opts_mut().remove(OptionCode::ServerIdentifier))),
            ("no address", |m| {
                m.set_yiaddr(Ipv4Addr::UNSPECIFIED);
            }),
            ("broadcast", |m| {
                m.set_yiaddr(Ipv4Addr::BROADCAST);
            }),
            ("loopback", |m| {
                m.set_yiaddr(Ipv4Addr::LOCALHOST);
            }),
            ("mask with holes", |m| drop(m.opts_mut().insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0))))),
        ];
        for (name, change) in cases {
            assert_eq!(read_offer(&answer(MessageType::Offer, change), MAC, 7), None, "{name}");
        }
    }

    #[test]
    fn acknowledgement_counts_only_from_the_server_that_was_asked() {
        let server = Ipv4Addr::new(10, 0, 2, 2);
        assert!(read_answer(&answer(MessageType::Ack, |_| ()), MAC, 7, server).flatten().is_some());
        assert_eq!(read_answer(&answer(MessageType::Nak, |_| ()), MAC, 7, server), Some(None));
        assert_eq!(read_answer(&answer(MessageType::Ack, |_| ()), MAC, 7, Ipv4Addr::new(10, 0, 2, 3)), None);
        assert_eq!(read_answer(&answer(MessageType::Offer, |_| ()), MAC, 7, server), None);
    }

    #[test]
    fn messages_round_trip_through_a_frame() {
        let mut frame = frame::write(MAC, &discover(MAC, 7).to_vec().unwrap()).unwrap();
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        let read = Message::decode(&mut Decoder::new(frame::read(&frame).unwrap())).unwrap();
        assert!(read.opts().has_msg_type(MessageType::Discover) && is_ours(&read, MAC, 7));
    }
}
