//! Ethernet frames with DHCP datagrams and ICMPv6 messages. UDP and ICMPv6 sockets need an address, which the link does not have yet.
//!
//! Source: RFC 791 (IPv4), RFC 768 (UDP), RFC 1071 (checksum), RFC 2131 section 4.1 (broadcast from 0.0.0.0:68 to port 67),
//! RFC 8200 (IPv6), RFC 4443 (ICMPv6), RFC 4861 section 6.1 (validation).

use std::net::Ipv6Addr;

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const PROTOCOL_UDP: u8 = 17;
const PORT_SERVER: u16 = 67;
const PORT_CLIENT: u16 = 68;
const TIME_TO_LIVE: u8 = 64;

/// Encodes a broadcast frame from `mac` with `payload` as the client's datagram; `None` when it does not fit 1,500 bytes.
pub(crate) fn write_dhcp(mac: [u8; 6], payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(UDP_BYTES + payload.len()).ok()?;
    let total = u16::try_from(IPV4_BYTES).ok()?.checked_add(udp_length).filter(|total| *total <= 1500)?;
    let mut frame = Vec::with_capacity(ETHERNET_BYTES + usize::from(total));
    frame.extend([0xff; 6]);
    frame.extend(mac);
    frame.extend([0x08, 0x00]);

    let mut header = Vec::with_capacity(IPV4_BYTES);
    header.extend([0x45, 0]); // version 4, five words; DSCP 0
    header.extend(total.to_be_bytes());
    header.extend([0, 0, 0x40, 0]); // identification 0, don't fragment
    header.extend([TIME_TO_LIVE, PROTOCOL_UDP, 0, 0]);
    header.extend([0; 4]); // source 0.0.0.0
    header.extend([0xff; 4]); // destination 255.255.255.255
    let checksum = checksum(&[&header]);
    frame.extend(header.iter().take(10));
    frame.extend(checksum.to_be_bytes());
    frame.extend(header.iter().skip(12));

    frame.extend(PORT_CLIENT.to_be_bytes());
    frame.extend(PORT_SERVER.to_be_bytes());
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]); // no checksum: optional over IPv4
    frame.extend(payload);
    Some(frame)
}

/// Returns the payload of a DHCP server's datagram to a client; `None` for every other frame.
pub(crate) fn read_dhcp(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    let [version_words, _, t1, t2, _, _, f1, f2, _, protocol, ..] = *packet.first_chunk::<IPV4_BYTES>()?;
    let header_bytes = usize::from(version_words & 15) * 4;
    let total = usize::from(u16::from_be_bytes([t1, t2]));
    let fragment = u16::from_be_bytes([f1, f2]) & 0x3fff; // more fragments, or an offset
    if frame.get(12..14)? != [0x08, 0x00] || version_words >> 4 != 4 || protocol != PROTOCOL_UDP || fragment != 0 {
        return None;
    }
    let header = packet.get(..header_bytes).filter(|header| header.len() >= IPV4_BYTES)?;
    if checksum(&[header]) != 0 {
        return None;
    }
    let datagram = packet.get(header_bytes..total)?;
    let (udp, payload) = datagram.split_first_chunk::<UDP_BYTES>()?;
    let [s1, s2, d1, d2, l1, l2, _, _] = *udp;
    let length = usize::from(u16::from_be_bytes([l1, l2]));
    if u16::from_be_bytes([s1, s2]) != PORT_SERVER || u16::from_be_bytes([d1, d2]) != PORT_CLIENT || length > datagram.len() {
        return None;
    }
    // The UDP checksum is not verified: virtual links leave it to offload hardware that does not exist, and DHCP is not trusted.
    payload.get(..length.checked_sub(UDP_BYTES)?)
}

const IPV6_BYTES: usize = 40;
const NEXT_HEADER_ICMPV6: u8 = 58;
/// The hop limit of neighbour discovery: it proves that no router forwarded the packet.
const HOP_LIMIT: u8 = 255;

/// Encodes a frame from `mac` and the unspecified address to all routers with this ICMPv6 message, whose checksum (0 in `message`) it
/// fills in. `None` when the message is shorter than its header.
pub(crate) fn write_to_routers(mac: [u8; 6], message: &[u8]) -> Option<Vec<u8>> {
    let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let length = u16::try_from(message.len()).ok()?;
    let checksum = icmpv6_checksum(Ipv6Addr::UNSPECIFIED, all_routers, message);
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 2]; // the group's hardware address (RFC 2464)
    frame.extend(mac);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([NEXT_HEADER_ICMPV6, HOP_LIMIT]);
    frame.extend(Ipv6Addr::UNSPECIFIED.octets());
    frame.extend(all_routers.octets());
    frame.extend(message.get(..2)?);
    frame.extend(checksum.to_be_bytes());
    frame.extend(message.get(4..)?);
    Some(frame)
}

