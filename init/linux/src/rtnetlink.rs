//! Encoding and decoding of the rtnetlink messages for links, addresses and routes. No socket.
//!
//! The crate netlink-packet-route supports hundreds of message types and attributes, and added 350 KiB to PID 1; these are six
//! messages of fixed form.
//!
//! Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.

use std::net::IpAddr;

/// Message types (`RTM_*`).
pub(crate) const NEW_LINK: u16 = 16;
pub(crate) const GET_LINK: u16 = 18;
pub(crate) const SET_LINK: u16 = 19;
pub(crate) const NEW_ADDRESS: u16 = 20;
pub(crate) const DELETE_ADDRESS: u16 = 21;
pub(crate) const GET_ADDRESS: u16 = 22;
pub(crate) const NEW_ROUTE: u16 = 24;
pub(crate) const DELETE_ROUTE: u16 = 25;
/// Message types of every netlink family (`NLMSG_*`).
pub(crate) const ERROR: u16 = 2;
pub(crate) const DONE: u16 = 3;

/// Flags of a request (`NLM_F_*`): `ACK`; `DUMP`; `CREATE | REPLACE`.
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const CREATE_OR_REPLACE: u16 = 0x500;
const REQUEST: u16 = 0x1;
/// Flag of an answer: the list changed during the dump, which may be incomplete (`NLM_F_DUMP_INTR`).
pub(crate) const INTERRUPTED: u16 = 0x10;

/// Flags of a link (`IFF_*`).
pub(crate) const UP: u32 = 0x1;
pub(crate) const LOOPBACK: u32 = 0x8;
pub(crate) const LOWER_UP: u32 = 0x1_0000;
/// Flags of an address (`IFA_F_TENTATIVE`, `IFA_F_DADFAILED`): duplicate address detection has not ended; it has failed.
pub(crate) const TENTATIVE: u32 = 0x40;
pub(crate) const DUPLICATE: u32 = 0x08;
/// Hardware type of Ethernet (`ARPHRD_ETHER`).
pub(crate) const ETHERNET: u16 = 1;

const HEADER_BYTES: usize = 16;
const FAMILY_INET: u8 = 2;
const FAMILY_INET6: u8 = 10;
/// `RT_TABLE_MAIN`, `RTPROT_BOOT`, `RTN_UNICAST`.
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const KIND_UNICAST: u8 = 1;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;

/// A message to the kernel: type, flags and body.
pub(crate) struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    /// `struct ifinfomsg`: a dump of all links, or a link whose flags in `mask` are set as in `flags`.
    pub(crate) fn link(kind: u16, ask: u16, index: u32, flags: u32, mask: u32) -> Self {
        let mut body = vec![0; 4];
        for field in [index, flags, mask] {
            body.extend(field.to_ne_bytes());
        }
        Self { kind, flags: ask, body }
    }

    /// `struct ifinfomsg` with a new maximum transmission unit, in bytes.
    pub(crate) fn mtu(ask: u16, index: u32, mtu: u32) -> Self {
        let mut request = Self::link(SET_LINK, ask, index, 0, 0);
        attribute(&mut request.body, 4, &mtu.to_ne_bytes()); // IFLA_MTU
        request
    }

    /// `struct ifaddrmsg`: a dump of all IPv6 addresses.
    pub(crate) fn addresses(ask: u16) -> Self {
        Self { kind: GET_ADDRESS, flags: ask, body: vec![FAMILY_INET6, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// `struct ifaddrmsg` with `IFA_LOCAL` and `IFA_ADDRESS`, which are equal on a link that is not point-to-point.
    pub(crate) fn address(kind: u16, ask: u16, index: u32, address: IpAddr, prefix: u8) -> Self {
        let mut body = vec![family(address), prefix, 0, SCOPE_UNIVERSE];
        body.extend(index.to_ne_bytes());
        let (address_attribute, local_attribute) = (1, 2);
        attribute(&mut body, local_attribute, &octets(address));
        attribute(&mut body, address_attribute, &octets(address));
        Self { kind, flags: ask, body }
    }

    /// `struct rtmsg`: a unicast route in the main table.
    pub(crate) fn route(kind: u16, ask: u16, index: u32, destination: IpAddr, prefix: u8, gateway: Option<IpAddr>) -> Self {
        let scope = if gateway.is_some() || destination.is_ipv6() { SCOPE_UNIVERSE } else { SCOPE_LINK };
        let mut body = vec![family(destination), prefix, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, scope, KIND_UNICAST, 0, 0, 0, 0];
        let (destination_attribute, link_attribute, gateway_attribute) = (1, 4, 5);
        if prefix > 0 {
            attribute(&mut body, destination_attribute, &octets(destination));
        }
        if let Some(gateway) = gateway {
            attribute(&mut body, gateway_attribute, &octets(gateway));
        }
        attribute(&mut body, link_attribute, &index.to_ne_bytes());
        Self { kind, flags: ask, body }
    }

    /// Encodes the message, with `struct nlmsghdr` first.
    pub(crate) fn bytes(&self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((REQUEST | self.flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]); // port ID: the kernel fills it in
        bytes.extend(&self.body);
        bytes
    }
}

const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => FAMILY_INET,
        IpAddr::V6(_) => FAMILY_INET6,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Appends a `struct rtattr`, padded to four bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A message from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// Splits the first message off `datagram`; `None` when it does not contain a whole message.
pub(crate) fn take<'a>(datagram: &mut &'a [u8]) -> Option<Answer<'a>> {
    let header: &[u8; HEADER_BYTES] = datagram.first_chunk()?;
    let [l1, l2, l3, l4, k1, k2, f1, f2, s1, s2, s3, s4, ..] = *header;
    let length = usize::try_from(u32::from_ne_bytes([l1, l2, l3, l4])).ok()?;
    let body = datagram.get(HEADER_BYTES..length)?;
    *datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(Answer {
        kind: u16::from_ne_bytes([k1, k2]),
        flags: u16::from_ne_bytes([f1, f2]),
        sequence: u32::from_ne_bytes([s1, s2, s3, s4]),
        body,
    })
}

