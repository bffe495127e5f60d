//! A model check of [`ShareCollection`] against a malicious host, which leads any dial to any node, in any order, and breaks
//! connections at any point.
//!
//! The check visits every state that the host can reach in a few dials. In each state it asserts: only the committed key is
//! found; no share is used whose node's evidence had expired; the time is not earlier than an honest clock; a correct clock is
//! not changed; the collection does not end while a key is possible; and whenever the host becomes honest, the key is found once
//! t honest nodes are reachable. States are equal when no later event can tell them apart.
//!
//! The nodes: honest nodes; honest nodes without trusted time (a host can cause that for any node); a share set of the same build
//! under another owner, with correct clocks; fewer than t malicious vaults that choose shares and times jointly, each as any
//! number of nodes; an attacker with a node's key and share under evidence that has expired or is not valid yet.

use std::collections::{HashSet, VecDeque};

use super::*;
use crate::{Commitment, ShareSetId, split};

/// The real time, Unix seconds, and the errors of wrong clocks.
const NOW: u64 = 1_795_392_000;
const YEAR: u64 = 31_536_000;
const DAY: u64 = 86_400;

/// A node that answers a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ModelNode {
    identity: u8,
    clock: u64,
    /// The index of the share that it gives; none: it accepts no evidence.
    share: Option<usize>,
    /// When its evidence is valid.
    valid: (u64, u64),
}

const fn node(identity: u8, clock: u64, share: usize) -> ModelNode {
    ModelNode { identity, clock, share: Some(share), valid: (NOW - 10 * DAY, NOW + 20 * DAY) }
}

const fn frozen(identity: u8) -> ModelNode {
    ModelNode { share: None, ..node(identity, NOW - YEAR, 0) }
}

const fn expired(identity: u8, clock: u64, share: usize) -> ModelNode {
    ModelNode { valid: (NOW - 10 * DAY, NOW - DAY), ..node(identity, clock, share) }
}

const fn not_yet_valid(identity: u8, clock: u64, share: usize) -> ModelNode {
    ModelNode { valid: (NOW + DAY, NOW + 20 * DAY), ..node(identity, clock, share) }
}

/// The state of a vault's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Connection {
    Dialling,
    /// Verified and not asked yet.
    Waiting(ModelNode),
    Asked(ModelNode),
    /// It served and waits for a command.
    Idle,
    /// It is not dialled any more, for a reason inside of the guest.
    Ended,
}

/// What the host does next at a vault's address.
#[derive(Debug, Clone, Copy)]
enum HostAction {
    Lead(ModelNode),
    Serve,
    Break,
    End,
    /// The vault is slow, which the guest notices once.
    Stall,
}

/// The state of one vault: connection, how often it was asked, the node whose share is here, whether it is idle and has a share,
/// and the status of its share.
type State = (Connection, u8, Option<(u8, u64, (u64, u64))>, [bool; 2], ShareStatus);

struct Model {
    threshold: Threshold,
    /// The shares of all nodes.
    shares: Vec<Share>,
    nodes: Vec<ModelNode>,
    /// The nodes of the owner's vaults, each at its own address. Other addresses do not answer when the host becomes honest.
    honest: Vec<ModelNode>,
    commitment: Commitment,
    /// How many dials the host answers in all.
    dials: usize,
    /// Whether one address may end, and one vault be slow.
    ends: bool,
}

/// One sequence of actions in a model.
struct Run<'a> {
    model: &'a Model,
    collection: ShareCollection,
    connections: Vec<Connection>,
    /// How often each vault was asked.
    asked: Vec<u8>,
    dials: usize,
    stalled: bool,
    /// The result: whether the key is right, the time, how many nodes made it, and the earliest end of their evidence.
    done: Option<(bool, AgreedTime, usize, u64)>,
}

impl<'a> Run<'a> {
    fn of(model: &'a Model) -> Self {
        let vaults = model.threshold.dealt();
        let collection = ShareCollection::new(model.threshold, KeyProof::Commitment(model.commitment), 0);
        let (connections, asked) = (vec![Connection::Dialling; vaults], vec![0; vaults]);
        Self { model, collection, connections, asked, dials: 0, stalled: false, done: None }
    }

