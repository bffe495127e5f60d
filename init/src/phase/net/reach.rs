//! From a vault's address to a stream: whatever the address is, and whatever becomes of the link meanwhile.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::connect::Stream;
use netconf::eyeballs;
use ondisk::cmdline::{Host, VaultAddress};
use vault::Transport;

use super::resolver;
use super::status::Status;

/// A connected stream to somebody who has proved nothing yet.
pub(crate) struct Wire(Stream);

/// Why somebody could not be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no link")]
    NoLink,
    #[error(transparent)]
    Name(#[from] resolver::Error),
    #[error("{0}")]
    Connect(io::ErrorKind),
}

/// The way to others. Copies are of the same network.
#[derive(Clone)]
pub(crate) struct Reach {
    /// None where policy has no network: there is vsock then.
    pub(super) status: Option<Arc<Status>>,
}

impl Reach {
    /// Connects to a vault until `deadline`.
    pub(crate) fn vault(&self, address: &VaultAddress, deadline: Instant) -> Result<Wire, Error> {
        match address {
            VaultAddress::Vsock { cid, port } => {
                Stream::vsock(*cid, *port, deadline).map(Wire).map_err(|e| Error::Connect(e.kind()))
            }
            VaultAddress::V4(address) => self.address(IpAddr::V4(*address.ip()), address.port(), deadline),
            VaultAddress::V6(address) => self.address(IpAddr::V6(*address.ip()), address.port(), deadline),
            VaultAddress::Name { host, port } => self.name(host, *port, deadline),
        }
    }

    /// Connects to a cache of collateral until `deadline`.
    pub(crate) fn host(&self, host: &Host, port: u16, deadline: Instant) -> Result<Wire, Error> {
        match host {
            Host::V4(ip) => self.address(IpAddr::V4(*ip), port, deadline),
            Host::V6(ip) => self.address(IpAddr::V6(*ip), port, deadline),
            Host::Name(name) => self.name(name, port, deadline),
        }
    }

    fn address(&self, ip: IpAddr, port: u16, deadline: Instant) -> Result<Wire, Error> {
        let up = self.status.as_ref().and_then(|status| status.ready(deadline)).ok_or(Error::NoLink)?;
        connect(&[ip], port, up.index, deadline)
    }

    fn name(&self, name: &str, port: u16, deadline: Instant) -> Result<Wire, Error> {
        let up = self.status.as_ref().and_then(|status| status.ready(deadline)).ok_or(Error::NoLink)?;
        let found = resolver::resolve(name, &up.resolvers, up.index, deadline)?;
        connect(&eyeballs::order(found), port, up.index, deadline)
    }
}

fn connect(ips: &[IpAddr], port: u16, scope: u32, deadline: Instant) -> Result<Wire, Error> {
    let place = |ip: &IpAddr| match *ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, port)),
        // An address on the link is on ours.
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, if ip.is_unicast_link_local() { scope } else { 0 }).into(),
    };
    let places: Vec<SocketAddr> = ips.iter().map(place).collect();
    Stream::tcp(&places, eyeballs::STAGGER, deadline).map(Wire).map_err(|e| Error::Connect(e.kind()))
}

impl io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Transport for Wire {
    fn bound(&mut self, left: Duration) -> io::Result<()> {
        self.0.bound(left)
    }
}
