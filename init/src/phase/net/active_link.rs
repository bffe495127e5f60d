//! Applies an offer to the one link in use: addresses, routes, MTU. Applying it again is harmless, which is needed because the
//! kernel may drop settings when the carrier is lost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cmdline::NetMode;
use ipconfig::Route;
use linux::link::{DadState, Ethernet, Links};

use super::offer::{Offer, Plan};
use super::random;
use super::status::LinkProblem;

/// How many other interface identifiers are tried after a duplicate (`IDGEN_RETRIES` of RFC 7217).
const IDENTIFIERS_MAX: u32 = 3;

/// An address with its routes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ipv4Config {
    address: IpAddr,
    prefix: u8,
    routes: Vec<Route>,
}

/// An IPv6 address; the kernel checks first that no other host on the link uses it.
struct Ipv6Config {
    own: Ipv4Config,
    is_proved: bool,
    is_routed: bool,
}

/// The link in use.
pub(super) struct ActiveLink {
    link: Ethernet,
    v4: Option<Ipv4Config>,
    v6: Option<Ipv6Config>,
    /// How many IPv6 addresses were duplicates.
    duplicates: u32,
    /// The MTU that was set, in bytes.
    mtu: Option<u16>,
}

impl ActiveLink {
    /// A link without addresses.
    pub(super) const fn new(link: Ethernet) -> Self {
        Self { link, v4: None, v6: None, duplicates: 0, mtu: None }
    }

    /// Whether hosts outside of the link are reachable: with an IPv4 address, or with an IPv6 address that was proved unique.
    pub(super) fn is_usable(&self) -> bool {
        self.v4.is_some() || self.v6.as_ref().is_some_and(|v6| v6.is_proved)
    }

    /// Applies the changes of an offer, and reads the result of duplicate address detection.
    ///
    /// # Errors
    /// What to wait for instead: the kernel refused a setting, or all addresses are duplicates.
    pub(super) fn apply(&mut self, offer: &Offer, plan: &Plan, links: &mut Links) -> Result<(), LinkProblem> {
        let link = self.link.name.clone();
        let failed = |error| LinkProblem::Kernel { link, error };
        self.try_apply(offer, plan, links).map_err(failed)?;
        match self.duplicate(offer, plan) {
            Some(address) if self.v4.is_none() => {
                Err(LinkProblem::Duplicate { link: self.link.name.clone(), address: IpAddr::V6(address) })
            }
            _ => Ok(()),
        }
    }

    fn try_apply(&mut self, offer: &Offer, plan: &Plan, links: &mut Links) -> Result<(), linux::Error> {
        let mtu = offer.lease.as_ref().and_then(|lease| lease.mtu);
        let mtu = mtu.or(offer.advertisement.as_ref().and_then(|(advertisement, _)| advertisement.mtu));
        if mtu.is_some() && mtu != self.mtu {
            self.mtu = mtu;
            if let Some(Err(error)) = mtu.map(|mtu| links.set_mtu(self.link.index, mtu.into())) {
                log::warn!("net: {}: {error}", self.link.name);
            }
        }
        if let Some(wanted) = wanted_ipv4(offer, plan)
            && self.v4.as_ref() != Some(&wanted)
        {
            // A static configuration must be complete; routes of a DHCP server that the kernel refuses may not be needed.
            self.set_v4(wanted, links)?;
            let routed = self.route_v4(links);
            if matches!(plan.mode, NetMode::Static { .. }) {
                routed?;
            } else if let Err(error) = routed {
                log::warn!("net: {}: {error}", self.link.name);
            }
        }
        // After a duplicate the next identifier is tried at once.
        while let Some(wanted) = self.wanted_ipv6(offer, plan)? {
            if self.v6.as_ref().is_none_or(|v6| v6.own != wanted) {
                self.set_v6(wanted, links)?;
            }
            if self.check_detection(links)? {
                break;
            }
        }
        Ok(())
    }

    /// Applies everything again: the kernel may have dropped settings while the link had no carrier.
    pub(super) fn reapply(&mut self, links: &mut Links) -> Result<(), linux::Error> {
        if let Some(v4) = self.v4.take() {
            self.set_v4(v4, links)?;
            // A route that the kernel accepted before will be accepted again; one that it never accepted was reported before.
            if let Err(error) = self.route_v4(links) {
                log::warn!("net: {}: {error}", self.link.name);
            }
        }
        if let Some(v6) = &mut self.v6 {
            v6.is_routed = false;
        }
        self.check_detection(links).map(drop)
    }

