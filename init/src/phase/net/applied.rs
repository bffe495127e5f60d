//! What of an offer the kernel has: addresses and routes of the one link that is in use. Applying is idempotent, since other events
//! may have taken away what was set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cmdline::NetMode;
use ipconfig::Route;
use linux::link::{Detection, Ethernet, Links};

use super::candidate::{Offer, Plan};
use super::random;
use super::status::Trouble;

/// How many other identifiers are tried when somebody has our address (`IDGEN_RETRIES` of RFC 7217).
const IDENTIFIERS_MAX: u32 = 3;

/// An address with its routes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Own {
    address: IpAddr,
    prefix: u8,
    routes: Vec<Route>,
}

/// An IPv6 address, which the kernel holds against the others on the link first.
struct Own6 {
    own: Own,
    is_proved: bool,
    is_routed: bool,
}

/// The link in use.
pub(super) struct Applied {
    link: Ethernet,
    v4: Option<Own>,
    v6: Option<Own6>,
    /// How many IPv6 addresses were somebody else's.
    duplicates: u32,
    /// The largest packet that was set, in bytes.
    mtu: Option<u16>,
}

impl Applied {
    /// Nothing yet.
    pub(super) const fn to(link: Ethernet) -> Self {
        Self { link, v4: None, v6: None, duplicates: 0, mtu: None }
    }

    /// Whether others than neighbours can be reached: an IPv4 address is there, or an IPv6 address that is ours alone.
    pub(super) fn is_usable(&self) -> bool {
        self.v4.is_some() || self.v6.as_ref().is_some_and(|v6| v6.is_proved)
    }

    /// Applies what is new of an offer, and takes what the kernel has found out of an address.
    ///
    /// # Errors
    /// What to wait for instead: the kernel refuses, or all addresses are somebody else's.
    pub(super) fn apply(&mut self, offer: &Offer, plan: &Plan, links: &mut Links) -> Result<(), Trouble> {
        let link = self.link.name.clone();
        let failed = |error| Trouble::Kernel { link, error };
        self.try_apply(offer, plan, links).map_err(failed)?;
        match self.duplicate(offer, plan) {
            Some(address) if self.v4.is_none() => {
                Err(Trouble::Duplicate { link: self.link.name.clone(), address: IpAddr::V6(address) })
            }
            _ => Ok(()),
        }
    }

    fn try_apply(&mut self, offer: &Offer, plan: &Plan, links: &mut Links) -> Result<(), linux::Error> {
        let mtu = offer.lease.as_ref().and_then(|lease| lease.mtu);
        let mtu = mtu.or(offer.said.as_ref().and_then(|(said, _)| said.mtu));
        if mtu.is_some() && mtu != self.mtu {
            self.mtu = mtu;
            if let Some(Err(error)) = mtu.map(|mtu| links.set_mtu(self.link.index, mtu.into())) {
                log::warn!("net: {}: {error}", self.link.name);
            }
        }
        if let Some(wanted) = wanted4(offer, plan)
            && self.v4.as_ref() != Some(&wanted)
        {
            // What policy says must hold; of what a server says, the rest may be what is needed.
            self.set_v4(wanted, links)?;
            let routed = self.route_v4(links);
            if matches!(plan.mode, NetMode::Static { .. }) {
                routed?;
            } else if let Err(error) = routed {
                log::warn!("net: {}: {error}", self.link.name);
            }
        }
        // Another identifier at once for each that is somebody else's.
        while let Some(wanted) = self.wanted6(offer, plan)? {
            if self.v6.as_ref().is_none_or(|v6| v6.own != wanted) {
                self.set_v6(wanted, links)?;
            }
            if self.look(links)? {
                break;
            }
        }
        Ok(())
    }

