//! The key: every vault is dialled at once, those that prove themselves first are asked, and t of n shares make it.

mod dial;
mod outcome;
mod quote;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ondisk::cmdline::{Data, TcbPolicy, TcbStatus, Vaults};
use quorum::{Collector, Commitment, Dek, Progress, Quorum, Rule, Threshold};

use super::data::{self, Disk};
use super::net::Link;
use super::policy::Measured;
use crate::journal::step;
use dial::{Command, Dialer, Event};
pub(crate) use outcome::Outcome;

/// How long an asked vault may take before the next one is asked as well.
const HEDGE: Duration = Duration::from_secs(8);
/// How often the console says what is awaited.
const REPORT: Duration = Duration::from_secs(10);

/// A key that was proved, with what there is to say about how it came. Only [`gather`] makes one.
pub(crate) struct Unlocked {
    pub(crate) dek: Dek,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    TooFew(Outcome),
    #[error("{0}: denied")]
    Denied(Outcome),
    #[error("{0}: the shares make no key that fits")]
    Unproved(Outcome),
    #[error("{0}: vaults not believed")]
    NotBelieved(Outcome),
    #[error("{0}: no quote of our own")]
    OwnQuote(Outcome),
    #[error("{0}: the key's life is over")]
    Expired(Outcome),
    #[error("trying a key")]
    Disk(#[source] data::Error),
    #[error("client key")]
    Identity(#[source] vault::Error),
    #[error("a threshold of {0} of {1}")]
    Threshold(usize, usize),
}

impl Error {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::TooFew(_) => 50,
            Self::Denied(_) => 51,
            Self::Unproved(_) => 52,
            Self::NotBelieved(_) => 53,
            Self::OwnQuote(_) => 54,
            Self::Identity(_) | Self::Threshold(..) => 55,
            Self::Expired(_) => 56,
            Self::Disk(error) => error.code(),
        }
    }

    /// Vaults come back, owners grant, quoting services are restarted; a wrong build or a wrong share stays wrong.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::TooFew(_) | Self::Denied(_) | Self::OwnQuote(_))
    }
}

/// One vault as the collector's shell sees it.
struct Line {
    commands: Sender<Command>,
    asked: Option<Instant>,
}

/// Gathers shares until they make a key that `disk` or the policy proves, for as long as the policy's patience lasts.
pub(crate) fn gather(_link: &Link, disk: &Disk, policy: &Measured, wanted: &Data) -> Result<Unlocked, Error> {
    let vaults = &wanted.vaults;
    let deadline = Instant::now() + vaults.patience;
    let (needed, dealt) = (usize::from(vaults.threshold.get()), vaults.addresses.len());
    let threshold = Threshold::new(needed, dealt).ok_or(Error::Threshold(needed, dealt))?;
    let mut collector = Collector::new(threshold, rule(vaults, disk));
    let mut outcome = Outcome::new(vaults, collector.needed());
    let (mut lines, events) = dial_all(policy, vaults, deadline)?;

    let mut report = Instant::now() + REPORT;
    let quorum = loop {
        let wake = deadline.min(report).min(next_hedge(&lines).unwrap_or(deadline));
        let progress = match events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
            Ok(event) => {
                let mut trial = Trial { disk, deadline, broken: None };
                let progress = take(event, &mut collector, &mut outcome, &mut lines, &mut trial);
                if let Some(error) = trial.broken {
                    return Err(Error::Disk(error));
                }
                progress
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {
                hedge(&mut lines, &mut collector);
                collector.ask_next()
            }
            Err(RecvTimeoutError::Timeout) => Progress::Wait,
            // Every thread has ended: what is here is all there will be.
            Err(RecvTimeoutError::Disconnected) => return Err(outcome.failure(&collector)),
        };
        match ask_all(progress, &mut collector, &mut lines) {
            Some(quorum) => break quorum,
            None if Instant::now() >= deadline || outcome.is_hopeless(&collector) => return Err(outcome.failure(&collector)),
            None => {}
        }
        if Instant::now() >= report {
            report = Instant::now() + REPORT;
            let left = deadline.saturating_duration_since(Instant::now()).as_secs();
            log::info!("unlock: {}; {left} s left", outcome.progress(&collector));
        }
    };
    outcome.proved(&collector, quorum.generation);
    step("unlock: key proved");
    Ok(Unlocked { dek: quorum.dek, outcome })
}

/// What proves a candidate: the measured commitment if there is one, else the disk, else the agreement of one share more.
fn rule(vaults: &Vaults, disk: &Disk) -> Rule {
    match vaults.commit {
        Some(commitment) => Rule::Commitment(Commitment(commitment)),
        None if disk.is_blank() => Rule::Agreement,
        None => Rule::Disk,
    }
}

