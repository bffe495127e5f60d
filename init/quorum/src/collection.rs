//! One collection of shares: what the vaults' connections report goes in, what to tell them comes out, a proved key in the end.
//!
//! The host leads any connection to any node, so an address says nothing of who answers, and what one node said says nothing of who
//! answers there next. Hence three rules. A node counts once, by what makes it that node. Shares are combined only of nodes whose
//! evidence is valid at the time that these nodes agree on: an attacker with fewer than t shares cannot fill such a set with its own
//! nodes, however many it runs, so one of them is honest. A share that makes no key is no end: its address is dialled again. No clock, no socket, no thread.

use std::time::Duration;

use crate::time::{AgreedTime, Bounds, Voice};
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

    /// Whether this evidence ends later than the other, or begins earlier if both end together. This is a strict order, so that two pieces
    /// of evidence for one node never replace each other in turn.
    fn is_valid_longer_than(&self, other: &Self) -> bool {
        let ((from, until), (other_from, other_until)) = (self.valid, other.valid);
        until > other_until || (until == other_until && from < other_from)
    }

    fn voice(&self) -> Voice {
        Voice { at: self.at, unix_seconds: self.quote_time }
    }
}

/// What is reported of a vault.
pub enum Event {
    /// A node proved itself at its address, and waits to be asked.
    Verified(Node),
    /// That node took our evidence and gave a share, and its connection waits to be told what next. One that has no trusted time takes
    /// no evidence, so its clock counts for nothing.
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
    /// Its evidence is not valid at the time that the vaults whose shares are here agree on. It may fetch newer collateral.
    Stale,
    /// Its share makes no key with the others. Another node may answer next time, there or elsewhere.
    Unfit,
}

/// What an event led to.
#[derive(Default)]
pub struct Step {
    /// What to tell which vault, in this order.
    pub commands: Vec<(usize, Command)>,
    /// The key, once it is proved, and the time by the nodes whose shares made it.
    pub key: Option<(Quorum, AgreedTime)>,
}

/// One vault of the list.
#[derive(Default)]
struct Slot {
    /// The node at the other end of the connection, until it served.
    connected: Option<Node>,
    /// The node whose share the collector has, with the evidence under which it gave it.
    served: Option<Node>,
    /// Its connection waits to be told what next.
    idle: bool,
    /// It is not dialled again.
    ended: bool,
}

/// Whether this node is that one.
fn is_same_node(node: Option<&Node>, other: &Node) -> bool {
    node.is_some_and(|node| node.identity == other.identity)
}

/// The time by the nodes whose shares these vaults gave, the `needed`-th smallest of theirs; `None`: too few of them gave one.
fn agreed_time(slots: &[Slot], vaults: &[usize], needed: usize, bounds: Bounds, now: Duration) -> Option<AgreedTime> {
    let nodes = vaults.iter().filter_map(|vault| slots.get(*vault)?.served.as_ref());
    AgreedTime::of(&nodes.map(Node::voice).collect::<Vec<_>>(), needed, bounds, now)
}

/// Whether the evidence under which this vault gave its share is valid at `time`.
fn is_valid(slot: &Slot, time: &AgreedTime) -> bool {
    slot.served.as_ref().is_some_and(|node| node.is_valid_at(time.unix_seconds))
}

/// Shares on their way to a key.
pub struct ShareCollection {
    collector: Collector,
    slots: Vec<Slot>,
    bounds: Bounds,
}

impl ShareCollection {
    /// Starts with no vault heard of; `built`: it is not earlier, Unix seconds.
    #[must_use]
    pub fn new(threshold: Threshold, rule: Rule, built: u64) -> Self {
        let slots = (0..threshold.dealt()).map(|_| Slot::default()).collect();
        Self { collector: Collector::new(threshold, rule), slots, bounds: Bounds { issued: 0, built } }
    }

    /// What became of each vault, as far as the shares say.
    #[must_use]
    pub fn fates(&self) -> &[Fate] {
        self.collector.fates()
    }

