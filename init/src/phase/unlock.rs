//! Recovers the key: dials all vaults in parallel, asks those that proved themselves first, and combines t of n shares.

mod collateral;
mod key_recovery;
mod quote;
mod report;
mod vault_client;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use cmdline::{Data, KeyCommitment, TcbPolicy, Vaults};
use failure::ErrorCode;
use quorum::{AgreedTime, Commitment, Dek, KeyProof, Threshold};

use super::data::{self, Disks, Keys};
use super::net::Network;
use super::policy::MeasuredConfig;
use crate::boot_log::step;
use key_recovery::{KeyRecovery, VaultChannel};
use linux::threads;
pub(crate) use report::UnlockReport;
use vault_client::{Event, VaultClient};

/// Proved keys, and the report about them. Only [`gather`] makes one.
pub(crate) struct Unlocked {
    pub(crate) keys: Keys,
    pub(crate) report: UnlockReport,
    /// The report on the previous key, where a disk still opens with it.
    pub(crate) previous: Option<UnlockReport>,
    pub(crate) time: Time,
    /// The link that was in use; none when only vsock was used.
    pub(crate) link: Option<String>,
}

/// One key that was proved.
struct ProvedKey {
    dek: Dek,
    report: UnlockReport,
    time: AgreedTime,
}

/// The source of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeSource {
    /// The t-th smallest time of the vaults.
    Vaults,
    /// The most recent signature of Intel for the vaults, when their clocks are behind it.
    Issued,
    /// The build time of the image, when it is later than both.
    Build,
    /// The host's clock: no vault was asked.
    Host,
}

impl From<quorum::TimeSource> for TimeSource {
    fn from(source: quorum::TimeSource) -> Self {
        match source {
            quorum::TimeSource::Vaults => Self::Vaults,
            quorum::TimeSource::Issued => Self::Issued,
            quorum::TimeSource::Build => Self::Build,
        }
    }
}

/// The time that the vaults agreed on.
#[derive(Debug, Clone)]
pub(crate) struct Time {
    /// Unix seconds, when the key was proved.
    pub(crate) unix_seconds: u64,
    pub(crate) source: TimeSource,
    /// By how many seconds the host's clock was ahead of every vault's, before PID 1 set the clock; 0 when it was between two.
    pub(crate) host_ahead: i64,
    /// Whether PID 1 set the machine's clock.
    pub(crate) clock_set: bool,
}

impl Time {
    /// Sets the machine's clock when it is outside of the range of the vaults' clocks.
    fn set(agreed: AgreedTime) -> Self {
        let host = linux::clock::host_unix_seconds();
        let (host_ahead, to) = (agreed.ahead(host), agreed.correction(host));
        let clock_set = to.is_some_and(|to| {
            log::warn!("unlock: the host's clock is {host_ahead} s ahead of every vault's; setting it to the nearest vault's");
            linux::clock::set_unix_seconds(to).inspect_err(|error| log::warn!("unlock: {error}")).is_ok()
        });
        Self { unix_seconds: agreed.unix_seconds, source: agreed.source.into(), host_ahead, clock_set }
    }

    /// The time in Unix seconds, unless only the host's clock is known.
    fn by_vaults(&self) -> Option<u64> {
        (self.source != TimeSource::Host).then_some(self.unix_seconds)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    TooFew(Box<UnlockReport>),
    #[error("{0}: vaults denied the key")]
    Denied(Box<UnlockReport>),
    #[error("{0}: the shares do not combine to the key that policy expects")]
    Unproved(Box<UnlockReport>),
    #[error("{0}: the evidence or the certificate of vaults does not verify")]
    Untrusted(Box<UnlockReport>),
    #[error("{0}: vaults' collateral is missing or out of date")]
    Stale(Box<UnlockReport>),
    #[error("{0}: vaults do not accept this machine's evidence, or it has none")]
    OwnQuote(Box<UnlockReport>),
    #[error("{0}: the key has expired")]
    Expired(Box<UnlockReport>),
    #[error("trying a key on the disk")]
    Disk(#[source] data::Error),
    #[error("client key")]
    Identity(#[source] ratls::Error),
    #[error("starting a thread")]
    Thread(#[source] linux::Error),
    #[error("a threshold of {0} of {1} is not possible")]
    Threshold(usize, usize),
}

impl Error {
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::TooFew(_) => ErrorCode::TooFewShares,
            Self::Denied(_) => ErrorCode::Denied,
            Self::Unproved(_) => ErrorCode::KeyUnproved,
            Self::Untrusted(_) => ErrorCode::VaultsUntrusted,
            Self::OwnQuote(_) => ErrorCode::OwnEvidence,
            Self::Identity(_) | Self::Thread(_) | Self::Threshold(..) => ErrorCode::UnlockSetup,
            Self::Expired(_) => ErrorCode::KeyExpired,
            Self::Stale(_) => ErrorCode::CollateralStale,
            Self::Disk(error) => error.code(),
        }
    }

    /// No answer of an address is final, since another node may answer there next. Only errors of this machine are: when so many
    /// vaults are not dialled any more that the rest cannot reach the threshold.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::TooFew(report)
            | Self::Denied(report)
            | Self::Unproved(report)
            | Self::Untrusted(report)
            | Self::Stale(report)
            | Self::OwnQuote(report)
            | Self::Expired(report) => !report.is_impossible(),
            // A disk that failed to read while a key was tried on it may read after the next start.
            Self::Disk(error) => error.is_transient(),
            Self::Identity(_) | Self::Thread(_) | Self::Threshold(..) => false,
        }
    }
}

