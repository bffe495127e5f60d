//! Collects shares for one key: takes events of the vaults' connections, returns commands for them, and in the end a proved key.
//! It has no clock, socket or thread.
//!
//! The host can lead any connection to any node, so an address does not identify a node, and an answer says nothing about the
//! next one at that address. Hence three rules. A node, identified by its key or platform, counts once. Shares are combined only
//! if the evidence of their nodes is valid at the time that these nodes agree on: an attacker with fewer than t shares cannot
//! fill such a set, however many nodes it runs, so at least one node is honest. A share that makes no key is not final: its
//! address is dialled again.

use std::time::Duration;

use crate::time::{AgreedTime, Bounds, ClockReading};
use crate::{Action, Collector, Dek, KeyProof, RecoveredKey, Share, ShareStatus, Threshold};

/// A node that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Identifies the node: its public key or its platform.
    pub identity: Vec<u8>,
    /// When its evidence is valid (from, until), Unix seconds.
    pub valid: (u64, u64),
    /// The evidence did not exist before this time, Unix seconds; by signatures of Intel only, not by the node or its authority.
    pub issued: u64,
    /// Its clock, Unix seconds.
    pub quote_time: u64,
    /// When the clock was read, by the caller's monotonic clock.
    pub at: Duration,
}

impl Node {
    fn is_valid_at(&self, time: u64) -> bool {
        let (from, until) = self.valid;
        (from..=until).contains(&time)
    }

    /// Whether this evidence ends later than the other, or begins earlier if both end together. This is a strict order, so two
    /// pieces of evidence for one node never replace each other in turn.
    fn is_valid_longer_than(&self, other: &Self) -> bool {
        let ((from, until), (other_from, other_until)) = (self.valid, other.valid);
        until > other_until || (until == other_until && from < other_from)
    }

    fn reading(&self) -> ClockReading {
        ClockReading { at: self.at, unix_seconds: self.quote_time }
    }
}

/// An event of a vault's connection.
pub enum Event {
    /// A node proved itself at the vault's address and waits to be asked.
    Verified(Node),
    /// The node accepted this machine's evidence and gave a share; its connection waits for a command. A node without a trusted
    /// time accepts no evidence, so its clock does not count.
    Served(Share),
    /// The connection has ended; the address is dialled again.
    Lost,
    /// The address is not dialled again in this boot.
    Ended,
}

/// A command for a vault's connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Present evidence and fetch the share.
    Ask,
    /// Close the connection and dial again after a pause.
    Redial(RedialReason),
}

/// Why a node cannot be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedialReason {
    /// Another vault of the list is the same node. The address may lead to another node later.
    SameNode,
    /// Its evidence is not valid at the time that the vaults with shares agree on. It may get newer collateral.
    Stale,
    /// Its share does not combine to the key with the others. Another node may answer next time, there or elsewhere.
    Unfit,
}

/// The result of an event.
#[derive(Default)]
pub struct Step {
    /// Commands and their vaults, in this order.
    pub commands: Vec<(usize, Command)>,
    /// The proved key, and the time by the nodes whose shares made it.
    pub key: Option<(RecoveredKey, AgreedTime)>,
}

/// One vault of the list.
#[derive(Default)]
struct Slot {
    /// The node on the present connection, until it served.
    connected: Option<Node>,
    /// The node whose share the collector has, with the evidence that was valid for it.
    served: Option<Node>,
    /// Its connection waits for a command.
    idle: bool,
    /// It is not dialled again.
    ended: bool,
}

fn is_same_node(node: Option<&Node>, other: &Node) -> bool {
    node.is_some_and(|node| node.identity == other.identity)
}

/// The time by the nodes that gave shares for these vaults: the `needed`-th smallest. `None` when fewer gave one.
fn agreed_time(slots: &[Slot], vaults: &[usize], needed: usize, bounds: Bounds, now: Duration) -> Option<AgreedTime> {
    let nodes = vaults.iter().filter_map(|vault| slots.get(*vault)?.served.as_ref());
    AgreedTime::of(&nodes.map(Node::reading).collect::<Vec<_>>(), needed, bounds, now)
}