    /// How many shares are here, good or bad, of vaults whose evidence is valid at `now`, by the caller's monotonic clock.
    #[must_use]
    pub fn shares(&self, now: Duration) -> usize {
        let time = self.time(now);
        self.slots.iter().filter(|slot| slot.served.is_some() && time.as_ref().is_none_or(|time| is_valid(slot, time))).count()
    }

    /// The time by all whose shares are here: it tells whose evidence is out of date, and proves nothing.
    fn time(&self, now: Duration) -> Option<AgreedTime> {
        let vaults: Vec<usize> = (0..self.slots.len()).collect();
        agreed_time(&self.slots, &vaults, self.collector.needed(), self.bounds, now)
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
            Event::Served(share) => self.served(vault, share, now, opens, &mut step),
            Event::Lost | Event::Ended => {
                let ended = matches!(event, Event::Ended);
                self.change(vault, |slot| (slot.connected, slot.idle, slot.ended) = (None, false, ended));
                self.collector.lost(vault);
            }
        }
        if step.key.is_none() {
            self.ask(&mut step);
        }
        step
    }

    /// One node behind two addresses is one vault. Where its share came over another address, that address is free for its own; and
    /// where it came under evidence that ends earlier, it is asked again: else the host could keep a node out by old collateral.
    fn verified(&mut self, vault: usize, node: Node, step: &mut Step) {
        self.bounds.issued = self.bounds.issued.max(node.issued);
        let others = || self.slots.iter().enumerate().filter(|(other, _)| *other != vault);
        let is_connected = others().any(|(_, slot)| is_same_node(slot.connected.as_ref(), &node));
        let gave = others().find(|(_, slot)| is_same_node(slot.served.as_ref(), &node));
        let gave = gave.map(|(other, slot)| (other, slot.served.as_ref().is_some_and(|old| node.is_valid_longer_than(old))));
        if let Some((other, is_better)) = gave {
            self.redial(other, RedialReason::SameNode, step);
            if !is_connected && is_better {
                self.change(other, |slot| slot.served = None);
                self.collector.forget(other);
                // Another node may be at the other end by now.
                if self.slots.get(other).is_some_and(|slot| slot.connected.is_none()) {
                    self.collector.lost(other);
                }
            }
        }
        if is_connected || gave.is_some_and(|(_, is_better)| !is_better) {
            step.commands.push((vault, Command::Redial(RedialReason::SameNode)));
        } else {
            self.change(vault, |slot| (slot.connected, slot.idle) = (Some(node), false));
            self.collector.ready(vault);
        }
    }

    /// Looks at a share, and frees the addresses of those that are of no use.
    fn served(&mut self, vault: usize, share: Share, now: Duration, opens: impl FnMut(&Dek) -> bool, step: &mut Step) {
        self.change(vault, |slot| (slot.served, slot.idle) = (slot.connected.take(), true));
        let (slots, bounds) = (&self.slots, self.bounds);
        let time = |vaults: &[usize]| {
            let time = agreed_time(slots, vaults, vaults.len(), bounds, now)?;
            vaults.iter().all(|vault| slots.get(*vault).is_some_and(|slot| is_valid(slot, &time))).then_some(time)
        };
        if let Some(quorum) = self.collector.take(vault, share, |vaults| time(vaults).is_some(), opens) {
            step.key = time(&quorum.vaults).map(|time| (quorum, time));
            return;
        }
        let Some(time) = self.time(now) else { return };
        let enough = self.shares(now) >= self.collector.needed();
        for vault in 0..self.slots.len() {
            match self.slots.get(vault) {
                Some(slot) if !is_valid(slot, &time) => self.redial(vault, RedialReason::Stale, step),
                Some(_) if enough => self.redial(vault, RedialReason::Unfit, step),
                _ => {}
            }
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
    }

    fn change(&mut self, vault: usize, how: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(vault) {
            how(slot);
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