    /// A copy, to continue in another way.
    fn copy(&self) -> Self {
        let slot = |slot: &Slot| Slot { connected: slot.connected.clone(), served: slot.served.clone(), ..*slot };
        let ShareCollection { collector, slots, bounds } = &self.collection;
        let collection =
            ShareCollection { collector: collector.copy(), slots: slots.iter().map(slot).collect(), bounds: *bounds };
        Self { collection, connections: self.connections.clone(), asked: self.asked.clone(), ..*self }
    }

    /// The actions of the host at an address.
    fn actions(&self, vault: usize) -> Vec<HostAction> {
        let can_end = self.model.ends && !self.connections.contains(&Connection::Ended);
        match self.connections[vault] {
            Connection::Dialling => {
                let lead = self.model.nodes.iter().copied().map(HostAction::Lead).filter(|_| self.dials < self.model.dials);
                lead.chain(can_end.then_some(HostAction::End)).collect()
            }
            Connection::Asked(node) => {
                let (serve, stall) =
                    (node.share.map(|_| HostAction::Serve), (!self.stalled && self.model.ends).then_some(HostAction::Stall));
                [Some(HostAction::Break), serve, stall].into_iter().flatten().collect()
            }
            Connection::Waiting(_) | Connection::Idle | Connection::Ended => Vec::new(),
        }
    }

    fn apply(&mut self, vault: usize, next: HostAction) {
        let event = match (next, self.connections[vault]) {
            (HostAction::Lead(node), _) => {
                self.dials += 1;
                self.connections[vault] = Connection::Waiting(node);
                Event::Verified(Node {
                    identity: vec![node.identity],
                    valid: node.valid,
                    issued: NOW - 10 * DAY,
                    quote_time: node.clock,
                    at: Duration::ZERO,
                })
            }
            (HostAction::Serve, Connection::Asked(node)) => {
                self.connections[vault] = Connection::Idle;
                Event::Served(self.model.shares[node.share.unwrap()].changed(|_| ()))
            }
            (HostAction::Break, _) => {
                self.connections[vault] = Connection::Dialling;
                Event::Lost
            }
            (HostAction::End, _) => {
                self.connections[vault] = Connection::Ended;
                Event::Ended
            }
            (HostAction::Stall, _) => {
                self.stalled = true;
                let step = self.collection.stalled();
                return self.apply_step(step);
            }
            (next, connection) => panic!("{next:?} of {connection:?}"),
        };
        self.send_event(vault, event);
    }

    fn send_event(&mut self, vault: usize, event: Event) {
        let never = |_: &Dek| -> bool { unreachable!("a commitment needs no disk") };
        let step = self.collection.handle(vault, event, Duration::ZERO, never);
        self.apply_step(step);
    }

    fn apply_step(&mut self, step: Step) {
        for (vault, command) in step.commands {
            match (command, self.connections[vault]) {
                (Command::Ask, Connection::Waiting(node)) => {
                    self.asked[vault] += 1;
                    self.connections[vault] = Connection::Asked(node);
                }
                (Command::Redial(_), Connection::Idle) => self.connections[vault] = Connection::Dialling,
                (Command::Redial(_), Connection::Waiting(_)) => {
                    self.connections[vault] = Connection::Dialling;
                    self.send_event(vault, Event::Lost);
                }
                (command, connection) => panic!("{command:?} to {connection:?}"),
            }
        }
        if let Some((recovered, time)) = step.key {
            let nodes = recovered.vaults.iter().map(|vault| self.collection.slots[*vault].served.as_ref().unwrap());
            let who: HashSet<_> = nodes.clone().map(|node| &node.identity).collect();
            let right = recovered.dek.commitment() == self.model.commitment;
            self.done = Some((right, time, who.len(), nodes.map(|node| node.valid.1).min().unwrap()));
        }
    }