/// Collects shares until they combine to the key that policy commits to, or until `deadline`. Where the policy names a previous
/// key and a disk does not open with the current one, recovers the previous key as well.
pub(crate) fn gather(
    network: &Network,
    disks: &Disks,
    policy: &MeasuredConfig,
    wanted: &Data,
    deadline: Instant,
) -> Result<Unlocked, Error> {
    let vaults = &wanted.vaults;
    let gather = |vaults| gather_key(vaults, disks, (policy, network), deadline);
    let ProvedKey { dek: current, report, time } = gather(vaults)?;
    let time = Time::set(time);
    step("unlock: key proved");
    let Some(previous) = vaults.previous_vaults().filter(|_| disks.are_formatted()) else {
        return Ok(Unlocked {
            keys: Keys { current, previous: None, time: time.by_vaults() },
            report,
            previous: None,
            time,
            link: network.link(),
        });
    };
    if disks.verify_key_on_all(&current).map_err(Error::Disk)? {
        log::info!("unlock: all disks open with {} already", vaults.handle.as_str());
        return Ok(Unlocked {
            keys: Keys { current, previous: None, time: time.by_vaults() },
            report,
            previous: None,
            time,
            link: network.link(),
        });
    }
    log::info!(
        "unlock: a disk does not open with {} yet: asking the vaults for {}",
        vaults.handle.as_str(),
        previous.handle.as_str()
    );
    // The time of the first key counts; the second does not set the clock again.
    let ProvedKey { dek, report: before, .. } = gather(&previous)?;
    step("unlock: previous key proved");
    Ok(Unlocked {
        keys: Keys { current, previous: Some(dek), time: time.by_vaults() },
        report,
        previous: Some(before),
        time,
        link: network.link(),
    })
}

fn gather_key(
    vaults: &Vaults,
    disks: &Disks,
    (policy, network): (&MeasuredConfig, &Network),
    deadline: Instant,
) -> Result<ProvedKey, Error> {
    let (needed, dealt) = (usize::from(vaults.threshold.get()), vaults.addresses.len());
    let threshold = Threshold::new(needed, dealt).ok_or(Error::Threshold(needed, dealt))?;
    let (channels, events) = start_clients((policy, network), vaults, deadline)?;
    KeyRecovery::new(threshold, proof(vaults), policy, vaults, channels).run(&events, disks, deadline)
}

/// What proves a candidate key: the measured commitment, or the disk when policy has none.
fn proof(vaults: &Vaults) -> KeyProof {
    match vaults.commitment {
        KeyCommitment::Sha256(commitment) => KeyProof::Commitment(Commitment(commitment)),
        KeyCommitment::None => {
            log::warn!(
                "unlock: cvm.vault.key-commitment=none: nothing proves who owns the vaults and the disk, so the host may replace both; \
                 rotate to a key with a commitment"
            );
            KeyProof::Disk
        }
    }
}

/// Starts one thread for each vault. They are not scoped: a scope would wait for the slowest vault after the key is proved. Their
/// remaining work ends with the next message to them or when the network is released; nothing is measured before.
fn start_clients(
    (policy, network): (&MeasuredConfig, &Network),
    vaults: &Vaults,
    deadline: Instant,
) -> Result<(Vec<VaultChannel>, Receiver<Event>), Error> {
    let host = linux::clock::host_unix_seconds();
    if host < policy.floors.built {
        log::warn!("unlock: the host's clock is earlier than the build of the image; verifying at the build time");
    }
    let nodes = attest::Policy {
        platforms: vaults.platforms.iter().map(|platform| platform.to_vec()).collect(),
        ..attest::Policy::of_nodes(vaults.mrenclaves.clone(), tcb_demand(&policy.line.tcb), policy.floors.clone())
    };
    let client = Arc::new(VaultClient {
        identity: ratls::Identity::guest(vaults.app).map_err(Error::Identity)?,
        node_ca: ratls::NodeCa::of(policy.node_ca.clone()),
        anchor: policy.anchor.clone(),
        nodes,
        clock: ratls::Clock { not_before: policy.floors.built, machine: host, is_trusted: false },
        collateral: collateral::CollateralSources::new(policy.line.pccs.as_ref(), network.connector()),
        handle: vaults.handle.as_str().to_owned(),
        tsm: Mutex::new(linux::tsm::Tsm::system()),
        connector: network.connector().clone(),
        deadline,
    });
    let (sender, events) = mpsc::channel();
    let mut channels = Vec::with_capacity(vaults.addresses.len());
    for (index, address) in vaults.addresses.iter().enumerate() {
        let (messages, inbox) = mpsc::channel();
        let (client, sender, address) = (Arc::clone(&client), sender.clone(), address.clone());
        let work = move || client.run(index, &address, &inbox, &sender);
        threads::spawn(&format!("vault {index}"), Box::new(work)).map_err(Error::Thread)?;
        channels.push(VaultChannel::new(messages));
    }
    Ok((channels, events))
}

fn tcb_demand(policy: &TcbPolicy) -> attest::TcbDemand {
    match policy {
        TcbPolicy::Collateral(accepted) => attest::TcbDemand::Statuses(accepted.clone()),
        TcbPolicy::Signature => attest::TcbDemand::Signature,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_that_does_not_read_in_a_trial_may_read_the_next_time() {
        let trial = |error| Error::Disk(data::Error::Read(error));
        let error = trial(linux::Error::io("read", "/dev/vdb", &std::io::ErrorKind::TimedOut.into()));
        assert_eq!((error.code().number(), error.is_transient()), (71, true));
        let foreign = Error::Disk(data::Error::Foreign);
        assert_eq!((foreign.code().number(), foreign.is_transient()), (73, false));
    }
}
