//! The value of `cvm.net`.

use super::address::{ipv4, ipv6};
use encoding::{hex, text};
use std::net::IpAddr;

/// The network of this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// Where addresses come from.
    pub mode: NetMode,
    /// Which interface; `None`: the first that comes up.
    pub link: Option<LinkSelector>,
    /// The name server; `None`: those that the link names.
    pub dns: Option<IpAddr>,
    /// Whether addresses and routes stay for the real system.
    pub keep: bool,
}

/// Where addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetMode {
    /// `DHCPv4`.
    Dhcp,
    /// Router advertisements.
    Slaac,
    /// `DHCPv4` and router advertisements at once: the boot continues with the first that gives an address.
    Dual,
    /// No network.
    None,
    /// The addresses on the command line. Both are of one family.
    Static {
        /// The address of this machine.
        address: IpAddr,
        /// The length of the prefix, 1 to 32 or 1 to 128 bits.
        prefix: u8,
        /// The router, if there is one.
        gateway: Option<IpAddr>,
    },
}

/// Which interface is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkSelector {
    /// By name: at most 15 bytes.
    Name(String),
    /// By hardware address.
    Mac([u8; 6]),
}

impl Net {
    /// Reads `dhcp`, `slaac`, `dual`, `none` or `static:ADDR/LEN[,gw=ADDR]`, and `[,dns=ADDR][,if=NAME|MAC]` after all but `none`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mode, options) = text.split_once(',').map_or((text, None), |(mode, options)| (mode, Some(options)));
        let mut options = Options::parse(options)?;
        let (link, dns) = (options.link.take(), options.dns.take());
        let mode = match mode {
            "dhcp" => NetMode::Dhcp,
            "slaac" => NetMode::Slaac,
            "dual" => NetMode::Dual,
            "none" if link.is_none() && dns.is_none() => NetMode::None,
            _ => options.take_static(mode.strip_prefix("static:")?)?,
        };
        // An option that is left has no meaning in this mode.
        options.is_empty().then_some(Self { mode, link, dns, keep: false })
    }
}

/// The options after the mode, each at most once.
#[derive(Default)]
struct Options {
    link: Option<LinkSelector>,
    gateway: Option<IpAddr>,
    dns: Option<IpAddr>,
}

impl Options {
    fn parse(text: Option<&str>) -> Option<Self> {
        let mut options = Self::default();
        for option in text.into_iter().flat_map(|text| text.split(',')) {
            let repeated = match option.split_once('=')? {
                ("if", value) => options.link.replace(LinkSelector::parse(value)?).is_some(),
                ("gw", value) => options.gateway.replace(ip(value)?).is_some(),
                ("dns", value) => options.dns.replace(ip(value)?).is_some(),
                _ => return None,
            };
            if repeated {
                return None;
            }
        }
        Some(options)
    }

    fn take_static(&mut self, text: &str) -> Option<NetMode> {
        let (address, prefix) = text.split_once('/')?;
        let address = ip(address).filter(|ip| !ip.is_loopback())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = text::decimal(prefix).filter(|prefix| (1..=most).contains(prefix))?;
        let gateway = self.gateway.take();
        let one_family = gateway.is_none_or(|gateway| gateway.is_ipv4() == address.is_ipv4());
        (one_family && gateway != Some(address)).then_some(NetMode::Static { address, prefix, gateway })
    }

    const fn is_empty(&self) -> bool {
        self.link.is_none() && self.gateway.is_none() && self.dns.is_none()
    }
}

impl LinkSelector {
    /// Reads `02:00:00:00:00:01` or the name of an interface, which has no colon.
    fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            let shaped = text.len() == 17 && text.split(':').all(|part| part.len() == 2);
            return shaped.then(|| hex::decode(&text.replace(':', "")).map(Self::Mac))?;
        }
        let named = text::is_name(text, 15, "._-") && text != "." && text != "..";
        named.then(|| Self::Name(text.to_owned()))
    }
}