/// Encodes a frame from a neighbour with this ICMPv6 message, whose checksum (0 in `message`) it fills in.
#[cfg(any(test, fuzzing))]
pub(crate) fn write_from_neighbour(mac: [u8; 6], source: Ipv6Addr, message: &[u8]) -> Option<Vec<u8>> {
    let mut frame = write_to_routers(mac, message)?;
    frame.get_mut(22..38)?.copy_from_slice(&source.octets());
    let destination = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let checksum = icmpv6_checksum(source, destination, message);
    frame.get_mut(56..58)?.copy_from_slice(&checksum.to_be_bytes());
    Some(frame)
}

/// Returns source and ICMPv6 message of a frame with the hop limit 255 and a valid checksum.
pub(crate) fn read_icmpv6(frame: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    let (header, rest) = packet.split_first_chunk::<IPV6_BYTES>()?;
    let [version, _, _, _, l1, l2, next, hops, ..] = *header;
    if frame.get(12..14)? != [0x86, 0xdd] || version >> 4 != 6 || next != NEXT_HEADER_ICMPV6 || hops != HOP_LIMIT {
        return None;
    }
    let address = |at: usize| header.get(at..)?.first_chunk::<16>().copied().map(Ipv6Addr::from);
    let (source, destination) = (address(8)?, address(24)?);
    let message = rest.get(..usize::from(u16::from_be_bytes([l1, l2])))?;
    (icmpv6_checksum(source, destination, message) == 0).then_some((source, message))
}

/// The checksum over pseudo-header and message (RFC 8200, section 8.1): 0 for a message with a valid checksum field.
fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    checksum(&[&source.octets(), &destination.octets(), &length, &[0, 0, 0, NEXT_HEADER_ICMPV6], message])
}

/// The Internet checksum over the concatenated `parts`, of which all but the last have even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2)).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(u16::from_be_bytes([high, 0])),
        _ => 0,
    });
    let mut sum: u32 = words.fold(0, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A DHCP server's frame: a client's frame with swapped ports.
    pub(crate) fn from_server(payload: &[u8]) -> Vec<u8> {
        let mut frame = write_dhcp([2; 6], payload).unwrap();
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame
    }

    pub(crate) fn from_neighbour(source: Ipv6Addr, message: &[u8]) -> Vec<u8> {
        write_from_neighbour([2; 6], source, message).unwrap()
    }

    #[test]
    fn header_checksum_is_that_of_the_rfc_example() {
        // RFC 1071, section 3: 0001 f203 f4f5 f6f7 sums to ddf2.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn payload_is_returned_without_ethernet_padding() {
        let mut frame = from_server(b"offer");
        frame.extend([0; 30]); // Ethernet pads short frames
        assert_eq!(read_dhcp(&frame), Some(&b"offer"[..]));
    }

    #[test]
    fn frames_that_are_not_of_a_dhcp_server_are_ignored() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(&str, Change); 8] = [
            ("ipv6", |f| f[13] = 0xdd),
            ("tcp", |f| f[23] = 6),
            ("checksum", |f| f[24] ^= 1),
            ("fragment", |f| f[20] |= 0x20),
            ("to another port", |f| f[37] = 69),
            ("length past the end", |f| f[39] = 0xff),
            ("length under the header", |f| f[39] = 7),
            ("cut", |f| f.truncate(30)),
        ];
        for (name, change) in cases {
            let mut frame = from_server(b"offer");
            change(&mut frame);
            assert_eq!(read_dhcp(&frame), None, "{name}");
        }
    }

    #[test]
    fn payload_past_the_links_size_is_not_sent() {
        assert!(write_dhcp([2; 6], &[0; 1472]).is_some());
        assert!(write_dhcp([2; 6], &[0; 1473]).is_none());
    }

    #[test]
    fn only_icmpv6_that_no_router_forwarded_is_read() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(&str, Change); 6] = [
            ("ipv4", |f| f[13] = 0),
            ("udp", |f| f[20] = 17),
            ("forwarded", |f| f[21] = 254),
            ("checksum", |f| f[57] ^= 1),
            ("length past the end", |f| f[19] = 0xff),
            ("cut", |f| f.truncate(50)),
        ];
        let source = "fe80::1".parse().unwrap();
        let whole = from_neighbour(source, &[134, 0, 0, 0, 1, 2, 3]);
        assert_eq!(read_icmpv6(&whole).map(|(from, message)| (from, message.len())), Some((source, 7)));
        for (name, change) in cases {
            let mut frame = whole.clone();
            change(&mut frame);
            assert_eq!(read_icmpv6(&frame), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (read_dhcp(&frame), read_icmpv6(&frame));
        }
    }
}
