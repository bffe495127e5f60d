//! One link, brought up by DHCPv4. The network is the host's: it may lie, and then only time is lost.

mod dhcp;
mod frame;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use kernel::link::{Ethernet, Links};
use ondisk::cmdline::{LinkSelector, Net};

use super::api::Api;
use crate::journal::step;

/// How long a link may take to appear, and then to have a carrier.
const APPEAR: Duration = Duration::from_secs(10);
/// How long DHCP is tried: five requests by RFC 2131's timing.
const LEASE: Duration = Duration::from_secs(60);

/// A link with an address. Only [`up`] makes one.
pub(crate) struct Link {
    ethernet: Ethernet,
    lease: dhcp::Lease,
    keep: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no ethernet link")]
    NoLink,
    #[error("{0} has no carrier")]
    NoCarrier(String),
    #[error("dhcp on {0}")]
    Dhcp(String, #[source] dhcp::Error),
    #[error("link")]
    Kernel(#[source] kernel::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::NoLink => 40,
            Self::NoCarrier(_) => 41,
            Self::Dhcp(..) => 42,
            Self::Kernel(_) => 43,
        }
    }
}

/// Brings up the link that policy names, or else the first, and gives it what DHCP says.
pub(crate) fn up(_api: Api, wanted: &Net) -> Result<Link, Error> {
    let mut links = Links::open().map_err(Error::Kernel)?;
    let chosen = |link: &Ethernet| match &wanted.link {
        Some(LinkSelector::Name(name)) => link.name == *name,
        Some(LinkSelector::Mac(mac)) => link.mac == *mac,
        None => true,
    };
    let ethernet = wait_for(&mut links, chosen)?.ok_or(Error::NoLink)?;
    links.up(ethernet.index).map_err(Error::Kernel)?;
    let has_carrier = |link: &Ethernet| link.index == ethernet.index && link.carrier;
    let ethernet = wait_for(&mut links, has_carrier)?.ok_or_else(|| Error::NoCarrier(ethernet.name.clone()))?;
    step(format_args!("net: {} has a carrier", ethernet.name));

    let lease = dhcp::lease(&ethernet, Instant::now() + LEASE).map_err(|e| Error::Dhcp(ethernet.name.clone(), e))?;
    let apply = |links: &mut Links| {
        links.add_address(ethernet.index, lease.address, lease.prefix)?;
        let Some(router) = lease.router else { return Ok(()) };
        // Some clouds give out a /32: the router is on the link all the same, and the kernel wants to be told.
        if !lease.is_on_link(router) {
            links.add_route(ethernet.index, router, 32, None)?;
        }
        links.add_route(ethernet.index, Ipv4Addr::UNSPECIFIED, 0, Some(router))
    };
    apply(&mut links).map_err(Error::Kernel)?;
    log::info!("net: {} is {}/{}", ethernet.name, lease.address, lease.prefix);
    Ok(Link { ethernet, lease, keep: wanted.keep })
}

impl Link {
    /// Returns the link as it was found, unless policy keeps it for the real system.
    pub(crate) fn release(self) {
        if self.keep {
            return;
        }
        let release = || {
            let mut links = Links::open()?;
            links.remove_address(self.ethernet.index, self.lease.address, self.lease.prefix)?;
            links.down(self.ethernet.index)
        };
        if let Err(error) = release() {
            log::warn!("net: {} is left up: {error}", self.ethernet.name);
        }
    }
}

fn wait_for(links: &mut Links, chosen: impl Fn(&Ethernet) -> bool) -> Result<Option<Ethernet>, Error> {
    let deadline = Instant::now() + APPEAR;
    loop {
        let there = links.ethernet().map_err(Error::Kernel)?;
        if let Some(link) = there.into_iter().find(&chosen) {
            return Ok(Some(link));
        }
        if !links.wait(deadline).map_err(Error::Kernel)? {
            return Ok(None);
        }
    }
}