    /// The property that is violated in this state, if any.
    fn violation(&self) -> Option<String> {
        let dialled = self.connections.iter().filter(|connection| **connection != Connection::Ended).count();
        if self.collection.is_impossible() && dialled >= self.model.threshold.needed() {
            return Some("a final result, while other nodes may answer".to_owned());
        }
        let (right, time, nodes, until) = self.done?;
        let moved = |clock: u64| time.correction(clock).map_or(0, |to| to.abs_diff(NOW));
        match () {
            () if !right => Some("another key than the one that policy commits to".to_owned()),
            () if nodes < self.model.threshold.needed() => Some("shares of one node make the key".to_owned()),
            () if until < NOW => Some("a share of a node whose evidence had expired is used".to_owned()),
            () if time.unix_seconds < NOW => Some(format!("a time before every honest reading: {time:?}")),
            () if time.correction(NOW + 30).is_some() => Some(format!("a clock that is right is set: {time:?}")),
            () if moved(NOW + YEAR).max(moved(NOW - YEAR)) > YEAR => Some(format!("a wrong clock becomes worse: {time:?}")),
            () => None,
        }
    }

    /// Continues with an honest host: it leads each address to its own node and delivers everything; connections to other nodes
    /// break.
    fn run_honestly(&mut self) {
        for _ in 0..40 {
            for vault in 0..self.connections.len() {
                let own = self.model.honest.get(vault).copied();
                match (self.connections[vault], own) {
                    _ if self.done.is_some() => return,
                    (Connection::Dialling, Some(own)) => self.apply(vault, HostAction::Lead(own)),
                    (Connection::Asked(node), Some(own)) if node == own => self.apply(vault, HostAction::Serve),
                    (Connection::Asked(_), _) => self.apply(vault, HostAction::Break),
                    _ => {}
                }
            }
        }
    }

    /// Whether enough honest nodes with a share are still dialled.
    fn is_possible(&self) -> bool {
        let dialled = (0..self.model.honest.len()).filter(|vault| self.connections[*vault] != Connection::Ended).count();
        dialled >= self.model.threshold.needed()
    }

    /// The part of the state that later events depend on.
    fn state(&self) -> Vec<State> {
        let one = |vault: usize| {
            let (slot, status) = (&self.collection.slots[vault], self.collection.statuses()[vault]);
            let served = slot.served.as_ref().map(|node| (node.identity[0], node.quote_time, node.valid));
            let marks = [slot.idle, self.collection.collector.has_share_of(vault)];
            (self.connections[vault], self.asked[vault], served, marks, status)
        };
        (0..self.connections.len()).map(one).collect()
    }
}

impl Model {
    /// Visits all states of a model; returns their number.
    fn explore(&self) -> usize {
        let (mut seen, mut open) = (HashSet::new(), VecDeque::from([(Run::of(self), Vec::new())]));
        while let Some((run, actions)) = open.pop_front() {
            let unused = run.is_possible() && {
                let mut fair = run.copy();
                fair.run_honestly();
                fair.done.is_none()
            };
            let violation = run.violation().or(unused.then(|| "an honest quorum is reachable and is not used".to_owned()));
            assert_eq!(violation, None, "after {actions:?}");
            for vault in (0..run.connections.len()).filter(|_| run.done.is_none()) {
                for next in run.actions(vault) {
                    let mut next_run = run.copy();
                    next_run.apply(vault, next);
                    let state = (next_run.dials, next_run.stalled, next_run.done.map(|(right, ..)| right), next_run.state());
                    if seen.insert(state) {
                        open.push_back((next_run, [actions.as_slice(), &[(vault, next)]].concat()));
                    }
                }
            }
        }
        seen.len()
    }
}

fn split_key(byte: u8, threshold: Threshold) -> (Commitment, Vec<Share>) {
    let fill = |bytes: &mut [u8; 32]| -> Result<(), ()> {
        bytes.fill(byte);
        Ok(())
    };
    let dek = Dek::fill_with(fill).ok().unwrap();
    (dek.commitment(), split(&dek, threshold, ShareSetId([1; 16])).unwrap())
}

fn changed(share: &Share, by: u8) -> Share {
    share.changed(|data| data.iter_mut().for_each(|byte| *byte ^= by))
}

