//! Stateless address autoconfiguration (SLAAC): router solicitations, and addresses from router advertisements.
//!
//! The kernel could process advertisements, but it processes all of them, and a flood fills its tables. This client uses the first
//! usable advertisement of the link; the kernel does duplicate address detection only.
//!
//! Source: RFC 4861 (advertisements), RFC 4862 (addresses), RFC 8106 (name servers), RFC 7559 (retransmission).

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use crate::{RESOLVERS_MAX, Route, frame};

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_RESOLVERS: u8 = 25;
/// Length of an advertisement without its options, in bytes.
const HEADER_BYTES: usize = 16;
/// The most prefixes that are used of one advertisement.
const PREFIXES_MAX: usize = 16;
/// The range of accepted MTUs; 1,280 is the minimum of IPv6.
const MTUS: std::ops::RangeInclusive<u32> = 1280..=9216;
/// Length of a prefix: the interface identifier has the other 64 bits (RFC 4291).
const PREFIX_BITS: u8 = 64;

/// The first retransmission delay, and the longest; each is twice the previous one, randomised by up to a tenth (RFC 7559).
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// Makes router solicitations for one link: the caller sends the frame of [`Solicitor::due`] and sleeps until [`Solicitor::wake`].
#[derive(Debug)]
pub struct Solicitor {
    mac: [u8; 6],
    wait: Duration,
    due: Instant,
    sent: u32,
}

impl Solicitor {
    /// Starts at `now`.
    #[must_use]
    pub fn new(mac: [u8; 6], now: Instant) -> Self {
        Self { mac, wait: FIRST_WAIT, due: now, sent: 0 }
    }

    /// Returns when the next solicitation is due.
    #[must_use]
    pub fn wake(&self) -> Instant {
        self.due
    }

    /// Returns how many solicitations were sent.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Returns the frame to send at `now`, if one is due. Its source is the unspecified address, since all addresses of the link are
    /// tentative; routers then answer to all nodes. `random` randomises the time of the next frame.
    pub fn due(&mut self, now: Instant, random: u32) -> Option<Vec<u8>> {
        if now < self.due {
            return None;
        }
        self.sent += 1;
        self.due = now + self.wait.mul_f64(0.9 + f64::from(random % 2001) / 10_000.0);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        frame::write_to_routers(self.mac, &[ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0])
    }
}

/// A router advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// The router's link-local address.
    pub router: Ipv6Addr,
    /// Whether the router is a default router: its lifetime is not 0.
    pub is_default: bool,
    /// Prefixes for autoconfiguration, at most 16.
    pub prefixes: Vec<Prefix>,
    /// Name servers, at most three.
    pub resolvers: Vec<Ipv6Addr>,
    /// The MTU of the link, 1,280 to 9,216 bytes, if the router sent one.
    pub mtu: Option<u16>,
}

/// A prefix of 64 bits for autoconfiguration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    prefix: Ipv6Addr,
    on_link: bool,
}

impl Prefix {
    /// Returns the address with the interface identifier of the hardware address (modified EUI-64, RFC 4291 appendix A). It is the same
    /// at every boot, so that operators of vaults can use it in packet filters.
    #[must_use]
    pub fn address(&self, mac: [u8; 6]) -> Ipv6Addr {
        let [vendor @ .., d1, d2, d3] = mac;
        let [v1, v2, v3] = vendor;
        self.join([v1 ^ 2, v2, v3, 0xff, 0xfe, d1, d2, d3])
    }

    /// Whether an address has this prefix.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        address.to_bits() >> 64 == self.prefix.to_bits() >> 64
    }

    /// Returns the address with another interface identifier, for use after a duplicate.
    #[must_use]
    pub fn join(&self, identifier: [u8; 8]) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.prefix.to_bits() | u128::from(u64::from_be_bytes(identifier)))
    }

    /// Returns the prefix length for the address: 128 when the prefix is not on-link, so that packets go through the router.
    #[must_use]
    pub fn length(&self) -> u8 {
        if self.on_link { PREFIX_BITS } else { 128 }
    }
}