fn ip(text: &str) -> Option<IpAddr> {
    ipv4(text).map(IpAddr::V4).or_else(|| ipv6(text).map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use super::{LinkSelector, Net, NetMode};
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fixed(address: &str, prefix: u8, gateway: Option<&str>) -> NetMode {
        NetMode::Static { address: addr(address), prefix, gateway: gateway.map(addr) }
    }

    #[test]
    fn net_takes_each_mode_with_its_options() {
        let eth0 = Some(LinkSelector::Name("eth0".to_owned()));
        let mac = Some(LinkSelector::Mac([2, 0, 0, 0, 0, 0xab]));
        let none = || (None, None);
        let named = |dns| (eth0.clone(), Some(addr(dns)));
        let cases = [
            ("dhcp", NetMode::Dhcp, none()),
            ("dhcp,if=eth0", NetMode::Dhcp, (eth0.clone(), None)),
            ("dhcp,dns=9.9.9.9", NetMode::Dhcp, (None, Some(addr("9.9.9.9")))),
            ("slaac,if=02:00:00:00:00:ab", NetMode::Slaac, (mac, None)),
            ("slaac,dns=fd00::53,if=eth0", NetMode::Slaac, named("fd00::53")),
            ("dual,dns=9.9.9.9,if=eth0", NetMode::Dual, named("9.9.9.9")),
            ("none", NetMode::None, none()),
            ("static:10.0.0.2/24", fixed("10.0.0.2", 24, None), none()),
            ("static:10.0.0.2/32,gw=10.0.0.1", fixed("10.0.0.2", 32, Some("10.0.0.1")), none()),
            ("static:10.0.0.2/24,dns=9.9.9.9,gw=10.0.0.1,if=eth0", fixed("10.0.0.2", 24, Some("10.0.0.1")), named("9.9.9.9")),
            ("static:fd00::2/64,gw=fe80::1", fixed("fd00::2", 64, Some("fe80::1")), none()),
        ];
        for (text, mode, (link, dns)) in cases {
            assert_eq!(Net::parse(text), Some(Net { mode, link, dns, keep: false }), "{text}");
        }
    }

    #[test]
    fn net_refuses_everything_else() {
        let cases = [
            "",
            "DHCP",
            "dhcp,",
            ",dhcp",
            "dhcp,if=",
            "dhcp,if=eth0,if=eth1",
            "dhcp,gw=10.0.0.1",
            "slaac,gw=fe80::1",
            "dual,gw=fe80::1",
            "dhcp,dns=9.9.9.9,dns=9.9.9.9",
            "dhcp,dns=vault.example",
            "none,dns=9.9.9.9",
            "none,if=eth0",
            "dhcp,if=a:b",
            "dhcp,if=02:00:00:00:00:AB",
            "dhcp,if=2:0:0:0:0:ab",
            "dhcp,if=02:00:00:00:00:ab:cd",
            "dhcp,if=02-00-00-00-00:ab",
            "dhcp,if=sixteen-bytes-xx",
            "dhcp,if=..",
            "dhcp,if=a/b",
            "dhcp,mtu=9000",
            "static",
            "static:",
            "static:10.0.0.2",
            "static:10.0.0.2/0",
            "static:10.0.0.2/33",
            "static:10.0.0.2/024",
            "static:fd00::2/129",
            "static:0.0.0.0/8",
            "static:127.0.0.1/8",
            "static:224.0.0.1/4",
            "static:10.0.0.2/24,gw=fd00::1",
            "static:fd00::2/64,gw=10.0.0.1",
            "static:10.0.0.2/24,gw=10.0.0.2",
            "static:10.0.0.2/24,gw=10.0.0.1,gw=10.0.0.1",
            "static:FD00::2/64",
            "static:10.0.0.2/24,gw",
        ];
        for text in cases {
            assert_eq!(Net::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn net_never_panics(text in "(dhcp|slaac|dual|none|static:)?[,=:/.0-9a-z]{0,40}", any in ".*") {
            let _read = (Net::parse(&text), Net::parse(&any));
        }
    }
}
