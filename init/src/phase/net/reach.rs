//! From a vault's address to a stream: whatever the address is, and whatever becomes of the link meanwhile.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use cmdline::{Host, VaultAddress};
use ipconfig::eyeballs;
use linux::connect::Stream;
use linux::readiness::Stop;
use ratls::Transport;

use super::resolver;
use super::status::Status;

/// A connected stream to somebody who has proved nothing yet.
pub(crate) struct Wire {
    stream: Stream,
    peer: Option<IpAddr>,
}

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

/// Where somebody answered who did not bring what was looked for: tried last from then on, of the addresses of a name, the latest of
/// them at the very end.
#[derive(Default)]
pub(crate) struct Distrusted(Vec<IpAddr>);

impl Distrusted {
    /// The most that are remembered: more than one answer's.
    const MAX: usize = 16;

    pub(crate) fn add(&mut self, peer: IpAddr) {
        self.0.retain(|other| *other != peer);
        self.0.truncate(Self::MAX - 1);
        self.0.insert(0, peer);
    }

    /// How late a place is tried.
    fn turn(&self, ip: IpAddr) -> usize {
        self.0.iter().position(|peer| *peer == ip).map_or(0, |place| Self::MAX - place)
    }
}

/// The way to others. Copies are of the same network.
#[derive(Clone)]
pub(crate) struct Reach {
    /// None where policy has no network: there is vsock then.
    pub(super) status: Option<Arc<Status>>,
    /// The place in the link's list of the name server that answered last.
    pub(super) server: Arc<AtomicUsize>,
    /// Ends everything that is under way.
    pub(super) stop: Stop,
}

/// Where a host is: at most eight places, in the order in which they are tried.
pub(crate) struct Places(Vec<SocketAddr>, Stop);

impl Places {
    /// Connects to the first that answers until `deadline`.
    pub(crate) fn connect(&self, deadline: Instant) -> Result<Wire, Error> {
        let connected = Stream::tcp(&self.0, eyeballs::STAGGER, deadline, &self.1);
        let (stream, peer) = connected.map_err(|e| Error::Connect(e.kind()))?;
        Ok(Wire { stream, peer: Some(peer.ip()) })
    }
}

impl Reach {
    /// Connects to a vault until `deadline`.
    pub(crate) fn vault(&self, address: &VaultAddress, distrusted: &Distrusted, deadline: Instant) -> Result<Wire, Error> {
        let (host, port) = match address {
            VaultAddress::Vsock { cid, port } => {
                let stream = Stream::vsock(*cid, *port, deadline, &self.stop).map_err(|e| Error::Connect(e.kind()))?;
                return Ok(Wire { stream, peer: None });
            }
            VaultAddress::V4(address) => (Host::V4(*address.ip()), address.port()),
            VaultAddress::V6(address) => (Host::V6(*address.ip()), address.port()),
            VaultAddress::Name { host, port } => (Host::Name(host.clone()), *port),
        };
        let Places(places, stop) = self.places(&host, port, deadline)?;
        let mut ordered: Vec<SocketAddr> = Vec::with_capacity(places.len());
        for place in places {
            let at = ordered.partition_point(|before| distrusted.turn(before.ip()) <= distrusted.turn(place.ip()));
            ordered.insert(at, place);
        }
        Places(ordered, stop).connect(deadline)
    }

    /// The signal that ends everything that is under way.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Where a host is.
    pub(crate) fn places(&self, host: &Host, port: u16, deadline: Instant) -> Result<Places, Error> {
        let up = self.status.as_ref().and_then(|status| status.ready(deadline)).ok_or(Error::NoLink)?;
        let ips = match host {
            Host::V4(ip) => vec![IpAddr::V4(*ip)],
            Host::V6(ip) => vec![IpAddr::V6(*ip)],
            Host::Name(name) => {
                eyeballs::order(resolver::resolve(name, &up.resolvers, (up.index, &self.stop), &self.server, deadline)?)
            }
        };
        let place = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            // An address on the link is on ours.
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, if ip.is_unicast_link_local() { up.index } else { 0 }).into(),
        };
        Ok(Places(ips.into_iter().map(place).collect(), self.stop.clone()))
    }
}

impl Wire {
    /// Who is at the other end; none over vsock.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }
}

impl io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl io::Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Transport for Wire {
    fn bound(&mut self, left: Duration) -> io::Result<()> {
        self.stream.bound(left);
        Ok(())
    }
}
