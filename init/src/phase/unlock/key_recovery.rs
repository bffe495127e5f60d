//! Collects shares until a key is proved: passes events of the vaults' threads to [`ShareCollection`], which decides, and its
//! commands to the threads. Clocks, channels and console messages are here.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use cmdline::{Distinct, Vaults};
use quorum::{AgreedTime, Command, Dek, KeyProof, Node, RecoveredKey, RedialReason, ShareCollection, Step, Threshold};

use super::report::UnlockReport;
use super::vault_client::{Event, Message, Ready};
use super::{Disks, Error, MeasuredConfig, ProvedKey, data};
use crate::watchdog;

/// How long a vault that has this machine's quote may take before the next vault is asked as well. Its attestation server
/// verifies the quote meanwhile; asking one vault too many costs a quote.
const HEDGE: Duration = Duration::from_secs(2);
/// How often the console reports the wait.
const REPORT: Duration = Duration::from_secs(5);

/// The channel to the thread of one vault.
pub(super) struct VaultChannel {
    messages: Sender<Message>,
    /// The number of the connection on which the vault is ready or was asked.
    connection: u32,
    /// When the vault got the quote that it has not answered yet.
    presented: Option<Instant>,
}

impl VaultChannel {
    pub(super) fn new(messages: Sender<Message>) -> Self {
        Self { messages, connection: 0, presented: None }
    }
}

/// The recovery of one key.
pub(super) struct KeyRecovery {
    collection: ShareCollection,
    report: UnlockReport,
    channels: Vec<VaultChannel>,
    distinct: Distinct,
    /// The clock of the collection starts here.
    start: Instant,
}

impl KeyRecovery {
    pub(super) fn new(
        threshold: Threshold,
        proof: KeyProof,
        policy: &MeasuredConfig,
        vaults: &Vaults,
        channels: Vec<VaultChannel>,
    ) -> Self {
        Self {
            collection: ShareCollection::new(threshold, proof, policy.floors.built),
            report: UnlockReport::new(vaults, &policy.line.tcb, proof),
            channels,
            distinct: vaults.distinct,
            start: Instant::now(),
        }
    }

    /// Runs until a key is proved, the deadline has passed or no key is possible any more.
    pub(super) fn run(mut self, events: &Receiver<Event>, disks: &Disks, deadline: Instant) -> Result<ProvedKey, Error> {
        let mut report = Instant::now() + REPORT;
        loop {
            watchdog::keepalive();
            let wake = deadline.min(report).min(self.next_hedge().unwrap_or(deadline));
            let mut check = KeyCheck { disks, deadline, broken: None };
            let key = match events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(event) => self.handle(event, &mut check),
                Err(RecvTimeoutError::Timeout) => self.hedge(),
                // Every thread has ended: no more shares will come.
                Err(RecvTimeoutError::Disconnected) => return Err(self.failure()),
            };
            if let Some(error) = check.broken {
                return Err(Error::Disk(error));
            }
            if let Some((recovered, time)) = key {
                self.report.proved(self.collection.statuses(), recovered.share_set_id, time.unix_seconds);
                return Ok(ProvedKey { dek: recovered.dek, report: self.report, time });
            }
            if Instant::now() >= deadline || self.collection.is_impossible() {
                return Err(self.failure());
            }
            if Instant::now() >= report {
                report = Instant::now() + REPORT;
                let left = deadline.saturating_duration_since(Instant::now()).as_secs();
                log::info!("unlock: {}; {left} s left", self.report.progress(self.collection.shares(self.start.elapsed())));
            }
        }
    }

    /// Handles one event in collection and report; returns the key when it is proved.
    fn handle(&mut self, event: Event, check: &mut KeyCheck<'_>) -> Option<(RecoveredKey, AgreedTime)> {
        let (index, event) = match event {
            Event::Presented(index) => {
                self.set_presented(index, Some(Instant::now()));
                self.report.presented(index);
                return None;
            }
            Event::Ready(index, ready) => {
                self.report.verified(index, &ready);
                if let Some(vault) = self.channels.get_mut(index) {
                    vault.connection = ready.connection;
                }
                (index, quorum::Event::Verified(self.node(&ready)))
            }
            Event::Served(index, share, expires_at) => {
                self.set_presented(index, None);
                self.report.served(index, expires_at);
                (index, quorum::Event::Served(share))
            }
            Event::Lost(index, error, is_transient) => {
                self.set_presented(index, None);
                self.report.lost(index, &error, is_transient);
                (index, if is_transient { quorum::Event::Lost } else { quorum::Event::Ended })
            }
        };
        let step = self.collection.handle(index, event, self.start.elapsed(), |dek| check.verify(dek));
        self.send_commands(step)
    }

    fn node(&self, ready: &Ready) -> Node {
        Node {
            identity: match self.distinct {
                Distinct::Key => ready.key.to_vec(),
                Distinct::Platform => ready.node.platform().to_vec(),
            },
            valid: ready.node.valid(),
            issued: ready.node.issued(),
            quote_time: ready.time.unix_seconds(),
            at: ready.at.saturating_duration_since(self.start),
        }
    }

    /// Sends the collection's commands to the threads.
    fn send_commands(&mut self, step: Step) -> Option<(RecoveredKey, AgreedTime)> {
        for (index, command) in step.commands {
            match command {
                Command::Ask => self.report.asked(index),
                Command::Redial(RedialReason::Stale) => self.report.stale(index),
                Command::Redial(RedialReason::Unfit) => self.report.unfit(index),
                Command::Redial(RedialReason::SameNode) => {} // its thread reports this itself
            }
            if let Some(vault) = self.channels.get(index) {
                // The event of a thread that has ended is still in the queue.
                drop(vault.messages.send((vault.connection, command)));
            }
        }
        step.key
    }

    fn set_presented(&mut self, index: usize, since: Option<Instant>) {
        if let Some(vault) = self.channels.get_mut(index) {
            vault.presented = since;
        }
    }

    fn next_hedge(&self) -> Option<Instant> {
        self.channels.iter().filter_map(|vault| vault.presented).min().map(|presented| presented + HEDGE)
    }

    /// Asks one more vault for each that has taken too long, once for each.
    fn hedge(&mut self) -> Option<(RecoveredKey, AgreedTime)> {
        let stalled = |vault: &&mut VaultChannel| vault.presented.is_some_and(|presented| presented.elapsed() >= HEDGE);
        let slow = self.channels.iter_mut().filter(stalled).map(|vault| vault.presented = None).count();
        (0..slow).find_map(|_| {
            let step = self.collection.stalled();
            self.send_commands(step)
        })
    }

    /// Why no key was recovered.
    fn failure(self) -> Error {
        self.report.failure(self.collection.shares(self.start.elapsed()), self.collection.is_impossible())
    }
}

/// Tries candidate keys on the disks until the deadline: a header may demand a slow key derivation.
struct KeyCheck<'a> {
    disks: &'a Disks,
    deadline: Instant,
    broken: Option<data::Error>,
}

impl KeyCheck<'_> {
    fn verify(&mut self, dek: &Dek) -> bool {
        if self.broken.is_some() || Instant::now() >= self.deadline {
            return false;
        }
        match self.disks.verify_key_on_any(dek) {
            Ok(answers) => answers,
            Err(error) => {
                self.broken = Some(error);
                false
            }
        }
    }
}