impl Advertisement {
    /// Decodes an advertisement from a frame and validates it (RFC 4861, section 6.1.2).
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let (router, message) = frame::read_icmpv6(frame)?;
        let (&[kind, code, _, _, _, _, l1, l2, ..], mut options) = message.split_first_chunk::<HEADER_BYTES>()?;
        if kind != ROUTER_ADVERTISEMENT || code != 0 || !router.is_unicast_link_local() {
            return None;
        }
        let is_default = u16::from_be_bytes([l1, l2]) != 0;
        let mut read = Self { router, is_default, prefixes: Vec::new(), resolvers: Vec::new(), mtu: None };
        while let [kind, words, ..] = *options {
            let length = usize::from(words) * 8;
            let value = options.get(2..length)?;
            match kind {
                OPTION_PREFIX if read.prefixes.len() < PREFIXES_MAX => read.prefixes.extend(prefix(value)),
                OPTION_MTU => read.mtu = mtu(value),
                OPTION_RESOLVERS => read.resolvers(value),
                _ => {}
            }
            options = options.get(length..)?;
        }
        Some(read)
    }

    /// Returns the default route through the router, if it is a default router.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        let everywhere = Route { destination: Ipv6Addr::UNSPECIFIED.into(), prefix: 0, gateway: Some(self.router.into()) };
        self.is_default.then_some(everywhere)
    }

    fn resolvers(&mut self, value: &[u8]) {
        let Some((&[_, _, t1, t2, t3, t4], servers)) = value.split_first_chunk::<6>() else { return };
        if [t1, t2, t3, t4] == [0; 4] {
            return; // a lifetime of 0: the router withdraws these name servers
        }
        let servers = servers.as_chunks::<16>().0.iter().copied().map(Ipv6Addr::from);
        let usable = servers.filter(|server| !(server.is_unspecified() || server.is_multicast() || server.is_loopback()));
        self.resolvers.extend(usable.take(RESOLVERS_MAX - self.resolvers.len().min(RESOLVERS_MAX)));
    }
}

/// Decodes a prefix information option that is valid for autoconfiguration (RFC 4862, section 5.5.3).
fn prefix(value: &[u8]) -> Option<Prefix> {
    let (&[length, flags, v1, v2, v3, v4, p1, p2, p3, p4, ..], rest) = value.split_first_chunk::<14>()?;
    let prefix = Ipv6Addr::from(*rest.first_chunk::<16>()?);
    let (valid, preferred) = (u32::from_be_bytes([v1, v2, v3, v4]), u32::from_be_bytes([p1, p2, p3, p4]));
    let (on_link, autonomous) = (flags & 0x80 != 0, flags & 0x40 != 0);
    let special = prefix.is_unicast_link_local() || prefix.is_multicast() || prefix.is_unspecified() || prefix.is_loopback();
    let usable = autonomous && length == PREFIX_BITS && valid > 0 && preferred <= valid && !special;
    // Bits after the prefix length must be ignored.
    let network = Ipv6Addr::from_bits(prefix.to_bits() >> 64 << 64);
    usable.then_some(Prefix { prefix: network, on_link })
}

