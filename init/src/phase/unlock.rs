//! The key: every vault is dialled at once, those that prove themselves first are asked, and t of n shares make it.

mod collateral;
mod dial;
mod gathering;
mod outcome;
mod quote;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use cmdline::{Data, KeyCommitment, TcbPolicy, Vaults};
use failure::ErrorCode;
use quorum::{AgreedTime, Commitment, Dek, Rule, Threshold};

use super::data::{self, Disks, Keys};
use super::net::Network;
use super::policy::Measured;
use crate::journal::step;
use dial::{Dialer, Event};
use gathering::{Gathering, Line};
use linux::threads;
pub(crate) use outcome::Outcome;

/// Keys that were proved, with what there is to say about how they came. Only [`gather`] makes one.
pub(crate) struct Unlocked {
    pub(crate) keys: Keys,
    pub(crate) outcome: Outcome,
    /// Of the key that is rotated away from, where the disk answers to that one still.
    pub(crate) previous: Option<Outcome>,
    pub(crate) time: Time,
    /// The link that was in use; none over vsock alone.
    pub(crate) link: Option<String>,
}

/// One key that was proved.
struct Proved {
    dek: Dek,
    outcome: Outcome,
    time: AgreedTime,
}

/// What the time is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeSource {
    /// The t-th smallest time of the vaults.
    Vaults,
    /// The youngest thing that Intel signed for them: their clocks are behind it.
    Issued,
    /// The image was built later than all of that.
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

/// What time the vaults said it is.
#[derive(Debug, Clone)]
pub(crate) struct Time {
    /// Unix seconds, when the key was proved.
    pub(crate) unix_seconds: u64,
    pub(crate) source: TimeSource,
    /// By how many seconds the host's clock was ahead of every vault's, before the machine's was set; 0 between two.
    pub(crate) host_ahead: i64,
    /// Whether the machine's clock was set.
    pub(crate) stepped: bool,
}

impl Time {
    /// Sets the machine's clock where no vault agrees with it.
    fn set(agreed: AgreedTime) -> Self {
        let host = linux::clock::host_unix_seconds();
        let (host_ahead, to) = (agreed.ahead(host), agreed.correction(host));
        let stepped = to.is_some_and(|to| {
            log::warn!("unlock: the host's clock is {host_ahead} s ahead of every vault's; setting it to the nearest");
            linux::clock::set_unix_seconds(to).inspect_err(|error| log::warn!("unlock: {error}")).is_ok()
        });
        Self { unix_seconds: agreed.unix_seconds, source: agreed.source.into(), host_ahead, stepped }
    }

    /// The time in Unix seconds, unless only the host says so.
    fn by_vaults(&self) -> Option<u64> {
        (self.source != TimeSource::Host).then_some(self.unix_seconds)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    TooFew(Box<Outcome>),
    #[error("{0}: denied")]
    Denied(Box<Outcome>),
    #[error("{0}: the shares make no key that fits")]
    Unproved(Box<Outcome>),
    #[error("{0}: vaults not believed")]
    NotBelieved(Box<Outcome>),
    #[error("{0}: vaults' collateral is missing or out of date")]
    Stale(Box<Outcome>),
    #[error("{0}: no evidence of our own that a vault takes")]
    OwnQuote(Box<Outcome>),
    #[error("{0}: the key's life is over")]
    Expired(Box<Outcome>),
    #[error("trying a key")]
    Disk(#[source] data::Error),
    #[error("client key")]
    Identity(#[source] ratls::Error),
    #[error("thread")]
    Thread(#[source] linux::Error),
    #[error("a threshold of {0} of {1}")]
    Threshold(usize, usize),
}

impl Error {
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::TooFew(_) => ErrorCode::TooFewShares,
            Self::Denied(_) => ErrorCode::Denied,
            Self::Unproved(_) => ErrorCode::KeyUnproved,
            Self::NotBelieved(_) => ErrorCode::VaultsUntrusted,
            Self::OwnQuote(_) => ErrorCode::OwnEvidence,
            Self::Identity(_) | Self::Thread(_) | Self::Threshold(..) => ErrorCode::UnlockSetup,
            Self::Expired(_) => ErrorCode::KeyExpired,
            Self::Stale(_) => ErrorCode::CollateralStale,
            Self::Disk(error) => error.code(),
        }
    }

    /// What was answered at an address changes nothing: another node may be the next to answer there. So only what fails here is final:
    /// so many vaults that are not dialled any more that the others are too few.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::TooFew(outcome)
            | Self::Denied(outcome)
            | Self::Unproved(outcome)
            | Self::NotBelieved(outcome)
            | Self::Stale(outcome)
            | Self::OwnQuote(outcome)
            | Self::Expired(outcome) => !outcome.is_hopeless(),
            // A disk that does not read while a key is tried on it may read the next time.
            Self::Disk(error) => error.is_transient(),
            Self::Identity(_) | Self::Thread(_) | Self::Threshold(..) => false,
        }
    }
}