    fn set_v4(&mut self, wanted: Ipv4Config, links: &mut Links) -> Result<(), linux::Error> {
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

    /// Adds all routes; returns the first error.
    fn route_v4(&self, links: &mut Links) -> Result<(), linux::Error> {
        let routes = self.v4.iter().flat_map(|v4| &v4.routes);
        let add = |route: &Route| links.add_route(self.link.index, route.destination, route.prefix, route.gateway);
        routes.map(add).fold(Ok(()), Result::and)
    }

    fn set_v6(&mut self, wanted: Ipv4Config, links: &mut Links) -> Result<(), linux::Error> {
        match &mut self.v6 {
            // The same address with other routes: the router's advertisement changed.
            Some(v6) if v6.own.address == wanted.address && v6.own.prefix == wanted.prefix => {
                (v6.own, v6.is_routed) = (wanted, false);
            }
            before => {
                if let Some(before) = before.take() {
                    self.remove(&before.own, links);
                }
                links.add_address(self.link.index, wanted.address, wanted.prefix)?;
                self.v6 = Some(Ipv6Config { own: wanted, is_proved: false, is_routed: false });
            }
        }
        Ok(())
    }

    /// Reads the result of duplicate address detection; `false` when the address was a duplicate and is removed.
    fn check_detection(&mut self, links: &mut Links) -> Result<bool, linux::Error> {
        let Some(v6) = &mut self.v6 else { return Ok(true) };
        let IpAddr::V6(address) = v6.own.address else { return Ok(true) };
        if !v6.is_proved {
            match links.detection(self.link.index, address)? {
                Some(DadState::Tentative) => return Ok(true),
                Some(DadState::Unique) => {
                    v6.is_proved = true;
                    log::info!("net: {} is {address}/{}", self.link.name, v6.own.prefix);
                }
                // The kernel marks a duplicate and keeps it, or has removed all addresses when the link was recreated.
                Some(DadState::Duplicate) | None => {
                    log::warn!("net: {}: another host on the link uses {address}: trying another", self.link.name);
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

    /// The IPv6 address to configure: none without an offer, or after too many duplicates.
    fn wanted_ipv6(&self, offer: &Offer, plan: &Plan) -> Result<Option<Ipv4Config>, linux::Error> {
        if let NetMode::Static { address: address @ IpAddr::V6(_), prefix, gateway } = plan.mode {
            let routes = gateway.map(|gateway| default_route(Ipv6Addr::UNSPECIFIED.into(), gateway)).into_iter().collect();
            return Ok((self.duplicates == 0).then_some(Ipv4Config { address, prefix, routes }));
        }
        let Some((advertisement, _)) = offer.advertisement.as_ref().filter(|_| self.duplicates <= IDENTIFIERS_MAX) else {
            return Ok(None);
        };
        let present = self.v6.as_ref().and_then(|v6| if let IpAddr::V6(present) = v6.own.address { Some(present) } else { None });
        let kept_prefix = advertisement
            .prefixes
            .iter()
            .find_map(|prefix| present.filter(|present| prefix.contains(*present)).zip(Some(prefix)));
        let (address, prefix) = if let Some(kept) = kept_prefix {
            kept
        } else {
            let Some(prefix) = advertisement.prefixes.first() else { return Ok(None) };
            // The identifier is made of the MAC address, and after a duplicate of random bits.
            let chance = || Ok((u64::from(random()?) << 32 | u64::from(random()?)).to_be_bytes());
            let address = if self.duplicates == 0 { prefix.address(self.link.mac) } else { prefix.join(chance()?) };
            (address, prefix)
        };
        Ok(Some(Ipv4Config {
            address: address.into(),
            prefix: prefix.length(),
            routes: advertisement.route().into_iter().collect(),
        }))
    }

    /// The duplicate address, when there is no other to try.
    fn duplicate(&self, offer: &Offer, plan: &Plan) -> Option<Ipv6Addr> {
        let tried = self.duplicates > 0 && self.v6.is_none() && matches!(self.wanted_ipv6(offer, plan), Ok(None));
        let address = match plan.mode {
            NetMode::Static { address: IpAddr::V6(address), .. } => Some(address),
            _ => offer
                .advertisement
                .as_ref()
                .and_then(|(advertisement, _)| advertisement.prefixes.first())
                .map(|prefix| prefix.address(self.link.mac)),
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

    fn remove(&self, own: &Ipv4Config, links: &mut Links) {
        self.remove_routes(own.routes.iter().rev(), links);
        if let Err(error) = links.remove_address(self.link.index, own.address, own.prefix) {
            log::warn!("net: {}: {error}", self.link.name);
        }
    }

    /// Removes all addresses and routes.
    pub(super) fn remove_all(mut self, links: &mut Links) {
        let own = self.v4.take().into_iter().chain(self.v6.take().map(|v6| v6.own));
        for own in own.collect::<Vec<_>>() {
            self.remove(&own, links);
        }
    }
}

/// The IPv4 address to configure.
fn wanted_ipv4(offer: &Offer, plan: &Plan) -> Option<Ipv4Config> {
    if let NetMode::Static { address: IpAddr::V4(address), prefix, gateway } = plan.mode {
        let mut routes = Vec::new();
        if let Some(IpAddr::V4(gateway)) = gateway {
            // A gateway outside of the subnet is on the link as well, and the kernel needs a route that says so.
            let subnet = |ip: Ipv4Addr| ip.to_bits().checked_shr(32 - u32::from(prefix.min(32)));
            if subnet(gateway) != subnet(address) {
                routes.push(Route { destination: gateway.into(), prefix: 32, gateway: None });
            }
            routes.push(default_route(Ipv4Addr::UNSPECIFIED.into(), gateway.into()));
        }
        return Some(Ipv4Config { address: address.into(), prefix, routes });
    }
    let lease = offer.lease.as_ref()?;
    Some(Ipv4Config { address: lease.address.into(), prefix: lease.prefix, routes: lease.routes.clone() })
}

const fn default_route(destination: IpAddr, gateway: IpAddr) -> Route {
    Route { destination, prefix: 0, gateway: Some(gateway) }
}
