//! Connects to a host: waits for the link, resolves the name, tries the addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use cmdline::{Host, VaultAddress};
use ipconfig::happy_eyeballs;
use linux::poll::Stop;
use linux::stream::Stream;
use ratls::Transport;

use super::resolver;
use super::status::Status;

/// A connection whose peer is not authenticated.
pub(crate) struct PeerStream {
    stream: Stream,
    peer: Option<IpAddr>,
}

/// Why a host could not be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no link is up")]
    NoLink,
    #[error(transparent)]
    Name(#[from] resolver::Error),
    #[error("{0}")]
    Connect(io::ErrorKind),
}

/// Addresses of a name whose peer gave no share that was used. They are tried last, the most recent of them at the very end.
#[derive(Default)]
pub(crate) struct Deprioritized(Vec<IpAddr>);

impl Deprioritized {
    /// The most addresses kept: more than one DNS answer has.
    const MAX: usize = 16;

    pub(crate) fn add(&mut self, peer: IpAddr) {
        self.0.retain(|other| *other != peer);
        self.0.truncate(Self::MAX - 1);
        self.0.insert(0, peer);
    }

    /// The rank in the order of attempts.
    fn rank(&self, ip: IpAddr) -> usize {
        self.0.iter().position(|peer| *peer == ip).map_or(0, |place| Self::MAX - place)
    }
}

/// Connects to hosts. Clones share one network.
#[derive(Clone)]
pub(crate) struct Connector {
    /// None when policy needs no link and only vsock is used.
    pub(super) status: Option<Arc<Status>>,
    /// The index of the name server that answered last.
    pub(super) server: Arc<AtomicUsize>,
    /// Ends all connections and lookups.
    pub(super) stop: Stop,
}

/// The addresses of a host, at most eight, in the order of attempts.
pub(crate) struct ResolvedHost(Vec<SocketAddr>, Stop);

impl ResolvedHost {
    /// Connects to the first address that answers, until `deadline`.
    pub(crate) fn connect(&self, deadline: Instant) -> Result<PeerStream, Error> {
        let connected = Stream::tcp(&self.0, happy_eyeballs::ATTEMPT_DELAY, deadline, &self.1);
        let (stream, peer) = connected.map_err(|e| Error::Connect(e.kind()))?;
        Ok(PeerStream { stream, peer: Some(peer.ip()) })
    }
}

impl Connector {
    /// Connects to a vault until `deadline`.
    pub(crate) fn vault(
        &self,
        address: &VaultAddress,
        deprioritized: &Deprioritized,
        deadline: Instant,
    ) -> Result<PeerStream, Error> {
        let (host, port) = match address {
            VaultAddress::Vsock { cid, port } => {
                let stream = Stream::vsock(*cid, *port, deadline, &self.stop).map_err(|e| Error::Connect(e.kind()))?;
                return Ok(PeerStream { stream, peer: None });
            }
            VaultAddress::V4(address) => (Host::V4(*address.ip()), address.port()),
            VaultAddress::V6(address) => (Host::V6(*address.ip()), address.port()),
            VaultAddress::Name { host, port } => (Host::Name(host.clone()), *port),
        };
        let ResolvedHost(resolved, stop) = self.resolve(&host, port, deadline)?;
        let mut ordered: Vec<SocketAddr> = Vec::with_capacity(resolved.len());
        for place in resolved {
            let at = ordered.partition_point(|before| deprioritized.rank(before.ip()) <= deprioritized.rank(place.ip()));
            ordered.insert(at, place);
        }
        ResolvedHost(ordered, stop).connect(deadline)
    }

    /// The signal that ends all connections and lookups.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Resolves a host.
    pub(crate) fn resolve(&self, host: &Host, port: u16, deadline: Instant) -> Result<ResolvedHost, Error> {
        let up = self.status.as_ref().and_then(|status| status.ready(deadline)).ok_or(Error::NoLink)?;
        let ips = match host {
            Host::V4(ip) => vec![IpAddr::V4(*ip)],
            Host::V6(ip) => vec![IpAddr::V6(*ip)],
            Host::Name(name) => {
                happy_eyeballs::order(resolver::resolve(name, &up.resolvers, (up.index, &self.stop), &self.server, deadline)?)
            }
        };
        let place = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            // A link-local address is on the link in use.
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, if ip.is_unicast_link_local() { up.index } else { 0 }).into(),
        };
        Ok(ResolvedHost(ips.into_iter().map(place).collect(), self.stop.clone()))
    }
}

impl PeerStream {
    /// The address of the peer; none over vsock.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }
}

impl io::Read for PeerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl io::Write for PeerStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Transport for PeerStream {
    fn bound(&mut self, left: Duration) -> io::Result<()> {
        self.stream.set_timeout(left);
        Ok(())
    }
}