    /// Sets all again: what is applied may have been replaced while the link was without a carrier.
    pub(super) fn again(&mut self, links: &mut Links) -> Result<(), linux::Error> {
        if let Some(v4) = self.v4.take() {
            self.set_v4(v4, links)?;
            // What could be routed before can be again; a route that never could is no news.
            if let Err(error) = self.route_v4(links) {
                log::warn!("net: {}: {error}", self.link.name);
            }
        }
        if let Some(v6) = &mut self.v6 {
            v6.is_routed = false;
        }
        self.look(links).map(drop)
    }

    fn set_v4(&mut self, wanted: Own, links: &mut Links) -> Result<(), linux::Error> {
        let before = self.v4.take();
        let is_new = before.as_ref().is_none_or(|before| (before.address, before.prefix) != (wanted.address, wanted.prefix));
        if let Some(before) = before {
            if is_new {
                self.remove(&before, links);
            } else {
                self.remove_routes(before.routes.iter().filter(|route| !wanted.routes.contains(route)), links);
            }
        }
        links.add_address(self.link.index, wanted.address, wanted.prefix)?;
        if is_new {
            log::info!("net: {} is {}/{}", self.link.name, wanted.address, wanted.prefix);
        }
        self.v4 = Some(wanted);
        Ok(())
    }

    /// Adds all routes that the kernel takes, and says of the first that it does not.
    fn route_v4(&self, links: &mut Links) -> Result<(), linux::Error> {
        let routes = self.v4.iter().flat_map(|v4| &v4.routes);
        let add = |route: &Route| links.add_route(self.link.index, route.destination, route.prefix, route.gateway);
        routes.map(add).fold(Ok(()), Result::and)
    }

    fn set_v6(&mut self, wanted: Own, links: &mut Links) -> Result<(), linux::Error> {
        match &mut self.v6 {
            // The same address, of a router that says more now.
            Some(v6) if v6.own.address == wanted.address && v6.own.prefix == wanted.prefix => {
                (v6.own, v6.is_routed) = (wanted, false);
            }
            before => {
                if let Some(before) = before.take() {
                    self.remove(&before.own, links);
                }
                links.add_address(self.link.index, wanted.address, wanted.prefix)?;
                self.v6 = Some(Own6 { own: wanted, is_proved: false, is_routed: false });
            }
        }
        Ok(())
    }

    /// Takes what the kernel has found out of the IPv6 address; `false` when it is somebody else's and gone.
    fn look(&mut self, links: &mut Links) -> Result<bool, linux::Error> {
        let Some(v6) = &mut self.v6 else { return Ok(true) };
        let IpAddr::V6(address) = v6.own.address else { return Ok(true) };
        if !v6.is_proved {
            match links.detection(self.link.index, address)? {
                Some(Detection::Pending) => return Ok(true),
                Some(Detection::Unique) => {
                    v6.is_proved = true;
                    log::info!("net: {} is {address}/{}", self.link.name, v6.own.prefix);
                }
                // The kernel leaves it, marked; or takes it away with all others, when the link had to be made anew.
                Some(Detection::Duplicate) | None => {
                    log::warn!("net: {}: {address} is somebody else's", self.link.name);
                    self.duplicates += 1;
                    if let Some(v6) = self.v6.take() {
                        self.remove(&v6.own, links);
                    }
                    return Ok(false);
                }
            }
        }
        if !v6.is_routed {
            v6.is_routed = true;
            let routes = v6.own.routes.clone();
            for route in &routes {
                if let Err(error) = links.add_route(self.link.index, route.destination, route.prefix, route.gateway) {
                    log::warn!("net: {}: {error}", self.link.name);
                }
            }
        }
        Ok(true)
    }

