//! Addresses of vaults and caches. They are hints: a peer is trusted by its attestation evidence alone.

use std::fmt;

use encoding::text;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

/// A machine on an IP network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; no zone.
    V6(Ipv6Addr),
    /// A DNS name: lower case, at most 253 bytes, no last dot.
    Name(String),
}

impl Host {
    /// Reads `host:port` or `[v6]:port`; the port is 1 to 65535.
    fn parse_with_port(text: &str) -> Option<(Self, u16)> {
        let (host, port) = text.rsplit_once(':')?;
        let port = text::decimal(port).filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => Self::V6(ipv6(rest.strip_suffix(']')?)?),
            None if is_dns_name(host) => Self::Name(host.to_owned()),
            None => Self::V4(ipv4(host)?),
        };
        Some((host, port))
    }
}

/// The address of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultAddress {
    /// An IPv4 address and a TCP port.
    V4(SocketAddrV4),
    /// An IPv6 address and a TCP port.
    V6(SocketAddrV6),
    /// A vsock, which needs no network.
    Vsock {
        /// The context identifier of the peer; 2 is the host.
        cid: u32,
        /// Its port.
        port: u32,
    },
    /// A name to resolve and a TCP port.
    Name {
        /// The DNS name: lower case, at most 253 bytes, no last dot.
        host: String,
        /// The TCP port.
        port: u16,
    },
}

impl fmt::Display for VaultAddress {
    /// As the command line writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl VaultAddress {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("vsock:") {
            return vsock(rest);
        }
        Some(match Host::parse_with_port(text)? {
            (Host::V4(ip), port) => Self::V4(SocketAddrV4::new(ip, port)),
            (Host::V6(ip), port) => Self::V6(SocketAddrV6::new(ip, port, 0, 0)),
            (Host::Name(host), port) => Self::Name { host, port },
        })
    }
}

/// A cache of collateral, over plain HTTP or TLS. Collateral is signed, so the certificate is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pccs {
    /// Whether it uses TLS, as an unmodified PCCS does.
    pub is_tls: bool,
    /// The machine.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
}

impl Pccs {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let tls = text.strip_prefix("https://");
        let rest = tls.or_else(|| text.strip_prefix("http://"))?;
        let (host, port) = Host::parse_with_port(rest.strip_suffix('/').unwrap_or(rest))?;
        Some(Self { is_tls: tls.is_some(), host, port })
    }
}

/// Reads a unicast address in the spelling that is printed for it.
pub(super) fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let ip: Ipv4Addr = text.parse().ok()?;
    let usable = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast();
    (usable && ip.to_string() == text).then_some(ip)
}

/// Reads a unicast address in the spelling that is printed for it (RFC 5952).
pub(super) fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let ip: Ipv6Addr = text.parse().ok()?;
    let usable = !ip.is_unspecified() && !ip.is_multicast();
    (usable && ip.to_string() == text).then_some(ip)
}

/// Reads `cid:port`. 0 and 1 are no other machines; the largest number means "any".
///
/// Source: vsock(7).
fn vsock(text: &str) -> Option<VaultAddress> {
    let (cid, port) = text.split_once(':')?;
    let cid = text::decimal(cid).filter(|cid| (2..u32::MAX).contains(cid))?;
    let port = text::decimal(port).filter(|port| (1..u32::MAX).contains(port))?;
    Some(VaultAddress::Vsock { cid, port })
}

