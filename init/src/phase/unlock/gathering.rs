//! One gathering of shares: events of the vaults' threads in, questions to them out, a proved key in the end.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use ondisk::cmdline::{Handle, Vaults};
use quorum::{Collector, Dek, Progress, Quorum, Rule, Share, Threshold};

use super::dial::{Command, Event, Ready};
use super::outcome::Outcome;
use super::time::TimeQuorum;
use super::{Disks, Error, Measured, Proved, Time, data};
use crate::watchdog;

/// How long a vault that has our quote may take before the next one is asked as well. Vaults answer in milliseconds, and the
/// price of asking one too many is a quote.
const HEDGE: Duration = Duration::from_millis(500);
/// How often the console says what is awaited.
const REPORT: Duration = Duration::from_secs(5);
/// How far the host's clock may be from the vaults' and is left alone, in seconds: they count in minutes, it counts finer.
const AGREES: std::ops::RangeInclusive<i64> = -5..=65;

/// One vault as the gathering sees it.
pub(super) struct Line {
    commands: Sender<Command>,
    /// Since when it has our quote and owes an answer.
    presented: Option<Instant>,
    /// From when until when its evidence is valid, Unix seconds; once it was verified.
    valid: Option<(u64, u64)>,
    /// Its share, until the time is known at which its evidence must be valid.
    held: Option<Share>,
    /// Verified, and waiting for the time to be known.
    parked: bool,
}

impl Line {
    pub(super) fn new(commands: Sender<Command>) -> Self {
        Self { commands, presented: None, valid: None, held: None, parked: false }
    }

    fn is_valid_at(&self, time: u64) -> bool {
        self.valid.is_some_and(|(from, until)| (from..=until).contains(&time))
    }
}

/// Shares on their way to a key.
pub(super) struct Gathering {
    collector: Collector,
    outcome: Outcome,
    lines: Vec<Line>,
    time: TimeQuorum,
}

impl Gathering {
    pub(super) fn new(
        threshold: Threshold,
        rule: Rule,
        policy: &Measured,
        (vaults, handle): (&Vaults, &Handle),
        lines: Vec<Line>,
    ) -> Self {
        let collector = Collector::new(threshold, rule);
        let outcome = Outcome::new(vaults, handle, &policy.line.tcb, collector.needed());
        let time = TimeQuorum::new(threshold.needed(), threshold.dealt(), policy.floors.built);
        Self { collector, outcome, lines, time }
    }