/// Whether the evidence that came with this vault's share is valid at `time`.
fn is_valid(slot: &Slot, time: &AgreedTime) -> bool {
    slot.served.as_ref().is_some_and(|node| node.is_valid_at(time.unix_seconds))
}

/// The state of one collection.
pub struct ShareCollection {
    collector: Collector,
    slots: Vec<Slot>,
    bounds: Bounds,
}

impl ShareCollection {
    /// Starts without any event; `built`: the build time of the image, a lower bound of the time in Unix seconds.
    #[must_use]
    pub fn new(threshold: Threshold, proof: KeyProof, built: u64) -> Self {
        let slots = (0..threshold.dealt()).map(|_| Slot::default()).collect();
        Self { collector: Collector::new(threshold, proof), slots, bounds: Bounds { issued: 0, built } }
    }

    /// The status of each vault's share.
    #[must_use]
    pub fn statuses(&self) -> &[ShareStatus] {
        self.collector.statuses()
    }

    /// How many shares are here, right or wrong, of vaults whose evidence is valid at `now`, by the caller's monotonic clock.
    #[must_use]
    pub fn shares(&self, now: Duration) -> usize {
        let time = self.time(now);
        self.slots.iter().filter(|slot| slot.served.is_some() && time.as_ref().is_none_or(|time| is_valid(slot, time))).count()
    }

    /// The time by all nodes whose shares are here. It only shows whose evidence has expired.
    fn time(&self, now: Duration) -> Option<AgreedTime> {
        let vaults: Vec<usize> = (0..self.slots.len()).collect();
        agreed_time(&self.slots, &vaults, self.collector.needed(), self.bounds, now)
    }

    /// Whether no key is possible any more: fewer vaults than the threshold are still dialled. Answers do not count, since
    /// another node may answer at an address next.
    #[must_use]
    pub fn is_impossible(&self) -> bool {
        self.slots.iter().filter(|slot| !slot.ended).count() < self.collector.needed()
    }

    /// A vault that was asked is slow: asks one more.
    pub fn stalled(&mut self) -> Step {
        self.collector.stalled();
        let mut step = Step::default();
        self.ask(&mut step);
        step
    }

    /// Handles an event of a vault at `now`. `verify` tries a candidate key on the disk; it is called only with
    /// [`KeyProof::Disk`].
    pub fn handle(&mut self, vault: usize, event: Event, now: Duration, verify: impl FnMut(&Dek) -> bool) -> Step {
        let mut step = Step::default();
        match event {
            Event::Verified(node) => self.verified(vault, node, &mut step),
            Event::Served(share) => self.served(vault, share, now, verify, &mut step),
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

    /// Handles a node that proved itself. A node behind two addresses counts once. If its share came over another address, that
    /// address is dialled again; if that share came with evidence that ends earlier, the node is asked again: otherwise the host
    /// could exclude a node by old collateral.
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
                self.collector.discard_share(other);
                // Another node may be on that connection by now.
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

    /// Adds a share, and redials addresses whose shares cannot be used.
    fn served(&mut self, vault: usize, share: Share, now: Duration, verify: impl FnMut(&Dek) -> bool, step: &mut Step) {
        self.change(vault, |slot| (slot.served, slot.idle) = (slot.connected.take(), true));
        let (slots, bounds) = (&self.slots, self.bounds);
        let time = |vaults: &[usize]| {
            let time = agreed_time(slots, vaults, vaults.len(), bounds, now)?;
            vaults.iter().all(|vault| slots.get(*vault).is_some_and(|slot| is_valid(slot, &time))).then_some(time)
        };
        if let Some(recovered) = self.collector.add_share(vault, share, |vaults| time(vaults).is_some(), verify) {
            step.key = time(&recovered.vaults).map(|time| (recovered, time));
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

    /// Redials an address whose connection waits for a command.
    fn redial(&mut self, vault: usize, why: RedialReason, step: &mut Step) {
        if let Some(slot) = self.slots.get_mut(vault).filter(|slot| slot.idle) {
            slot.idle = false;
            step.commands.push((vault, Command::Redial(why)));
        }
    }

    /// Asks as many vaults as the collector wants.
    fn ask(&mut self, step: &mut Step) {
        while let Action::Ask(vault) = self.collector.ask_next() {
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