/// Two of three vaults are honest, one is malicious, and the host has a share set of its own.
#[test]
fn wrong_shares_and_shares_of_another_owner_only_delay() {
    let threshold = Threshold::new(2, 3).unwrap();
    let ((commitment, mut shares), (_, others)) = (split_key(0x5a, threshold), split_key(0xa5, threshold));
    shares.extend(others);
    shares.push(changed(&shares[2], 1));
    let honest = vec![node(0, NOW, 0), node(1, NOW, 1)];
    let nodes = [honest.clone(), vec![node(10, NOW, 3), node(11, NOW, 4), node(2, NOW, 6)]].concat();
    let states = Model { threshold, shares, nodes, honest, commitment, dials: 4, ends: false }.explore();
    assert!(states > 1_000, "{states} states");
}

/// Three honest vaults, one of which ends or is slow.
#[test]
fn addresses_that_are_given_up_or_slow_do_not_prevent_the_key() {
    let threshold = Threshold::new(2, 3).unwrap();
    let (commitment, mut shares) = split_key(0x5a, threshold);
    shares.push(changed(&shares[2], 1));
    let honest = vec![node(0, NOW, 0), node(1, NOW, 1), node(2, NOW, 2)];
    let nodes = [honest.clone(), vec![node(3, NOW, 3)]].concat();
    let states = Model { threshold, shares, nodes, honest, commitment, dials: 4, ends: true }.explore();
    assert!(states > 1_000, "{states} states");
}

/// Wrong clocks, and nodes without trusted time.
#[test]
fn wrong_clocks_and_nodes_without_time_only_delay() {
    let threshold = Threshold::new(2, 3).unwrap();
    let (commitment, shares) = split_key(0x5a, threshold);
    let honest = vec![node(0, NOW, 0), node(1, NOW, 1)];
    let adversary = vec![node(2, NOW - YEAR, 2), node(3, NOW - YEAR, 2), node(2, NOW + YEAR, 2), frozen(0), frozen(1)];
    let nodes = [honest.clone(), adversary].concat();
    let states = Model { threshold, shares, nodes, honest, commitment, dials: 4, ends: false }.explore();
    assert!(states > 1_000, "{states} states");
}

/// A node's own share under evidence that has expired or is not valid yet, with any clock.
#[test]
fn shares_under_evidence_that_is_not_valid_are_not_used() {
    let threshold = Threshold::new(2, 3).unwrap();
    let (commitment, shares) = split_key(0x5a, threshold);
    let honest = vec![node(0, NOW, 0), node(1, NOW, 1)];
    let adversary =
        vec![expired(2, NOW - YEAR, 2), expired(0, NOW, 0), not_yet_valid(3, NOW + YEAR, 2), not_yet_valid(1, NOW, 1)];
    let nodes = [honest.clone(), adversary].concat();
    let states = Model { threshold, shares, nodes, honest, commitment, dials: 4, ends: false }.explore();
    assert!(states > 1_000, "{states} states");
}

/// Two of four collude so that all four shares lie on one polynomial through another key. Too few honest nodes are reachable.
#[test]
fn shares_that_are_chosen_jointly_make_no_other_key() {
    let threshold = Threshold::new(3, 4).unwrap();
    let (commitment, mut shares) = split_key(0x5a, threshold);
    let joint =
        |x: u8| (vsss_rs::Gf256(0x42) * (vsss_rs::Gf256(x) + vsss_rs::Gf256(3)) * (vsss_rs::Gf256(x) + vsss_rs::Gf256(4))).0;
    shares.extend([changed(&shares[0], joint(1)), changed(&shares[1], joint(2))]);
    let honest = vec![node(2, NOW, 2), node(3, NOW, 3)];
    let adversary = vec![node(0, NOW, 4), node(1, NOW - YEAR, 5)];
    let nodes = [honest.clone(), adversary].concat();
    let states = Model { threshold, shares, nodes, honest, commitment, dials: 4, ends: false }.explore();
    assert!(states > 1_000, "{states} states");
}
