//! One collection of shares: what the vaults' connections report goes in, what to tell them comes out, a proved key in the end.
//!
//! The host leads any connection to any node, so an address says nothing of who answers, and what one node said says nothing of who
//! answers there next. Hence three rules. A node counts once, by what makes it that node. A node's time counts once it took our
//! evidence: one without trusted time of its own serves an old one, and takes none. A share that makes no key is no end: its address
//! is dialled again. No clock, no socket, no thread.

use std::time::Duration;

use crate::time::{AgreedTime, Voice};
use crate::{Collector, Dek, Fate, Progress, Quorum, Rule, Share, Threshold};

/// A node that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What makes it this node: its key, or its platform.
    pub identity: Vec<u8>,
    /// From when until when its evidence is valid, Unix seconds.
    pub valid: (u64, u64),
    /// Its evidence did not exist before: Unix seconds, of what Intel signed and of nothing that a node or its authority says.
    pub issued: u64,
    /// Its clock, Unix seconds.
    pub quote_time: u64,
    /// When it said so, by the caller's monotonic clock.
    pub at: Duration,
}

impl Node {
    fn is_valid_at(&self, time: u64) -> bool {
        let (from, until) = self.valid;
        (from..=until).contains(&time)
    }

    fn voice(&self) -> Voice {
        Voice { at: self.at, unix_seconds: self.quote_time, issued: self.issued }
    }
}

/// What is reported of a vault.
pub enum Event {
    /// A node proved itself at its address, and waits to be asked.
    Verified(Node),
    /// That node took our evidence.
    Accepted,
    /// It gave a share, and its connection waits to be told what next.
    Served(Share),
    /// The connection is over, and the address is dialled again.
    Lost,
    /// The address is never dialled again in this boot.
    Ended,
}

/// What to tell a vault's connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Show our evidence, and fetch the share.
    Ask,
    /// Hang up, and dial again after a pause.
    Redial(RedialReason),
}

/// Why a node is of no use for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedialReason {
    /// Another vault of the list is the same node. The address may lead elsewhere later.
    SameNode,
    /// Its evidence is not valid at the time that the vaults agree on. It may fetch newer collateral.
    Stale,
    /// Its share makes no key with the others. Another node may answer next time, there or elsewhere.
    Unfit,
}

/// What an event led to.
#[derive(Default)]
pub struct Step {
    /// What to tell which vault, in this order.
    pub commands: Vec<(usize, Command)>,
    /// The key, once it is proved.
    pub key: Option<Quorum>,
}

/// One vault of the list.
#[derive(Default)]
struct Slot {
    /// The node at the other end of the connection, until it served.
    connected: Option<Node>,
    /// It took our evidence.
    accepted: bool,
    /// The node whose share is here, held or with the collector.
    served: Option<Node>,
    /// Its share, until its evidence is known to be valid.
    held: Option<Share>,
    /// Its connection waits to be told what next.
    idle: bool,
    /// It is not dialled again.
    ended: bool,
}

impl Slot {
    /// The node whose time counts: one that took our evidence and was not lost since.
    fn voice(&self) -> Option<&Node> {
        self.served.as_ref().or(self.connected.as_ref().filter(|_| self.accepted))
    }

    fn is(&self, identity: &[u8]) -> bool {
        [&self.connected, &self.served].into_iter().flatten().any(|node| node.identity == identity)
    }
}

/// Shares on their way to a key.
pub struct ShareCollection {
    collector: Collector,
    slots: Vec<Slot>,
    built: u64,
}

impl ShareCollection {
    /// Starts with no vault heard of; `built`: it is not earlier, Unix seconds.
    #[must_use]
    pub fn new(threshold: Threshold, rule: Rule, built: u64) -> Self {
        let slots = (0..threshold.dealt()).map(|_| Slot::default()).collect();
        Self { collector: Collector::new(threshold, rule), slots, built }
    }

    /// What became of each vault, as far as the shares say.
    #[must_use]
    pub fn fates(&self) -> &[Fate] {
        self.collector.fates()
    }

    /// How many vaults' shares are here that were looked at, good or bad.
    #[must_use]
    pub fn shares(&self) -> usize {
        self.collector.shares()
    }

    /// The time, once enough nodes took our evidence; `now` by the caller's monotonic clock.
    #[must_use]
    pub fn time(&self, now: Duration) -> Option<AgreedTime> {
        let voices: Vec<Voice> = distinct(self.slots.iter().filter_map(Slot::voice)).into_iter().map(Node::voice).collect();
        AgreedTime::of(&voices, self.collector.needed(), self.built, now)
    }

    /// How many nodes' words on the time are here, or come from a node that is being asked.
    fn voices_to_come(&self) -> usize {
        let asked = self.slots.iter().zip(self.fates()).filter(|(_, fate)| **fate == Fate::Asked);
        let asked = asked.filter_map(|(slot, _)| slot.connected.as_ref());
        distinct(self.slots.iter().filter_map(Slot::voice).chain(asked)).len()
    }

