//! Hostile neighbours on an IPv6 link: floods of router advertisements, and false claims of addresses.

use std::net::Ipv6Addr;

use super::frame::{self, Icmpv6};

const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Whether the message is a router solicitation.
pub(crate) fn asks_for_routers(message: &Icmpv6<'_>) -> bool {
    message.message.first() == Some(&ROUTER_SOLICITATION)
}

/// The address that the guest probes for duplicates: the target of a neighbour solicitation from the unspecified address.
pub(crate) fn probed(bytes: &[u8], message: &Icmpv6<'_>) -> Option<Ipv6Addr> {
    let from_nobody = bytes.get(22..38)?.iter().all(|byte| *byte == 0);
    let target = message.message.get(8..24)?.first_chunk::<16>()?;
    (message.message.first() == Some(&NEIGHBOUR_SOLICITATION) && from_nobody).then(|| Ipv6Addr::from(*target))
}

/// A neighbour advertisement that claims the address.
pub(crate) fn claim(guest: [u8; 6], address: Ipv6Addr) -> Option<Vec<u8>> {
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0]; // override
    message.extend(address.octets());
    message.extend([2, 1]); // its hardware address
    message.extend([2, 0, 0, 0, 0, 99]);
    frame::icmpv6_to_guest(guest, address, ALL_NODES, &message)
}

/// `count` router advertisements that allow no address: without a prefix, with a prefix that is not for autoconfiguration, of the
/// wrong length or expired, or with an option of length zero. Then one with a valid prefix from a router that does not forward.
pub(crate) fn flood(guest: [u8; 6], count: u16) -> Vec<Vec<u8>> {
    let advertisement = |number: u16| {
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, number);
        let mut message = vec![134, 0, 0, 0, 64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        let (length, flags, life) = match number % 5 {
            0 => return frame::icmpv6_to_guest(guest, router, ALL_NODES, &message),
            1 => {
                message.extend([3, 0, 64, 0xc0, 0, 0, 0, 0]); // an option of no length
                return frame::icmpv6_to_guest(guest, router, ALL_NODES, &message);
            }
            2 => (64, 0x80, 9_u32), // on the link, not for addresses
            3 => (48, 0xc0, 9),
            _ => (64, 0xc0, 0),
        };
        message.extend([3, 4, length, flags]);
        message.extend(life.to_be_bytes());
        message.extend(life.to_be_bytes());
        message.extend([0; 4]);
        message.extend(Ipv6Addr::new(0xfd00, number, 0, 0, 0, 0, 0, 0).octets());
        frame::icmpv6_to_guest(guest, router, ALL_NODES, &message)
    };
    (0..count).filter_map(advertisement).chain(router_that_does_not_forward(guest)).collect()
}

/// The advertisement of a router with a valid prefix that does not forward.
fn router_that_does_not_forward(guest: [u8; 6]) -> Option<Vec<u8>> {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, 0xffff);
    let mut message =
        vec![134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0];
    message.extend(Ipv6Addr::new(0xfd00, 0x5555, 0, 0, 0, 0, 0, 0).octets());
    frame::icmpv6_to_guest(guest, router, ALL_NODES, &message)
}
