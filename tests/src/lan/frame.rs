//! Ethernet frames, parsed and built with etherparse.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

/// The hardware address of QEMU's user network.
pub(crate) const HOST_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

/// A UDP datagram of the guest.
pub(crate) struct Datagram<'a> {
    pub(crate) mac: [u8; 6],
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: &'a [u8],
}

/// An ICMPv6 message of the guest.
pub(crate) struct Icmpv6<'a> {
    pub(crate) mac: [u8; 6],
    pub(crate) message: &'a [u8],
}

fn sliced(frame: &[u8]) -> Option<([u8; 6], SlicedPacket<'_>)> {
    Some((*frame.get(6..12)?.first_chunk()?, SlicedPacket::from_ethernet(frame).ok()?))
}

fn addresses(packet: &SlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Arp(_) => None,
    }
}

/// The UDP datagram in a frame.
pub(crate) fn udp(frame: &[u8]) -> Option<Datagram<'_>> {
    let (mac, packet) = sliced(frame)?;
    let (from, to) = addresses(&packet)?;
    let TransportSlice::Udp(udp) = packet.transport? else { return None };
    let (from, to) = (SocketAddr::new(from, udp.source_port()), SocketAddr::new(to, udp.destination_port()));
    Some(Datagram { mac, from, to, payload: udp.payload() })
}

/// The destination of the TCP segment in a frame.
pub(crate) fn tcp_to(frame: &[u8]) -> Option<SocketAddr> {
    let (_, packet) = sliced(frame)?;
    let (_, to) = addresses(&packet)?;
    let TransportSlice::Tcp(tcp) = packet.transport? else { return None };
    Some(SocketAddr::new(to, tcp.destination_port()))
}

/// The ICMPv6 message in a frame.
pub(crate) fn icmpv6(frame: &[u8]) -> Option<Icmpv6<'_>> {
    let (mac, packet) = sliced(frame)?;
    let TransportSlice::Icmpv6(icmp) = packet.transport? else { return None };
    Some(Icmpv6 { mac, message: icmp.slice() })
}

/// A frame with a UDP datagram from the host's network to the guest; `None` when the payload is too long.
pub(crate) fn udp_to_guest(guest: [u8; 6], from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Option<Vec<u8>> {
    let builder = PacketBuilder::ethernet2(HOST_MAC, guest).ipv4(from.0.octets(), to.0.octets(), 64).udp(from.1, to.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).ok()?;
    Some(frame)
}

/// A frame with an ICMPv6 message to the guest; fills in the checksum.
pub(crate) fn icmpv6_to_guest(guest: [u8; 6], from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Option<Vec<u8>> {
    let (&[kind, code, _, _, b5, b6, b7, b8], rest) = message.split_first_chunk::<8>()?;
    let builder = PacketBuilder::ethernet2(HOST_MAC, guest).ipv6(from.octets(), to.octets(), 255);
    let mut frame = Vec::new();
    builder.icmpv6_raw(kind, code, [b5, b6, b7, b8]).write(&mut frame, rest).ok()?;
    Some(frame)
}