/// Gathers shares until they make the key that policy commits to, until `deadline`. Where the
/// policy names a previous key and the disk does not answer to the current one's key yet, gathers that one as well.
pub(crate) fn gather(
    network: &Network,
    disks: &Disks,
    policy: &Measured,
    wanted: &Data,
    deadline: Instant,
) -> Result<Unlocked, Error> {
    let vaults = &wanted.vaults;
    let gather = |vaults| gather_key(vaults, disks, (policy, network), deadline);
    let Proved { dek: current, outcome, time } = gather(vaults)?;
    let time = Time::set(time);
    step("unlock: key proved");
    let Some(previous) = vaults.previous_vaults().filter(|_| disks.are_formatted()) else {
        return Ok(Unlocked {
            keys: Keys { current, previous: None, time: time.by_vaults() },
            outcome,
            previous: None,
            time,
            link: network.link(),
        });
    };
    if disks.all_answer(&current).map_err(Error::Disk)? {
        log::info!("unlock: the disks answer to {} already", vaults.handle.as_str());
        return Ok(Unlocked {
            keys: Keys { current, previous: None, time: time.by_vaults() },
            outcome,
            previous: None,
            time,
            link: network.link(),
        });
    }
    log::info!("unlock: a disk does not answer to {} yet: asking for {}", vaults.handle.as_str(), previous.handle.as_str());
    // The first time is the one that counts: nothing is set by another.
    let Proved { dek, outcome: before, .. } = gather(&previous)?;
    step("unlock: previous key proved");
    Ok(Unlocked {
        keys: Keys { current, previous: Some(dek), time: time.by_vaults() },
        outcome,
        previous: Some(before),
        time,
        link: network.link(),
    })
}

fn gather_key(
    vaults: &Vaults,
    disks: &Disks,
    (policy, network): (&Measured, &Network),
    deadline: Instant,
) -> Result<Proved, Error> {
    let (needed, dealt) = (usize::from(vaults.threshold.get()), vaults.addresses.len());
    let threshold = Threshold::new(needed, dealt).ok_or(Error::Threshold(needed, dealt))?;
    let (lines, events) = dial_all((policy, network), vaults, deadline)?;
    Gathering::new(threshold, rule(vaults), policy, vaults, lines).run(&events, disks, deadline)
}

/// What proves a candidate: the measured commitment, unless policy says that there is none.
fn rule(vaults: &Vaults) -> Rule {
    match vaults.commitment {
        KeyCommitment::Sha256(commitment) => Rule::Commitment(Commitment(commitment)),
        KeyCommitment::None => {
            log::warn!(
                "unlock: cvm.vault.commit=none: nothing tells the owner's vaults from others of the same build, nor the owner's disk \
                 from the host's; rotate to a key with a commitment"
            );
            Rule::Disk
        }
    }
}

/// Starts a thread a vault. They are not scoped: a scope would wait for the slowest dead vault after the key is here. What a
/// thread still does then ends with the next message to it, or when the network is released; nothing is measured before.
fn dial_all(
    (policy, network): (&Measured, &Network),
    vaults: &Vaults,
    deadline: Instant,
) -> Result<(Vec<Line>, Receiver<Event>), Error> {
    let host = linux::clock::host_unix_seconds();
    if host < policy.floors.built {
        log::warn!("unlock: the host's clock is before the image was built; verifying at the build time");
    }
    let nodes = attest::Policy {
        platforms: vaults.platforms.iter().map(|platform| platform.to_vec()).collect(),
        ..attest::Policy::of_nodes(vaults.mrenclaves.clone(), demand(&policy.line.tcb), policy.floors.clone())
    };
    let dialer = Arc::new(Dialer {
        identity: ratls::Identity::guest(vaults.app).map_err(Error::Identity)?,
        node_ca: ratls::NodeCa::of(policy.node_ca.clone()),
        anchor: policy.anchor.clone(),
        nodes,
        clock: ratls::Clock { not_before: policy.floors.built, machine: host, is_trusted: false },
        collateral: collateral::Sources::new(policy.line.pccs.as_ref(), network.reach()),
        handle: vaults.handle.as_str().to_owned(),
        tsm: Mutex::new(linux::tsm::Tsm::system()),
        reach: network.reach().clone(),
        deadline,
    });
    let (sender, events) = mpsc::channel();
    let mut lines = Vec::with_capacity(vaults.addresses.len());
    for (index, address) in vaults.addresses.iter().enumerate() {
        let (messages, inbox) = mpsc::channel();
        let (dialer, sender, address) = (Arc::clone(&dialer), sender.clone(), address.clone());
        let work = move || dialer.serve(index, &address, &inbox, &sender);
        threads::spawn(&format!("vault {index}"), Box::new(work)).map_err(Error::Thread)?;
        lines.push(Line::new(messages));
    }
    Ok((lines, events))
}

fn demand(policy: &TcbPolicy) -> attest::TcbDemand {
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