/// Returns the errno in an [`ERROR`] body as a positive number; 0 is an acknowledgement.
pub(crate) fn errno(body: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*body.first_chunk()?).saturating_neg())
}

/// Iterates over the attributes after the fixed part of a body: type and value. Ends at an attribute that exceeds the body.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let &[l1, l2, k1, k2] = rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l1, l2]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k1, k2]), value))
    })
}

/// A link in a [`NEW_LINK`] body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) hardware: u16,
    pub(crate) index: u32,
    pub(crate) flags: u32,
    pub(crate) name: String,
    pub(crate) mac: Option<[u8; 6]>,
    /// Maximum transmission unit in bytes.
    pub(crate) mtu: Option<u32>,
}

/// Decodes `struct ifinfomsg` with the attributes of [`Link`].
pub(crate) fn link(body: &[u8]) -> Option<Link> {
    let (header, rest) = body.split_first_chunk::<16>()?;
    let [_, _, h1, h2, i1, i2, i3, i4, f1, f2, f3, f4, ..] = *header;
    let (mut name, mut mac, mut mtu) = (None, None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            1 => mac = value.try_into().ok(), // IFLA_ADDRESS
            3 => name = value.split(|b| *b == 0).next().and_then(|name| std::str::from_utf8(name).ok()), // IFLA_IFNAME
            4 => mtu = value.try_into().ok().map(u32::from_ne_bytes), // IFLA_MTU
            _ => {}
        }
    }
    Some(Link {
        hardware: u16::from_ne_bytes([h1, h2]),
        index: u32::from_ne_bytes([i1, i2, i3, i4]),
        flags: u32::from_ne_bytes([f1, f2, f3, f4]),
        name: name?.to_owned(),
        mac,
        mtu,
    })
}

/// An IPv6 address in a [`NEW_ADDRESS`] body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) octets: [u8; 16],
    pub(crate) flags: u32,
}

