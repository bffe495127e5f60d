//! The machine's network: QEMU's user network, or none.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// The address at which a guest reaches what listens on the host's loopback (QEMU's user network).
pub const HOST_IN_GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The machine's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// No network device.
    None,
    /// QEMU's user network: DHCP, DNS, and the host's loopback at [`HOST_IN_GUEST`].
    User {
        /// Whether the guest reaches forwarded addresses only.
        restrict: bool,
        /// Addresses in the guest's network that lead to the host, with one connection at a time each: QEMU keeps one open.
        to_host: Vec<GuestForward>,
        /// Ports of the host that lead to the guest.
        to_guest: Vec<HostForward>,
    },
}

impl Default for Network {
    fn default() -> Self {
        Self::User { restrict: false, to_host: Vec::new(), to_guest: Vec::new() }
    }
}

/// A forward from the guest's network to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestForward {
    /// The address that the guest connects to: an unused address in 10.0.2.0/24.
    pub guest: SocketAddrV4,
    /// The address on the host.
    pub host: SocketAddr,
}

/// A forward from the host to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostForward {
    /// The address on the host.
    pub host: SocketAddrV4,
    /// The guest's port.
    pub guest_port: u16,
}

impl Network {
    pub(crate) fn netdev(&self) -> Option<String> {
        let Self::User { restrict, to_host, to_guest } = self else {
            return None;
        };
        let restrict = if *restrict { "on" } else { "off" };
        let to_host = to_host.iter().map(|forward| format!("guestfwd=tcp:{}-tcp:{}", forward.guest, forward.host));
        let to_guest = to_guest.iter().map(|forward| format!("hostfwd=tcp:{}-:{}", forward.host, forward.guest_port));
        let parts = [format!("user,id=link,restrict={restrict}")];
        Some(parts.into_iter().chain(to_host).chain(to_guest).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_restricted_to_what_is_forwarded() {
        let network = Network::User {
            restrict: true,
            to_host: vec![GuestForward { guest: "10.0.2.100:8443".parse().unwrap(), host: "127.0.0.1:9000".parse().unwrap() }],
            to_guest: vec![HostForward { host: "127.0.0.1:2222".parse().unwrap(), guest_port: 22 }],
        };
        let want = "user,id=link,restrict=on,guestfwd=tcp:10.0.2.100:8443-tcp:127.0.0.1:9000,\
                    hostfwd=tcp:127.0.0.1:2222-:22";
        assert_eq!(network.netdev().unwrap(), want);
    }
}
