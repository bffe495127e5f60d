//! Neighbours on an IPv6 link that lie: floods of routers, and somebody who has every address already.

use std::net::Ipv6Addr;

use super::frame::{self, Icmpv6};

const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Whether the guest asks for routers.
pub(crate) fn asks_for_routers(message: &Icmpv6<'_>) -> bool {
    message.message.first() == Some(&ROUTER_SOLICITATION)
}

/// The address that the guest wants to know to be nobody's, if it asks that: a solicitation from no address.
pub(crate) fn probed(bytes: &[u8], message: &Icmpv6<'_>) -> Option<Ipv6Addr> {
    let from_nobody = bytes.get(22..38)?.iter().all(|byte| *byte == 0);
    let target = message.message.get(8..24)?.first_chunk::<16>()?;
    (message.message.first() == Some(&NEIGHBOUR_SOLICITATION) && from_nobody).then(|| Ipv6Addr::from(*target))
}

/// Somebody's word that the address is theirs.
pub(crate) fn claim(guest: [u8; 6], address: Ipv6Addr) -> Option<Vec<u8>> {
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0]; // override
    message.extend(address.octets());
    message.extend([2, 1]); // its hardware address
    message.extend([2, 0, 0, 0, 0, 99]);
    frame::icmpv6_to_guest(guest, address, ALL_NODES, &message)
}

/// `count` advertisements of as many routers, none of which an address can be made of: no prefix, prefixes that are not for
/// autoconfiguration, of the wrong length or out of life, options of no length. Then one of a router that only names a prefix.
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
    (0..count).filter_map(advertisement).chain(of_no_way_out(guest)).collect()
}

/// The advertisement of a router that names a good prefix and leads nowhere: it does not forward.
fn of_no_way_out(guest: [u8; 6]) -> Option<Vec<u8>> {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, 0xffff);
    let mut message =
        vec![134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0];
    message.extend(Ipv6Addr::new(0xfd00, 0x5555, 0, 0, 0, 0, 0, 0).octets());
    frame::icmpv6_to_guest(guest, router, ALL_NODES, &message)
}