/// Decodes `struct ifaddrmsg` with the attributes of [`Address`]; `None` for another family than IPv6.
pub(crate) fn address(body: &[u8]) -> Option<Address> {
    let (&[family, _, few_flags, _, i1, i2, i3, i4], rest) = body.split_first_chunk::<8>()?;
    let (mut address, mut flags) = (None, u32::from(few_flags));
    for (kind, value) in attributes(rest) {
        match kind {
            1 => address = value.try_into().ok(),                                 // IFA_ADDRESS
            8 => flags = value.try_into().ok().map_or(flags, u32::from_ne_bytes), // IFA_FLAGS
            _ => {}
        }
    }
    (family == FAMILY_INET6).then_some(Address { index: u32::from_ne_bytes([i1, i2, i3, i4]), octets: address?, flags })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn v4(octets: [u8; 4]) -> IpAddr {
        Ipv4Addr::from(octets).into()
    }

    /// `strace -e trace=sendmsg -e write=all ip address add 10.0.2.15/24 dev lo`, iproute2 6.1.0, in a network namespace.
    #[test]
    fn address_is_encoded_as_iproute2_does() {
        let request = Request::address(NEW_ADDRESS, ACK | 0x600, 1, v4([10, 0, 2, 15]), 24);
        let want = [
            0x28, 0, 0, 0, 0x14, 0, 5, 6, 0xd3, 0xea, 3, 0x6b, 0, 0, 0, 0, // nlmsghdr
            2, 0x18, 0, 0, 1, 0, 0, 0, // ifaddrmsg
            8, 0, 2, 0, 10, 0, 2, 15, 8, 0, 1, 0, 10, 0, 2, 15,
        ];
        assert_eq!(request.bytes(0x6b03_ead3), want);
    }

    /// The same for `ip route add 10.9.0.0/16 via 10.0.2.2 dev lo`.
    #[test]
    fn route_is_encoded_as_iproute2_does() {
        let request = Request::route(NEW_ROUTE, ACK | 0x600, 1, v4([10, 9, 0, 0]), 16, Some(v4([10, 0, 2, 2])));
        let want = [
            0x34, 0, 0, 0, 0x18, 0, 5, 6, 0xd3, 0xea, 3, 0x6b, 0, 0, 0, 0, // nlmsghdr
            2, 0x10, 0, 0, 0xfe, 3, 0, 1, 0, 0, 0, 0, // rtmsg
            8, 0, 1, 0, 10, 9, 0, 0, 8, 0, 5, 0, 10, 0, 2, 2, 8, 0, 4, 0, 1, 0, 0, 0,
        ];
        assert_eq!(request.bytes(0x6b03_ead3), want);
    }

    #[test]
    fn default_route_has_no_destination() {
        let request = Request::route(NEW_ROUTE, ACK, 2, v4([0; 4]), 0, Some(v4([10, 0, 2, 2])));
        let want = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 8, 0, 5, 0, 10, 0, 2, 2, 8, 0, 4, 0, 2, 0, 0, 0];
        assert_eq!(request.bytes(0)[16..], want);
    }

    #[test]
    fn links_are_read_with_name_and_address() {
        let mut body = vec![0, 0, 1, 0, 2, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0];
        attribute(&mut body, 3, b"eth0\0");
        attribute(&mut body, 99, b"xyz");
        attribute(&mut body, 4, &1500_u32.to_ne_bytes());
        attribute(&mut body, 1, &[0x52, 0x54, 0, 1, 2, 3]);
        let want = Link {
            hardware: 1,
            index: 2,
            flags: 0x1_1043,
            name: "eth0".to_owned(),
            mac: Some([0x52, 0x54, 0, 1, 2, 3]),
            mtu: Some(1500),
        };
        assert_eq!(link(&body), Some(want));
        assert_eq!(link(&body[..20]), None, "the name ends after the message");
    }

    /// `strace -e write=all ip -6 address add fd00::2/64 dev lo` and `ip -6 route add default via fe80::1 dev lo`: the bodies.
    #[test]
    fn ipv6_is_encoded_as_iproute2_does() {
        let ip = |text: &str| text.parse().unwrap();
        let address = Request::address(NEW_ADDRESS, ACK, 1, ip("fd00::2"), 64).bytes(0);
        let octets = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        let want = [&[10, 0x40, 0, 0, 1, 0, 0, 0, 20, 0, 2, 0][..], &octets, &[20, 0, 1, 0], &octets].concat();
        assert_eq!(address[16..], want);
        let route = Request::route(NEW_ROUTE, ACK, 1, ip("::"), 0, Some(ip("fe80::1"))).bytes(0);
        let gateway = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let want = [&[10, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 20, 0, 5, 0][..], &gateway, &[8, 0, 4, 0, 1, 0, 0, 0]].concat();
        assert_eq!(route[16..], want);
    }

    #[test]
    fn addresses_are_read_with_all_of_their_flags() {
        let mut body = vec![10, 64, 0x80, 0, 2, 0, 0, 0];
        attribute(&mut body, 1, &[0xfd; 16]);
        assert_eq!(address(&body), Some(Address { index: 2, octets: [0xfd; 16], flags: 0x80 }));
        attribute(&mut body, 8, &(TENTATIVE | DUPLICATE).to_ne_bytes());
        assert_eq!(address(&body).map(|address| address.flags), Some(TENTATIVE | DUPLICATE));
        body[0] = FAMILY_INET;
        assert_eq!(address(&body), None);
    }

    #[test]
    fn messages_are_taken_one_after_the_other_and_never_past_the_end() {
        let one = Request::link(GET_LINK, DUMP, 0, 0, 0).bytes(1);
        let two = [one.clone(), one].concat();
        let mut rest = two.as_slice();
        assert_eq!(take(&mut rest).map(|answer| (answer.kind, answer.sequence, answer.body.len())), Some((GET_LINK, 1, 16)));
        assert!(take(&mut rest).is_some() && take(&mut rest).is_none());
        for wrong in [&[0; 16][..], &[15, 0, 0, 0], &[0xff; 16], &[]] {
            assert_eq!(take(&mut &*wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn errors_are_positive_errnos() {
        assert_eq!(errno(&(-17_i32).to_ne_bytes()), Some(17));
        assert_eq!(errno(&[0; 4]), Some(0));
        assert_eq!(errno(&i32::MIN.to_ne_bytes()), Some(i32::MAX));
        assert_eq!(errno(&[0; 3]), None);
    }
}