    /// Gathers until a key is proved or there is no hope or no patience left.
    pub(super) fn run(mut self, events: &Receiver<Event>, disks: &Disks, deadline: Instant) -> Result<Proved, Error> {
        let mut report = Instant::now() + REPORT;
        loop {
            watchdog::alive();
            let wake = deadline.min(report).min(self.next_hedge().unwrap_or(deadline));
            let mut trial = Trial { disks, deadline, broken: None };
            match events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => self.hedge(),
                // Every thread has ended: what is here is all there will be.
                Err(RecvTimeoutError::Disconnected) => return Err(self.outcome.failure(&self.collector)),
            }
            let quorum = self.settle(&mut trial);
            if let Some(error) = trial.broken {
                return Err(Error::Disk(error));
            }
            if let Some(quorum) = quorum {
                return Ok(self.proved(quorum));
            }
            if Instant::now() >= deadline || self.outcome.is_hopeless(&self.collector) {
                return Err(self.outcome.failure(&self.collector));
            }
            if Instant::now() >= report {
                report = Instant::now() + REPORT;
                let left = deadline.saturating_duration_since(Instant::now()).as_secs();
                log::info!("unlock: {}; {left} s left", self.outcome.progress());
            }
        }
    }

    /// Takes one event into the collector and into what will be told of the vault.
    fn take(&mut self, event: Event) {
        match event {
            Event::Ready(index, ready) => self.ready(index, &ready),
            Event::Presented(index) => {
                if let Some(line) = self.lines.get_mut(index) {
                    line.presented = Some(Instant::now());
                }
            }
            Event::Served(index, share, expires_at) => {
                self.outcome.served(index, expires_at);
                if let Some(line) = self.lines.get_mut(index) {
                    line.presented = None;
                    line.held = Some(share);
                }
            }
            Event::Lost(index, error, may_pass) => {
                self.outcome.lost(index, &error, may_pass);
                self.collector.lost(index);
                if let Some(line) = self.lines.get_mut(index) {
                    (line.presented, line.parked) = (None, false);
                }
            }
        }
    }

    fn ready(&mut self, index: usize, ready: &Ready) {
        let Some(line) = self.lines.get_mut(index) else { return };
        // One node behind two addresses is one vault, whatever the host makes of the addresses.
        if !self.outcome.verified(index, ready) {
            drop(line.commands.send(Command::Redial(super::dial::Why::SameNode)));
            return;
        }
        let valid = ready.node.valid();
        self.time.heard(index, ready.time.unix_seconds(), valid.0, ready.at);
        line.valid = Some(valid);
        line.parked = true;
    }

    /// Lets vaults and shares in whose evidence is valid at the time that is known by now, and asks whom the collector wants.
    fn settle(&mut self, trial: &mut Trial<'_>) -> Option<Quorum> {
        let known = self.time.at(Instant::now()).map(|(time, _)| time);
        // A node that is valid by the host's clock may be shown our quote before the time is known; its share waits.
        let likely = known.unwrap_or_else(kernel::clock::host_unix_seconds);
        for (index, line) in self.lines.iter_mut().enumerate().filter(|(_, line)| line.parked) {
            if line.is_valid_at(likely) {
                line.parked = false;
                self.collector.ready(index);
            } else if known.is_some() {
                line.parked = false;
                drop(line.commands.send(Command::Redial(super::dial::Why::Stale)));
            }
        }
        for index in 0..self.lines.len() {
            let share = match (known, self.lines.get_mut(index)) {
                (Some(time), Some(line)) if line.is_valid_at(time) => line.held.take(),
                (Some(_), Some(line)) if line.held.is_some() => {
                    // Kept: with the word of more vaults the time can only become earlier.
                    self.outcome.stale(index);
                    None
                }
                _ => None,
            };
            let Some(share) = share else { continue };
            self.outcome.fresh(index);
            if let Some(quorum) = self.asking(|collector| collector.received(index, share, |dek| trial.opens(dek))) {
                return Some(quorum);
            }
        }
        self.asking(Collector::ask_next)
    }

    /// Takes a step of the collector and sends out every question that it has then; returns the key when it is found.
    fn asking(&mut self, step: impl FnOnce(&mut Collector) -> Progress) -> Option<Quorum> {
        let mut progress = step(&mut self.collector);
        loop {
            match progress {
                Progress::Done(quorum) => return Some(quorum),
                Progress::Wait => return None,
                Progress::Ask(index) => {
                    if let Some(line) = self.lines.get(index) {
                        // A thread that has ended has said so in an event that is yet to be read.
                        drop(line.commands.send(Command::Ask));
                    }
                    self.outcome.asked(index);
                    progress = self.collector.ask_next();
                }
            }
        }
    }

    fn next_hedge(&self) -> Option<Instant> {
        self.lines.iter().filter_map(|line| line.presented).min().map(|presented| presented + HEDGE)
    }

    /// Counts each vault that owes an answer for too long, once.
    fn hedge(&mut self) {
        let stalled = |line: &&mut Line| line.presented.is_some_and(|presented| presented.elapsed() >= HEDGE);
        for line in self.lines.iter_mut().filter(stalled) {
            line.presented = None;
            self.collector.stalled();
        }
    }

    /// The last words on every vault, and the machine's clock set by theirs.
    fn proved(mut self, quorum: Quorum) -> Proved {
        let host = kernel::clock::host_unix_seconds();
        let (unix_seconds, source) = self.time.at(Instant::now()).unwrap_or((host, super::TimeSource::Host));
        let ahead = i64::try_from(host).unwrap_or(i64::MAX).saturating_sub_unsigned(unix_seconds);
        let mut stepped = false;
        if !AGREES.contains(&ahead) {
            log::warn!("unlock: the host's clock is off by {ahead} s; setting the vaults' time");
            match kernel::clock::set_unix_seconds(unix_seconds) {
                Ok(()) => stepped = true,
                Err(error) => log::warn!("unlock: {error}"),
            }
        }
        self.outcome.proved(&self.collector, quorum.generation, unix_seconds);
        Proved { dek: quorum.dek, outcome: self.outcome, time: Time { unix_seconds, source, host_ahead: ahead, stepped } }
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