    /// Whether nothing that may still arrive makes a key: fewer vaults than it takes are dialled. What any of them said counts for
    /// nothing here, since another node may be the next to answer at that address.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.slots.iter().filter(|slot| !slot.ended).count() < self.collector.needed()
    }

    /// A vault that was asked is slow: one more than needed may be asked.
    pub fn stalled(&mut self) -> Step {
        self.collector.stalled();
        let mut step = Step::default();
        self.ask(&mut step);
        step
    }

    /// Takes what is reported of a vault at `now`. `opens` tries a candidate against the disk; it is called only under
    /// [`Rule::Disk`].
    pub fn take(&mut self, vault: usize, event: Event, now: Duration, opens: impl FnMut(&Dek) -> bool) -> Step {
        let mut step = Step::default();
        match event {
            Event::Verified(node) => self.verified(vault, node, &mut step),
            Event::Accepted => self.change(vault, |slot| slot.accepted = true),
            Event::Served(share) => self.change(vault, |slot| {
                slot.served = slot.connected.take();
                (slot.accepted, slot.held, slot.idle) = (false, Some(share), true);
            }),
            Event::Lost | Event::Ended => {
                let ended = matches!(event, Event::Ended);
                self.change(vault, |slot| (slot.connected, slot.accepted, slot.idle, slot.ended) = (None, false, false, ended));
                self.collector.lost(vault);
            }
        }
        self.settle(now, opens, &mut step);
        if step.key.is_none() {
            self.ask(&mut step);
        }
        step
    }

    /// One node behind two addresses is one vault. Where it is the share's of another address, that address is free for its own.
    fn verified(&mut self, vault: usize, node: Node, step: &mut Step) {
        let others = (0..self.slots.len()).filter(|other| *other != vault);
        let same = others.into_iter().find(|other| self.slots.get(*other).is_some_and(|slot| slot.is(&node.identity)));
        if let Some(other) = same {
            self.redial(other, RedialReason::SameNode, step);
            if self.is_outdated_by(other, &node) {
                self.change(other, |slot| (slot.served, slot.held) = (None, None));
                self.collector.lost(other);
                return self.verified(vault, node, step);
            }
            step.commands.push((vault, Command::Redial(RedialReason::SameNode)));
        } else {
            self.change(vault, |slot| (slot.connected, slot.accepted, slot.idle) = (Some(node), false, false));
            self.collector.ready(vault);
        }
    }

    /// Whether a share that `node` gave over another connection waits for its evidence to become valid, and the evidence of this
    /// connection is valid at other times. The share would keep the node out otherwise: the host led a dial to it with old collateral.
    fn is_outdated_by(&self, other: usize, node: &Node) -> bool {
        let Some(slot) = self.slots.get(other).filter(|slot| slot.held.is_some() && slot.connected.is_none()) else {
            return false;
        };
        slot.served.as_ref().is_some_and(|served| !served.is_valid_at(node.valid.0) || !served.is_valid_at(node.valid.1))
    }

    /// Looks at shares whose evidence is valid at the time that is known by now, and frees the addresses of those that are of no use.
    fn settle(&mut self, now: Duration, mut opens: impl FnMut(&Dek) -> bool, step: &mut Step) {
        let Some(time) = self.time(now).map(|time| time.unix_seconds) else { return };
        let mut looked_at = false;
        for vault in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(vault) else { continue };
            if !slot.served.as_ref().is_some_and(|node| node.is_valid_at(time)) {
                // Kept: with the word of more vaults the time can become earlier.
                if slot.held.is_some() {
                    // It is not coming any more, unless another connection is being asked.
                    if slot.connected.is_none() {
                        self.collector.lost(vault);
                    }
                    self.redial(vault, RedialReason::Stale, step);
                }
                continue;
            }
            let Some(share) = slot.held.take() else { continue };
            looked_at = true;
            // Of the connection that it came over; another may be waiting already, or be asked.
            if slot.connected.is_none() {
                self.collector.served(vault);
            }
            step.key = self.collector.take(vault, share, &mut opens);
            if step.key.is_some() {
                return;
            }
        }
        if looked_at && self.collector.shares() >= self.collector.needed() {
            (0..self.slots.len()).for_each(|vault| self.redial(vault, RedialReason::Unfit, step));
        }
    }

    /// Has an address dialled again whose connection waits to be told what next.
    fn redial(&mut self, vault: usize, why: RedialReason, step: &mut Step) {
        if let Some(slot) = self.slots.get_mut(vault).filter(|slot| slot.idle) {
            slot.idle = false;
            step.commands.push((vault, Command::Redial(why)));
        }
    }

    /// Asks as many as the collector wants.
    fn ask(&mut self, step: &mut Step) {
        while let Progress::Ask(vault) = self.collector.ask_next() {
            step.commands.push((vault, Command::Ask));
        }
        // Shares that are held wait for the time: so many nodes are asked that it becomes known.
        while self.voices_to_come() < self.collector.needed() {
            let Some(vault) = self.collector.ask_another() else { return };
            step.commands.push((vault, Command::Ask));
        }
    }

    fn change(&mut self, vault: usize, how: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(vault) {
            how(slot);
        }
    }
}

/// The same nodes, each once.
fn distinct<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<&'a Node> {
    let mut distinct: Vec<&Node> = Vec::new();
    for node in nodes {
        if distinct.iter().all(|other| other.identity != node.identity) {
            distinct.push(node);
        }
    }
    distinct
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
