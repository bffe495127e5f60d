//! One gathering of shares: events of the vaults' threads in, what to tell them out, a proved key in the end. What follows from an
//! event is `quorum`'s to say; clocks, channels and the console are here.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use cmdline::{Distinct, Vaults};
use quorum::{AgreedTime, Command, Dek, Node, Quorum, RedialReason, Rule, ShareCollection, Step, Threshold};

use super::dial::{Event, Message, Ready};
use super::outcome::Outcome;
use super::{Disks, Error, Measured, Proved, data};
use crate::watchdog;

/// How long a vault that has our quote may take before the next one is asked as well. Its attestation server judges the quote meanwhile,
/// and the price of asking one too many is a quote.
const HEDGE: Duration = Duration::from_secs(2);
/// How often the console says what is awaited.
const REPORT: Duration = Duration::from_secs(5);

/// One vault as the gathering sees it.
pub(super) struct Line {
    messages: Sender<Message>,
    /// The connection at which it is ready, or was asked: that of its thread, as far as is known here.
    connection: u32,
    /// Since when it has our quote and owes an answer.
    presented: Option<Instant>,
}

impl Line {
    pub(super) fn new(messages: Sender<Message>) -> Self {
        Self { messages, connection: 0, presented: None }
    }
}

/// Shares on their way to a key.
pub(super) struct Gathering {
    collection: ShareCollection,
    outcome: Outcome,
    lines: Vec<Line>,
    distinct: Distinct,
    /// From which the collection counts.
    start: Instant,
}

impl Gathering {
    pub(super) fn new(threshold: Threshold, rule: Rule, policy: &Measured, vaults: &Vaults, lines: Vec<Line>) -> Self {
        Self {
            collection: ShareCollection::new(threshold, rule, policy.floors.built),
            outcome: Outcome::new(vaults, &policy.line.tcb, rule),
            lines,
            distinct: vaults.distinct,
            start: Instant::now(),
        }
    }

    /// Gathers until a key is proved or there is no hope or no patience left.
    pub(super) fn run(mut self, events: &Receiver<Event>, disks: &Disks, deadline: Instant) -> Result<Proved, Error> {
        let mut report = Instant::now() + REPORT;
        loop {
            watchdog::alive();
            let wake = deadline.min(report).min(self.next_hedge().unwrap_or(deadline));
            let mut trial = Trial { disks, deadline, broken: None };
            let key = match events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(event) => self.take(event, &mut trial),
                Err(RecvTimeoutError::Timeout) => self.hedge(),
                // Every thread has ended: what is here is all there will be.
                Err(RecvTimeoutError::Disconnected) => return Err(self.failure()),
            };
            if let Some(error) = trial.broken {
                return Err(Error::Disk(error));
            }
            if let Some((quorum, time)) = key {
                self.outcome.proved(self.collection.fates(), quorum.generation, time.unix_seconds);
                return Ok(Proved { dek: quorum.dek, outcome: self.outcome, time });
            }
            if Instant::now() >= deadline || self.collection.is_hopeless() {
                return Err(self.failure());
            }
            if Instant::now() >= report {
                report = Instant::now() + REPORT;
                let left = deadline.saturating_duration_since(Instant::now()).as_secs();
                log::info!("unlock: {}; {left} s left", self.outcome.progress(self.collection.shares(self.start.elapsed())));
            }
        }
    }

    /// Takes one event into the collection and into what will be told of the vault; returns the key when it is found.
    fn take(&mut self, event: Event, trial: &mut Trial<'_>) -> Option<(Quorum, AgreedTime)> {
        let (index, event) = match event {
            Event::Presented(index) => {
                self.owes(index, Some(Instant::now()));
                return None;
            }
            Event::Ready(index, ready) => {
                self.outcome.verified(index, &ready);
                if let Some(line) = self.lines.get_mut(index) {
                    line.connection = ready.connection;
                }
                (index, quorum::Event::Verified(self.node(&ready)))
            }
            Event::Served(index, share, expires_at) => {
                self.owes(index, None);
                self.outcome.served(index, expires_at);
                (index, quorum::Event::Served(share))
            }
            Event::Lost(index, error, is_transient) => {
                self.owes(index, None);
                self.outcome.lost(index, &error, is_transient);
                (index, if is_transient { quorum::Event::Lost } else { quorum::Event::Ended })
            }
        };
        let step = self.collection.take(index, event, self.start.elapsed(), |dek| trial.opens(dek));
        self.tell(step)
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

    /// Sends out what the collection wants done.
    fn tell(&mut self, step: Step) -> Option<(Quorum, AgreedTime)> {
        for (index, command) in step.commands {
            match command {
                Command::Ask => self.outcome.asked(index),
                Command::Redial(RedialReason::Stale) => self.outcome.stale(index),
                Command::Redial(RedialReason::Unfit) => self.outcome.unfit(index),
                Command::Redial(RedialReason::SameNode) => {} // its thread says so
            }
            if let Some(line) = self.lines.get(index) {
                // A thread that has ended has said so in an event that is yet to be read.
                drop(line.messages.send((line.connection, command)));
            }
        }
        step.key
    }

    fn owes(&mut self, index: usize, since: Option<Instant>) {
        if let Some(line) = self.lines.get_mut(index) {
            line.presented = since;
        }
    }

    fn next_hedge(&self) -> Option<Instant> {
        self.lines.iter().filter_map(|line| line.presented).min().map(|presented| presented + HEDGE)
    }

    /// Counts each vault that owes an answer for too long, once.
    fn hedge(&mut self) -> Option<(Quorum, AgreedTime)> {
        let stalled = |line: &&mut Line| line.presented.is_some_and(|presented| presented.elapsed() >= HEDGE);
        let slow = self.lines.iter_mut().filter(stalled).map(|line| line.presented = None).count();
        (0..slow).find_map(|_| {
            let step = self.collection.stalled();
            self.tell(step)
        })
    }

    /// Why no key was found.
    fn failure(self) -> Error {
        self.outcome.failure(self.collection.shares(self.start.elapsed()), self.collection.is_hopeless())
    }
}

/// Tries candidates against the disks, for as long as there is patience: a header may ask for a slow key derivation.
struct Trial<'a> {
    disks: &'a Disks,
    deadline: Instant,
    broken: Option<data::Error>,
}

impl Trial<'_> {
    fn opens(&mut self, dek: &Dek) -> bool {
        if self.broken.is_some() || Instant::now() >= self.deadline {
            return false;
        }
        match self.disks.prove(dek) {
            Ok(answers) => answers,
            Err(error) => {
                self.broken = Some(error);
                false
            }
        }
    }
}
