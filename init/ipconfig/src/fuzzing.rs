//! Entry points of `tests/fuzz` to the parsers of this crate. Built for cargo-fuzz only.

use crate::dns::{Answer, Kind, Question};
use crate::slaac::Advertisement;
use crate::{RESOLVERS_MAX, dhcp, frame, happy_eyeballs};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Parses `bytes` as a frame, and as a DHCP message in a valid frame, for the client with the transaction ID 7.
pub fn dhcp_answer(bytes: &[u8]) {
    drop(dhcp::read(MAC, 7, bytes));
    let Some(mut framed) = frame::write_dhcp(MAC, bytes) else { return };
    if let Some(ports) = framed.get_mut(34..38) {
        ports.copy_from_slice(&[0, 67, 0, 68]);
    }
    if let Some(lease) = dhcp::read(MAC, 7, &framed) {
        assert!(
            lease.routes.len() <= 16 && lease.resolvers.len() <= RESOLVERS_MAX && lease.prefix <= 32,
            "a lease without bounds"
        );
    }
}

/// Parses `bytes` as a frame, and as an ICMPv6 message in a valid frame.
pub fn router_advertisement(bytes: &[u8]) {
    drop(Advertisement::read(bytes));
    let router = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let mut message = bytes.to_vec();
    if let Some(checksum) = message.get_mut(2..4) {
        checksum.fill(0);
    }
    let Some(framed) = frame::write_from_neighbour(MAC, router, &message) else { return };
    if let Some(read) = Advertisement::read(&framed) {
        assert!(read.prefixes.len() <= 16 && read.resolvers.len() <= RESOLVERS_MAX, "an advertisement without bounds");
        assert!(read.prefixes.iter().all(|prefix| !prefix.address(MAC).is_multicast()), "an address that no host can have");
    }
}

/// Parses an answer to both queries for vault.example with the ID 7.
pub fn dns_answer(bytes: &[u8]) {
    let Some(question) = Question::new("vault.example") else { return };
    for kind in [Kind::A, Kind::Aaaa] {
        match question.answer(7, kind, bytes) {
            Some(Answer::Addresses(addresses)) => {
                assert!(
                    addresses.iter().all(|address| !address.is_loopback() && !address.is_unspecified()),
                    "an address that no host can have"
                );
                assert!(happy_eyeballs::order(addresses).len() <= 8, "addresses without bounds");
            }
            Some(Answer::Cname(next)) => drop(next.message(7, kind)),
            _ => {}
        }
    }
}
