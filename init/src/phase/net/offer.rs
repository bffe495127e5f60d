//! The addresses that policy wants, and those that a link offers.

use std::net::IpAddr;
use std::time::Instant;

use cmdline::NetMode;
use ipconfig::dhcp::Lease;
use ipconfig::slaac::Advertisement;

/// The addresses that policy wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) mode: NetMode,
    /// The name server that policy names.
    pub(super) dns: Option<IpAddr>,
    /// Whether a link-local address alone is useful: some vault has one.
    pub(super) link_local: bool,
}

impl Plan {
    pub(super) fn dhcp(&self) -> bool {
        matches!(self.mode, NetMode::Dhcp | NetMode::Dual)
    }

    pub(super) fn slaac(&self) -> bool {
        matches!(self.mode, NetMode::Slaac | NetMode::Dual)
    }
}

/// The addresses offered on a link.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) lease: Option<Lease>,
    /// The advertisement that an address is made of, and when it came.
    pub(super) advertisement: Option<(Advertisement, Instant)>,
}