fn mtu(value: &[u8]) -> Option<u16> {
    let (_, size) = value.split_first_chunk::<2>()?;
    let size = u32::from_be_bytes(*size.first_chunk()?);
    MTUS.contains(&size).then(|| u16::try_from(size).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::tests::from_neighbour;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn advertisement(options: &[u8]) -> Vec<u8> {
        let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend(options);
        from_neighbour(ROUTER, &message)
    }

    fn prefix_option(length: u8, flags: u8, valid: u32, preferred: u32, prefix: &str) -> Vec<u8> {
        let mut option = vec![3, 4, length, flags];
        option.extend(valid.to_be_bytes());
        option.extend(preferred.to_be_bytes());
        option.extend([0; 4]);
        option.extend(prefix.parse::<Ipv6Addr>().unwrap().octets());
        option
    }

    #[test]
    fn address_route_resolvers_and_mtu_are_read() {
        let mut options = prefix_option(64, 0xc0, 86400, 14400, "fd00:1::");
        options.extend([5, 1, 0, 0, 0, 0, 0x05, 0x78]);
        options.extend([25, 3, 0, 0, 0, 0, 0, 60]);
        options.extend("fd00:1::53".parse::<Ipv6Addr>().unwrap().octets());
        let read = Advertisement::read(&advertisement(&options)).unwrap();
        let want = Route { destination: Ipv6Addr::UNSPECIFIED.into(), prefix: 0, gateway: Some(ROUTER.into()) };
        assert_eq!((read.route(), read.mtu), (Some(want), Some(1400)));
        assert_eq!(read.resolvers, ["fd00:1::53".parse::<Ipv6Addr>().unwrap()]);
        // RFC 2464, section 4: 34-56-78-9A-BC-DE gives 36-56-78-FF-FE-9A-BC-DE.
        let address = read.prefixes[0].address([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert!(read.prefixes[0].contains(address) && !read.prefixes[0].contains(ROUTER));
        assert_eq!((address.to_string().as_str(), read.prefixes[0].length()), ("fd00:1::3656:78ff:fe9a:bcde", 64));
    }

    #[test]
    fn prefixes_that_are_not_for_autoconfiguration_are_left_out() {
        let cases = [
            ("not autonomous", prefix_option(64, 0x80, 9, 9, "fd00::"), 0),
            ("of another length", prefix_option(48, 0xc0, 9, 9, "fd00::"), 0),
            ("no longer valid", prefix_option(64, 0xc0, 0, 0, "fd00::"), 0),
            ("preferred longer than valid", prefix_option(64, 0xc0, 9, 10, "fd00::"), 0),
            ("link-local", prefix_option(64, 0xc0, 9, 9, "fe80::"), 0),
            ("multicast", prefix_option(64, 0xc0, 9, 9, "ff02::"), 0),
            ("not on-link", prefix_option(64, 0x40, 9, 9, "fd00::"), 1),
        ];
        for (name, option, want) in cases {
            assert_eq!(Advertisement::read(&advertisement(&option)).unwrap().prefixes.len(), want, "{name}");
        }
    }

    #[test]
    fn invalid_advertisements_are_ignored() {
        let message = |kind, code| vec![kind, code, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let global = "fd00::1".parse().unwrap();
        let cases = [
            ("solicitation", from_neighbour(ROUTER, &message(133, 0))),
            ("code", from_neighbour(ROUTER, &message(134, 1))),
            ("from a global address", from_neighbour(global, &message(134, 0))),
            ("truncated", from_neighbour(ROUTER, &message(134, 0)[..15])),
            ("option with length 0", advertisement(&[3, 0, 0, 0, 0, 0, 0, 0])),
            ("option past the end", advertisement(&[3, 2, 0, 0, 0, 0, 0, 0])),
        ];
        for (name, frame) in cases {
            assert_eq!(Advertisement::read(&frame), None, "{name}");
        }
    }

    #[test]
    fn flood_of_prefixes_and_resolvers_is_cut() {
        let mut options: Vec<u8> = (0..40).flat_map(|_| prefix_option(64, 0xc0, 9, 9, "fd00::")).collect();
        for _ in 0..4 {
            options.extend([25, 5, 0, 0, 0, 0, 0, 60]);
            options.extend([0xfd; 32]);
        }
        let read = Advertisement::read(&advertisement(&options)).unwrap();
        assert_eq!((read.prefixes.len(), read.resolvers.len()), (PREFIXES_MAX, RESOLVERS_MAX));
    }

    #[test]
    fn solicitation_is_repeated_after_4_8_16_seconds() {
        let start = Instant::now();
        let mut solicitor = Solicitor::new([2; 6], start);
        let mut at = Vec::new();
        for _ in 0..4 {
            let now = solicitor.wake();
            assert!(solicitor.due(now, 1000).is_some() && solicitor.due(now, 1000).is_none());
            at.push(now.duration_since(start).as_secs());
        }
        assert_eq!(at, [0, 4, 12, 28]);
    }

    proptest! {
        #[test]
        fn no_advertisement_makes_it_panic(options in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(read) = Advertisement::read(&advertisement(&options)) {
                prop_assert!(read.prefixes.len() <= PREFIXES_MAX && read.resolvers.len() <= RESOLVERS_MAX);
            }
        }
    }
}