/// True for labels of letters, digits and inner hyphens. Some resolvers take a last label of digits for a number, and `vsock` begins
/// another form of address.
fn is_dns_name(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or(text);
    (1..=253).contains(&text.len())
        && text != "vsock"
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::{Host, Pccs, VaultAddress};
    use proptest::prelude::*;
    use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6};

    fn name(host: &str, port: u16) -> VaultAddress {
        VaultAddress::Name { host: host.to_owned(), port }
    }

    #[test]
    fn vault_is_found_by_address_name_or_vsock() {
        let v6 = |ip: &str| VaultAddress::V6(SocketAddrV6::new(ip.parse().unwrap(), 8443, 0, 0));
        let cases = [
            ("10.0.0.1:8443", VaultAddress::V4(SocketAddrV4::new([10, 0, 0, 1].into(), 8443))),
            ("[fd00::1]:8443", v6("fd00::1")),
            ("[::ffff:10.0.0.1]:8443", v6("::ffff:10.0.0.1")),
            ("vsock:2:1", VaultAddress::Vsock { cid: 2, port: 1 }),
            ("vault-1.example:1", name("vault-1.example", 1)),
            ("vault:65535", name("vault", 65535)),
            ("vsock.example:443", name("vsock.example", 443)),
            ("1and1.example:443", name("1and1.example", 443)),
        ];
        for (text, want) in cases {
            assert_eq!(VaultAddress::parse(text), Some(want), "{text}");
        }
    }

    #[test]
    fn vault_address_has_one_spelling() {
        let long_label = format!("{}:1", "a".repeat(64));
        let long_name = format!("{}a:1", "a.".repeat(127));
        let cases = [
            "",
            ":",
            "vault",
            "vault:",
            ":8443",
            "vault:0",
            "vault:08443",
            "vault:+1",
            "vault:65536",
            "Vault:1",
            "va_ult:1",
            "-vault:1",
            "vault-:1",
            "vault.:1",
            ".vault:1",
            "a..b:1",
            "10.0.0:1",
            "10.0.0.256:1",
            "10.0.0.01:1",
            "0.0.0.0:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "1234:1",
            "a.12:1",
            "0x7f.1:1",
            "[fd00::1]",
            "[fd00::1]:",
            "fd00::1:8443",
            "[FD00::1]:1",
            "[fd00:0::1]:1",
            "[::]:1",
            "[ff02::1]:1",
            "[fe80::1%1]:1",
            "[10.0.0.1]:1",
            "[fd00::1:1",
            "fd00::1]:1",
            "vsock:1",
            "vsock:1:1",
            "vsock:2:0",
            "vsock:02:1",
            "vsock:4294967295:1",
            "vsock:2:4294967295",
            "vsock:2:1:1",
            "a b:1",
            long_label.as_str(),
            &long_name,
        ];
        for text in cases {
            assert_eq!(VaultAddress::parse(text), None, "{text}");
        }
    }

    #[test]
    fn pccs_has_a_scheme_a_port_and_no_path() {
        let cache = |is_tls| Some(Pccs { is_tls, host: Host::Name("pccs.example".to_owned()), port: 8081 });
        assert_eq!(Pccs::parse("http://pccs.example:8081"), cache(false));
        assert_eq!(Pccs::parse("http://pccs.example:8081/"), cache(false));
        assert_eq!(Pccs::parse("https://pccs.example:8081/"), cache(true));
        assert_eq!(Pccs::parse("http://[::1]:80"), Some(Pccs { is_tls: false, host: Host::V6(Ipv6Addr::LOCALHOST), port: 80 }));
        for text in [
            "pccs.example:1",
            "https://a",
            "ftp://a:1",
            "http://a",
            "http://a:1//",
            "http://a:1/x",
            "http://u@a:1",
            "http://vsock:2:1",
        ] {
            assert_eq!(Pccs::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn addresses_round_trip(v4: SocketAddrV4, v6: Ipv6Addr, port in 1..=u16::MAX) {
            if let Some(read) = VaultAddress::parse(&v4.to_string()) {
                prop_assert_eq!(read, VaultAddress::V4(v4));
            }
            if let Some(read) = VaultAddress::parse(&format!("[{v6}]:{port}")) {
                prop_assert_eq!(read, VaultAddress::V6(SocketAddrV6::new(v6, port, 0, 0)));
            }
        }

        #[test]
        fn parse_never_panics(text in "(vsock:|\\[|http://)?[]0-9a-z.:%/-]{0,40}", any in ".*") {
            for text in [text, any] {
                let _read = (VaultAddress::parse(&text), Pccs::parse(&text));
            }
        }
    }
}
