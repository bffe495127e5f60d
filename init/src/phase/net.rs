//! Brings up the network. The host controls it; a malicious host can only delay the boot, since every vault proves itself over
//! its connection.
//!
//! One thread owns the links (manager.rs). It requests addresses on all links that policy allows (link_autoconf.rs) and
//! configures one of them (active_link.rs). It publishes the result in status.rs, where [`Connector`] (connector.rs) waits for
//! it.

mod active_link;
mod connector;
mod link_autoconf;
mod manager;
mod offer;
mod resolver;
mod status;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use cmdline::{Data, Policy, VaultAddress};
use failure::ErrorCode;
use linux::poll::Stop;

use super::early::{self, EarlyMounts};
use crate::boot_log::step;
pub(crate) use connector::{Connector, Deprioritized, Error as ConnectError, PeerStream};
use linux::threads;
use manager::Manager;
use offer::Plan;
use status::{LinkProblem, Status};

/// How often the console reports the wait.
const REPORT: Duration = Duration::from_secs(5);
/// How long the thread may take to restore the links.
const RETURN: Duration = Duration::from_secs(5);
/// The module group of vsock.
const VSOCK: &str = "vsock";

/// The network of this boot. Only [`up`] makes one.
pub(crate) struct Network {
    connector: Connector,
    thread: Option<(UnixStream, Receiver<()>)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no ethernet link")]
    NoLink,
    #[error("{0} has no carrier")]
    NoCarrier(String),
    #[error("{0}")]
    NoAddress(Box<NoAddress>),
    #[error("{0}")]
    Duplicate(String),
    #[error("configuring a link")]
    Kernel(#[source] linux::Error),
    #[error("vsock modules")]
    Modules(#[source] early::Error),
}

/// No server or router on the link offered an address.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct NoAddress {
    message: String,
    by_dhcp: bool,
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::NoLink => ErrorCode::NoLink,
            Self::NoCarrier(_) => ErrorCode::NoCarrier,
            Self::NoAddress(no_address) if no_address.by_dhcp => ErrorCode::NoLease,
            Self::Kernel(_) => ErrorCode::LinkRefused,
            Self::NoAddress(_) => ErrorCode::NoRouter,
            Self::Duplicate(_) => ErrorCode::DuplicateAddress,
            Self::Modules(error) => error.code(),
        }
    }

    /// What was missing when there was no more time.
    fn of(problem: LinkProblem) -> Self {
        let message = problem.to_string();
        match problem {
            LinkProblem::NoLink => Self::NoLink,
            LinkProblem::NoCarrier(link) => Self::NoCarrier(link),
            LinkProblem::NoLease { .. } => Self::NoAddress(Box::new(NoAddress { message, by_dhcp: true })),
            LinkProblem::NoRouter { .. } => Self::NoAddress(Box::new(NoAddress { message, by_dhcp: false })),
            LinkProblem::Duplicate { .. } | LinkProblem::Unproved { .. } => Self::Duplicate(message),
            LinkProblem::Kernel { error, .. } => Self::Kernel(error),
        }
    }
}

/// Brings up the network that the vaults of `data` need, and waits until `deadline` for a link. With a vault behind vsock it does
/// not wait, since the link may come later or not at all.
pub(crate) fn up(early: EarlyMounts, policy: &Policy, data: &Data, deadline: Instant) -> Result<Network, Error> {
    let vaults = &data.vaults.addresses;
    let over_vsock = vaults.iter().any(|address| matches!(address, VaultAddress::Vsock { .. }));
    if over_vsock {
        early::load(early, VSOCK).map_err(Error::Modules)?;
    }
    let stop = Stop::new().map_err(Error::Kernel)?;
    if !policy.needs_link() {
        return Ok(Network { connector: Connector { status: None, server: Arc::default(), stop }, thread: None });
    }
    let local = |address: &VaultAddress| matches!(address, VaultAddress::V6(address) if address.ip().is_unicast_link_local());
    let net = policy.net.clone();
    let plan = Plan { mode: net.mode, dns: net.dns, link_local: vaults.iter().any(local) };
    let status = Arc::new(Status::default());
    let socket = |error: std::io::Error| Error::Kernel(linux::Error::io("socketpair", "net", &error));
    let (end, thread_end) = UnixStream::pair().map_err(socket)?;
    let manager = Manager::new(net.link, plan, Arc::clone(&status), thread_end).map_err(Error::Kernel)?;
    let (done, ended) = mpsc::channel();
    let work = move || {
        manager.run(net.keep);
        drop(done);
    };
    threads::spawn("net", Box::new(work)).map_err(Error::Kernel)?;
    let connector = Connector { status: Some(Arc::clone(&status)), server: Arc::default(), stop };
    let network = Network { connector, thread: Some((end, ended)) };
    if !over_vsock {
        let up = status.wait_ready(REPORT, deadline)?;
        step(format_args!("net: {} is up", up.name));
    }
    Ok(network)
}

impl Network {
    /// Connects to vaults and caches.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// The name of the link in use; none when only vsock is used.
    pub(crate) fn link(&self) -> Option<String> {
        self.connector.status.as_ref()?.up().map(|up| up.name)
    }

    /// Ends all connections and lookups and restores the links as they were found, unless policy keeps the one in use for the
    /// real system.
    pub(crate) fn release(self) {
        self.connector.stop.signal();
        if let Some(status) = &self.connector.status {
            // Ends waits for a link.
            status.fail_with(linux::Error::io("wait", "net", &std::io::ErrorKind::Interrupted.into()));
        }
        let Some((end, ended)) = self.thread else { return };
        drop(end); // the thread reads end of file and stops
        if matches!(ended.recv_timeout(RETURN), Err(mpsc::RecvTimeoutError::Timeout)) {
            log::warn!("net: the links were not restored within {} s", RETURN.as_secs());
        }
    }
}

/// A random number for a transaction or a question: an attacker who could guess it could answer first.
fn random() -> Result<u32, linux::Error> {
    let mut bytes = [0; 4];
    linux::clock::random(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
