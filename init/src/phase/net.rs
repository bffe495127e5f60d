//! The network is the host's: it may lie, and then only time is lost.
//!
//! A thread has the links (manager.rs). It asks on all that policy allows (candidate.rs), and one of them gets addresses (applied.rs);
//! what it knows is in status.rs, and whoever wants to reach somebody waits there (reach.rs).

mod applied;
mod candidate;
mod manager;
mod reach;
mod resolver;
mod status;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use cmdline::{Data, Policy, VaultAddress};
use failure::ErrorCode;
use linux::readiness::Stop;

use super::api::{self, Api};
use crate::journal::step;
use candidate::Plan;
use linux::threads;
use manager::Manager;
pub(crate) use reach::{Distrusted, Error as ReachError, Reach, Wire};
use status::{Status, Trouble};

/// How often the console says what is awaited.
const REPORT: Duration = Duration::from_secs(5);
/// How long the links may take to be returned.
const RETURN: Duration = Duration::from_secs(5);
/// The group of modules for vsock.
const VSOCK: &str = "vsock";

/// The network of this boot. Only [`up`] makes one.
pub(crate) struct Network {
    reach: Reach,
    thread: Option<(UnixStream, Receiver<()>)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no ethernet link")]
    NoLink,
    #[error("{0} has no carrier")]
    NoCarrier(String),
    #[error("{0}")]
    Silence(Box<Silence>),
    #[error("{0}")]
    Duplicate(String),
    #[error("link")]
    Kernel(#[source] linux::Error),
    #[error("vsock")]
    Modules(#[source] api::Error),
}

/// Nobody on the link gave us an address.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub(crate) struct Silence {
    said: String,
    by_dhcp: bool,
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::NoLink => ErrorCode::NoLink,
            Self::NoCarrier(_) => ErrorCode::NoCarrier,
            Self::Silence(silence) if silence.by_dhcp => ErrorCode::NoLease,
            Self::Kernel(_) => ErrorCode::LinkRefused,
            Self::Silence(_) => ErrorCode::NoRouter,
            Self::Duplicate(_) => ErrorCode::DuplicateAddress,
            Self::Modules(error) => error.code(),
        }
    }

    /// What was missing when there was no more time.
    fn of(trouble: Trouble) -> Self {
        let said = trouble.to_string();
        match trouble {
            Trouble::NoLink => Self::NoLink,
            Trouble::NoCarrier(link) => Self::NoCarrier(link),
            Trouble::NoLease { .. } => Self::Silence(Box::new(Silence { said, by_dhcp: true })),
            Trouble::NoRouter { .. } => Self::Silence(Box::new(Silence { said, by_dhcp: false })),
            Trouble::Duplicate { .. } | Trouble::Unproved { .. } => Self::Duplicate(said),
            Trouble::Kernel { error, .. } => Self::Kernel(error),
        }
    }
}

/// Brings up what the vaults of `data` are reached over, and waits until `deadline` for a link; where a vault is behind vsock, the
/// link may come later or not at all.
pub(crate) fn up(api: Api, policy: &Policy, data: &Data, deadline: Instant) -> Result<Network, Error> {
    let vaults = &data.vaults.addresses;
    let over_vsock = vaults.iter().any(|address| matches!(address, VaultAddress::Vsock { .. }));
    if over_vsock {
        api::load(api, VSOCK).map_err(Error::Modules)?;
    }
    let stop = Stop::new().map_err(Error::Kernel)?;
    if !policy.needs_link() {
        return Ok(Network { reach: Reach { status: None, server: Arc::default(), stop }, thread: None });
    }
    let local = |address: &VaultAddress| matches!(address, VaultAddress::V6(address) if address.ip().is_unicast_link_local());
    let net = policy.net.clone();
    let plan = Plan { mode: net.mode, dns: net.dns, link_local: vaults.iter().any(local) };
    let status = Arc::new(Status::default());
    let socket = |error: std::io::Error| Error::Kernel(linux::Error::io("socketpair", "net", &error));
    let (ours, theirs) = UnixStream::pair().map_err(socket)?;
    let manager = Manager::new(net.link, plan, Arc::clone(&status), theirs).map_err(Error::Kernel)?;
    let (ended, end) = mpsc::channel();
    let work = move || {
        manager.run(net.keep);
        drop(ended);
    };
    threads::spawn("net", Box::new(work)).map_err(Error::Kernel)?;
    let reach = Reach { status: Some(Arc::clone(&status)), server: Arc::default(), stop };
    let network = Network { reach, thread: Some((ours, end)) };
    if !over_vsock {
        let up = status.ready_or_why(REPORT, deadline)?;
        step(format_args!("net: {} is up", up.name));
    }
    Ok(network)
}

impl Network {
    /// The way to others.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The name of the link that is in use; none where vsock is all there is.
    pub(crate) fn link(&self) -> Option<String> {
        self.reach.status.as_ref()?.up().map(|up| up.name)
    }

    /// Ends whatever is still under way, and returns the links as they were found, unless policy keeps the one in use for the real
    /// system.
    pub(crate) fn release(self) {
        self.reach.stop.signal();
        if let Some(status) = &self.reach.status {
            // Whoever waits for a link waits for nothing.
            status.broke(linux::Error::io("wait", "net", &std::io::ErrorKind::Interrupted.into()));
        }
        let Some((end, ended)) = self.thread else { return };
        drop(end); // the thread reads its end
        if matches!(ended.recv_timeout(RETURN), Err(mpsc::RecvTimeoutError::Timeout)) {
            log::warn!("net: links are not returned in time");
        }
    }
}

/// A random number: transaction and question numbers that another could guess are an invitation to answer first.
fn random() -> Result<u32, linux::Error> {
    let mut bytes = [0; 4];
    linux::clock::random(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