    /// The IPv6 address to have: none when there is no offer, or when too many were somebody else's.
    fn wanted6(&self, offer: &Offer, plan: &Plan) -> Result<Option<Own>, linux::Error> {
        if let NetMode::Static { address: address @ IpAddr::V6(_), prefix, gateway } = plan.mode {
            let routes = gateway.map(|gateway| everywhere(Ipv6Addr::UNSPECIFIED.into(), gateway)).into_iter().collect();
            return Ok((self.duplicates == 0).then_some(Own { address, prefix, routes }));
        }
        let Some((said, _)) = offer.said.as_ref().filter(|_| self.duplicates <= IDENTIFIERS_MAX) else { return Ok(None) };
        let held = self.v6.as_ref().and_then(|v6| if let IpAddr::V6(held) = v6.own.address { Some(held) } else { None });
        let of_held = said.prefixes.iter().find_map(|prefix| held.filter(|held| prefix.contains(*held)).zip(Some(prefix)));
        let (address, prefix) = if let Some(kept) = of_held {
            kept
        } else {
            let Some(prefix) = said.prefixes.first() else { return Ok(None) };
            // Made of the link's hardware address, and of random bits when somebody had that one.
            let chance = || Ok((u64::from(random()?) << 32 | u64::from(random()?)).to_be_bytes());
            let address = if self.duplicates == 0 { prefix.address(self.link.mac) } else { prefix.join(chance()?) };
            (address, prefix)
        };
        Ok(Some(Own { address: address.into(), prefix: prefix.length(), routes: said.route().into_iter().collect() }))
    }

    /// The address that stands in the way, when there is no other to try.
    fn duplicate(&self, offer: &Offer, plan: &Plan) -> Option<Ipv6Addr> {
        let tried = self.duplicates > 0 && self.v6.is_none() && matches!(self.wanted6(offer, plan), Ok(None));
        let address = match plan.mode {
            NetMode::Static { address: IpAddr::V6(address), .. } => Some(address),
            _ => offer.said.as_ref().and_then(|(said, _)| said.prefixes.first()).map(|prefix| prefix.address(self.link.mac)),
        };
        address.filter(|_| tried)
    }

    fn remove_routes<'a>(&self, routes: impl Iterator<Item = &'a Route>, links: &mut Links) {
        for route in routes {
            if let Err(error) = links.remove_route(self.link.index, route.destination, route.prefix, route.gateway) {
                log::warn!("net: {}: {error}", self.link.name);
            }
        }
    }

    fn remove(&self, own: &Own, links: &mut Links) {
        self.remove_routes(own.routes.iter().rev(), links);
        if let Err(error) = links.remove_address(self.link.index, own.address, own.prefix) {
            log::warn!("net: {}: {error}", self.link.name);
        }
    }

    /// Takes everything away again.
    pub(super) fn retreat(mut self, links: &mut Links) {
        let own = self.v4.take().into_iter().chain(self.v6.take().map(|v6| v6.own));
        for own in own.collect::<Vec<_>>() {
            self.remove(&own, links);
        }
    }
}

/// The IPv4 address to have.
fn wanted4(offer: &Offer, plan: &Plan) -> Option<Own> {
    if let NetMode::Static { address: IpAddr::V4(address), prefix, gateway } = plan.mode {
        let mut routes = Vec::new();
        if let Some(IpAddr::V4(gateway)) = gateway {
            // A router outside the subnet is on the link all the same, and the kernel wants to be told.
            let subnet = |ip: Ipv4Addr| ip.to_bits().checked_shr(32 - u32::from(prefix.min(32)));
            if subnet(gateway) != subnet(address) {
                routes.push(Route { destination: gateway.into(), prefix: 32, gateway: None });
            }
            routes.push(everywhere(Ipv4Addr::UNSPECIFIED.into(), gateway.into()));
        }
        return Some(Own { address: address.into(), prefix, routes });
    }
    let lease = offer.lease.as_ref()?;
    Some(Own { address: lease.address.into(), prefix: lease.prefix, routes: lease.routes.clone() })
}

const fn everywhere(destination: IpAddr, gateway: IpAddr) -> Route {
    Route { destination, prefix: 0, gateway: Some(gateway) }
}