/// Starts a thread a vault. They are not scoped: a scope would wait for the slowest dead vault after the key is here. What a
/// thread still does then ends with the next message to it, or with the exec of the real init.
fn dial_all(policy: &Measured, vaults: &Vaults, deadline: Instant) -> Result<(Vec<Line>, Receiver<Event>), Error> {
    let host = kernel::clock::host_unix_seconds();
    if host < policy.floors.built {
        log::warn!("unlock: the host's clock is before the image was built; verifying at the build time");
    }
    let dialer = Arc::new(Dialer {
        identity: vault::Identity::guest(vaults.app).map_err(Error::Identity)?,
        anchor: policy.anchor.clone(),
        nodes: attest::Policy {
            mrenclaves: vaults.mrenclaves.clone(),
            statuses: statuses(&policy.line.tcb),
            floors: policy.floors,
        },
        now: host.max(policy.floors.built),
        handle: vaults.handle.as_str().to_owned(),
        tsm: Mutex::new(kernel::tsm::Tsm::system()),
        deadline,
    });
    let (sender, events) = mpsc::channel();
    let start = |(index, address): (usize, &ondisk::cmdline::VaultAddress)| {
        let (commands, inbox) = mpsc::channel();
        let (dialer, sender, address) = (Arc::clone(&dialer), sender.clone(), address.clone());
        std::thread::spawn(move || dialer.serve(index, &address, &inbox, &sender));
        Line { commands, asked: None }
    };
    Ok((vaults.addresses.iter().enumerate().map(start).collect(), events))
}

fn statuses(policy: &TcbPolicy) -> Vec<attest::TcbStatus> {
    let TcbPolicy::Collateral(accepted) = policy else { return Vec::new() };
    accepted
        .iter()
        .map(|status| match status {
            TcbStatus::UpToDate => attest::TcbStatus::UpToDate,
            TcbStatus::SwHardeningNeeded => attest::TcbStatus::SWHardeningNeeded,
            TcbStatus::ConfigurationNeeded => attest::TcbStatus::ConfigurationNeeded,
            TcbStatus::ConfigurationAndSwHardeningNeeded => attest::TcbStatus::ConfigurationAndSWHardeningNeeded,
            TcbStatus::OutOfDate => attest::TcbStatus::OutOfDate,
            TcbStatus::OutOfDateConfigurationNeeded => attest::TcbStatus::OutOfDateConfigurationNeeded,
            TcbStatus::TdRelaunchAdvised => attest::TcbStatus::TDRelaunchAdvised,
            TcbStatus::TdRelaunchAdvisedConfigurationNeeded => attest::TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
        })
        .collect()
}

/// Tries candidates against the disk, for as long as there is patience: a header may ask for a slow key derivation.
struct Trial<'a> {
    disk: &'a Disk,
    deadline: Instant,
    broken: Option<data::Error>,
}

impl Trial<'_> {
    fn opens(&mut self, dek: &Dek) -> bool {
        if self.broken.is_some() || Instant::now() >= self.deadline {
            return false;
        }
        match self.disk.opens(dek) {
            Ok(opens) => opens,
            Err(error) => {
                self.broken = Some(error);
                false
            }
        }
    }
}

/// Takes one event into the collector and into what will be told of the vault.
fn take(event: Event, collector: &mut Collector, outcome: &mut Outcome, lines: &mut [Line], trial: &mut Trial<'_>) -> Progress {
    match event {
        Event::Ready(index, ready) => {
            // One node behind two addresses is one vault, whatever the host makes of the addresses.
            if outcome.verified(index, &ready) {
                collector.ready(index);
            } else if let Some(line) = lines.get(index) {
                drop(line.commands.send(Command::Redial));
            }
            collector.ask_next()
        }
        Event::Served(index, share, expires_at) => {
            answered(lines, index);
            outcome.served(index, expires_at);
            collector.received(index, share, |dek| trial.opens(dek))
        }
        Event::Lost(index, error) => {
            answered(lines, index);
            outcome.lost(index, &error);
            collector.lost(index);
            collector.ask_next()
        }
    }
}

fn answered(lines: &mut [Line], index: usize) {
    if let Some(line) = lines.get_mut(index) {
        line.asked = None;
    }
}

/// Sends out every question that the collector has; returns the key when it is found.
fn ask_all(mut progress: Progress, collector: &mut Collector, lines: &mut [Line]) -> Option<Quorum> {
    loop {
        match progress {
            Progress::Done(quorum) => return Some(quorum),
            Progress::Wait => return None,
            Progress::Ask(index) => {
                if let Some(line) = lines.get_mut(index) {
                    line.asked = Some(Instant::now());
                    // A thread that has ended has said so in an event that is yet to be read.
                    drop(line.commands.send(Command::Ask));
                }
                progress = collector.ask_next();
            }
        }
    }
}

fn next_hedge(lines: &[Line]) -> Option<Instant> {
    lines.iter().filter_map(|line| line.asked).min().map(|asked| asked + HEDGE)
}

/// Counts each vault that has been asked for too long, once.
fn hedge(lines: &mut [Line], collector: &mut Collector) {
    for line in lines.iter_mut().filter(|line| line.asked.is_some_and(|asked| asked.elapsed() >= HEDGE)) {
        line.asked = None;
        collector.stalled();
    }
}
