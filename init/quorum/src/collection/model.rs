//! The host as a player: it leads any dial to any node, in any order, and has connections break wherever it likes.
//!
//! Every state that it can reach in a few dials is visited, and in each the promises of [`ShareCollection`] are held: no other key
//! than the one committed to, no share of a node whose evidence had expired, no time before an honest voice, no right clock moved, no
//! end while there is hope, and from wherever the host leaves off the key is found once t honest nodes are reachable. States are told
//! apart by what the next event can depend on.
//!
//! Who plays: honest nodes; the same without trusted time (a host can bring any node to that); a set of the same build under an owner
//! of the host's, whose code is honest about the time; fewer than t vaults that choose shares and times jointly, each as as many nodes
//! as it likes; an attacker with a node's key and share under evidence that has expired or is not valid yet.

use std::collections::{HashSet, VecDeque};

use super::*;
use crate::{Commitment, Generation, split};

/// What time it is, Unix seconds, and how far off liars and frozen clocks are.
const NOW: u64 = 1_795_392_000;
const YEAR: u64 = 31_536_000;
const DAY: u64 = 86_400;

/// One that answers a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Player {
    identity: u8,
    clock: u64,
    /// Which share it gives; none: it takes no evidence.
    share: Option<usize>,
    /// From when until when its evidence is valid.
    valid: (u64, u64),
}

const fn player(identity: u8, clock: u64, share: usize) -> Player {
    Player { identity, clock, share: Some(share), valid: (NOW - 10 * DAY, NOW + 20 * DAY) }
}

const fn frozen(identity: u8) -> Player {
    Player { share: None, ..player(identity, NOW - YEAR, 0) }
}

const fn expired(identity: u8, clock: u64, share: usize) -> Player {
    Player { valid: (NOW - 10 * DAY, NOW - DAY), ..player(identity, clock, share) }
}

const fn not_yet_valid(identity: u8, clock: u64, share: usize) -> Player {
    Player { valid: (NOW + DAY, NOW + 20 * DAY), ..player(identity, clock, share) }
}

/// What a vault's connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Line {
    Dialling,
    /// Verified, and not asked yet.
    Waiting(Player),
    Asked(Player),
    /// It served, and was not told what next.
    Idle,
    /// It is not dialled any more, for a reason of the guest's own.
    Ended,
}

/// What the host lets happen next at a vault's address.
#[derive(Debug, Clone, Copy)]
enum Move {
    Lead(Player),
    Serve,
    Break,
    End,
    /// It is slow, which the guest notices once.
    Stall,
}

/// Of one vault: its connection, how often it was asked, who gave the share that is here, whether it is idle, and what the collector
/// takes it for.
type State = (Line, u8, Option<(u8, u64, (u64, u64))>, [bool; 2], Fate);

struct Game {
    threshold: Threshold,
    /// The shares of whoever plays.
    shares: Vec<Share>,
    players: Vec<Player>,
    /// The nodes of the owner's vaults, each at its own address; the rest of the addresses stay silent when the host turns honest.
    honest: Vec<Player>,
    commitment: Commitment,
    /// How many dials the host leads in all.
    dials: usize,
    /// Whether one address may be given up, and one vault be slow.
    ends: bool,
}

/// A game as far as it was played.
struct Table<'a> {
    game: &'a Game,
    collection: ShareCollection,
    lines: Vec<Line>,
    /// How often each vault was asked.
    asked: Vec<u8>,
    dials: usize,
    stalled: bool,
    /// What came of it: whether the key is the right one, the time, and how many nodes made it and until when their evidence is valid.
    done: Option<(bool, AgreedTime, usize, u64)>,
}

impl<'a> Table<'a> {
    fn of(game: &'a Game) -> Self {
        let vaults = game.threshold.dealt();
        let collection = ShareCollection::new(game.threshold, Rule::Commitment(game.commitment), 0);
        let (lines, asked) = (vec![Line::Dialling; vaults], vec![0; vaults]);
        Self { game, collection, lines, asked, dials: 0, stalled: false, done: None }
    }

    /// The same again, to be played on in another way.
    fn again(&self) -> Self {
        let slot = |slot: &Slot| Slot { connected: slot.connected.clone(), served: slot.served.clone(), ..*slot };
        let ShareCollection { collector, slots, bounds } = &self.collection;
        let collection =
            ShareCollection { collector: collector.again(), slots: slots.iter().map(slot).collect(), bounds: *bounds };
        Self { collection, lines: self.lines.clone(), asked: self.asked.clone(), ..*self }
    }

    /// What the host can do at an address, in any order.
    fn moves(&self, vault: usize) -> Vec<Move> {
        let can_end = self.game.ends && !self.lines.contains(&Line::Ended);
        match self.lines[vault] {
            Line::Dialling => {
                let lead = self.game.players.iter().copied().map(Move::Lead).filter(|_| self.dials < self.game.dials);
                lead.chain(can_end.then_some(Move::End)).collect()
            }
            Line::Asked(player) => {
                let (serve, stall) =
                    (player.share.map(|_| Move::Serve), (!self.stalled && self.game.ends).then_some(Move::Stall));
                [Some(Move::Break), serve, stall].into_iter().flatten().collect()
            }
            Line::Waiting(_) | Line::Idle | Line::Ended => Vec::new(),
        }
    }

    fn play(&mut self, vault: usize, next: Move) {
        let event = match (next, self.lines[vault]) {
            (Move::Lead(player), _) => {
                self.dials += 1;
                self.lines[vault] = Line::Waiting(player);
                Event::Verified(Node {
                    identity: vec![player.identity],
                    valid: player.valid,
                    issued: NOW - 10 * DAY,
                    quote_time: player.clock,
                    at: Duration::ZERO,
                })
            }
            (Move::Serve, Line::Asked(player)) => {
                self.lines[vault] = Line::Idle;
                Event::Served(self.game.shares[player.share.unwrap()].changed(|_| ()))
            }
            (Move::Break, _) => {
                self.lines[vault] = Line::Dialling;
                Event::Lost
            }
            (Move::End, _) => {
                self.lines[vault] = Line::Ended;
                Event::Ended
            }
            (Move::Stall, _) => {
                self.stalled = true;
                let step = self.collection.stalled();
                return self.told(step);
            }
            (next, line) => panic!("{next:?} of {line:?}"),
        };
        self.tell(vault, event);
    }

    fn tell(&mut self, vault: usize, event: Event) {
        let never = |_: &Dek| -> bool { unreachable!("a commitment needs no disk") };
        let step = self.collection.take(vault, event, Duration::ZERO, never);
        self.told(step);
    }

    fn told(&mut self, step: Step) {
        for (vault, command) in step.commands {
            match (command, self.lines[vault]) {
                (Command::Ask, Line::Waiting(player)) => {
                    self.asked[vault] += 1;
                    self.lines[vault] = Line::Asked(player);
                }
                (Command::Redial(_), Line::Idle) => self.lines[vault] = Line::Dialling,
                (Command::Redial(_), Line::Waiting(_)) => {
                    self.lines[vault] = Line::Dialling;
                    self.tell(vault, Event::Lost);
                }
                (command, line) => panic!("{command:?} to {line:?}"),
            }
        }
        if let Some((quorum, time)) = step.key {
            let nodes = quorum.vaults.iter().map(|vault| self.collection.slots[*vault].served.as_ref().unwrap());
            let who: HashSet<_> = nodes.clone().map(|node| &node.identity).collect();
            let right = quorum.dek.commitment() == self.game.commitment;
            self.done = Some((right, time, who.len(), nodes.map(|node| node.valid.1).min().unwrap()));
        }
    }

    /// A promise that is broken in this state.
    fn broken(&self) -> Option<String> {
        let dialled = self.lines.iter().filter(|line| **line != Line::Ended).count();
        if self.collection.is_hopeless() && dialled >= self.game.threshold.needed() {
            return Some("a final verdict, while other nodes may answer".to_owned());
        }
        let (right, time, nodes, until) = self.done?;
        let moved = |clock: u64| time.correction(clock).map_or(0, |to| to.abs_diff(NOW));
        match () {
            () if !right => Some("another key than the one that policy commits to".to_owned()),
            () if nodes < self.game.threshold.needed() => Some("shares of one node make the key".to_owned()),
            () if until < NOW => Some("a share of a node whose evidence had expired is used".to_owned()),
            () if time.unix_seconds < NOW => Some(format!("a time before every honest voice: {time:?}")),
            () if time.correction(NOW + 30).is_some() => Some(format!("a clock that is right is set: {time:?}")),
            () if moved(NOW + YEAR).max(moved(NOW - YEAR)) > YEAR => Some(format!("a wrong clock becomes worse: {time:?}")),
            () => None,
        }
    }

    /// From now on the host leads each address to its own node and carries everything; what it had in hand it lets break.
    fn play_fair(&mut self) {
        for _ in 0..40 {
            for vault in 0..self.lines.len() {
                let own = self.game.honest.get(vault).copied();
                match (self.lines[vault], own) {
                    _ if self.done.is_some() => return,
                    (Line::Dialling, Some(own)) => self.play(vault, Move::Lead(own)),
                    (Line::Asked(player), Some(own)) if player == own => self.play(vault, Move::Serve),
                    (Line::Asked(_), _) => self.play(vault, Move::Break),
                    _ => {}
                }
            }
        }
    }

    /// Whether honest nodes that are still dialled hold enough shares.
    fn is_possible(&self) -> bool {
        let dialled = (0..self.game.honest.len()).filter(|vault| self.lines[*vault] != Line::Ended).count();
        dialled >= self.game.threshold.needed()
    }

    /// What the next event can depend on.
    fn state(&self) -> Vec<State> {
        let one = |vault: usize| {
            let (slot, fate) = (&self.collection.slots[vault], self.collection.fates()[vault]);
            let served = slot.served.as_ref().map(|node| (node.identity[0], node.quote_time, node.valid));
            let marks = [slot.idle, self.collection.collector.has_share_of(vault)];
            (self.lines[vault], self.asked[vault], served, marks, fate)
        };
        (0..self.lines.len()).map(one).collect()
    }
}

impl Game {
    /// Plays every game of so many dials; returns how many states there are.
    fn explore(&self) -> usize {
        let (mut seen, mut open) = (HashSet::new(), VecDeque::from([(Table::of(self), Vec::new())]));
        while let Some((table, moves)) = open.pop_front() {
            let unused = table.is_possible() && {
                let mut fair = table.again();
                fair.play_fair();
                fair.done.is_none()
            };
            let broken = table.broken().or(unused.then(|| "an honest quorum is reachable and is not used".to_owned()));
            assert_eq!(broken, None, "after {moves:?}");
            for vault in (0..table.lines.len()).filter(|_| table.done.is_none()) {
                for next in table.moves(vault) {
                    let mut played = table.again();
                    played.play(vault, next);
                    let state = (played.dials, played.stalled, played.done.map(|(right, ..)| right), played.state());
                    if seen.insert(state) {
                        open.push_back((played, [moves.as_slice(), &[(vault, next)]].concat()));
                    }
                }
            }
        }
        seen.len()
    }
}

fn deal(byte: u8, threshold: Threshold) -> (Commitment, Vec<Share>) {
    let fill = |bytes: &mut [u8; 32]| -> Result<(), ()> {
        bytes.fill(byte);
        Ok(())
    };
    let dek = Dek::fill_with(fill).ok().unwrap();
    (dek.commitment(), split(&dek, threshold, Generation([1; 16])).unwrap())
}

fn changed(share: &Share, by: u8) -> Share {
    share.changed(|data| data.iter_mut().for_each(|byte| *byte ^= by))
}

/// Two vaults of three are honest, the third lies; beside them the host's own set.
#[test]
fn shares_of_liars_and_of_another_owner_cost_time_only() {
    let threshold = Threshold::new(2, 3).unwrap();
    let ((commitment, mut shares), (_, others)) = (deal(0x5a, threshold), deal(0xa5, threshold));
    shares.extend(others);
    shares.push(changed(&shares[2], 1));
    let honest = vec![player(0, NOW, 0), player(1, NOW, 1)];
    let players = [honest.clone(), vec![player(10, NOW, 3), player(11, NOW, 4), player(2, NOW, 6)]].concat();
    let states = Game { threshold, shares, players, honest, commitment, dials: 4, ends: false }.explore();
    assert!(states > 1_000, "{states} states");
}

/// Three honest vaults, one of which is given up or slow.
#[test]
fn addresses_that_are_given_up_or_slow_do_not_end_hope() {
    let threshold = Threshold::new(2, 3).unwrap();
    let (commitment, mut shares) = deal(0x5a, threshold);
    shares.push(changed(&shares[2], 1));
    let honest = vec![player(0, NOW, 0), player(1, NOW, 1), player(2, NOW, 2)];
    let players = [honest.clone(), vec![player(3, NOW, 3)]].concat();
    let states = Game { threshold, shares, players, honest, commitment, dials: 4, ends: true }.explore();
    assert!(states > 1_000, "{states} states");
}

/// The same with lies about the time, and with nodes that know none.
#[test]
fn clocks_of_liars_and_frozen_nodes_cost_time_only() {
    let threshold = Threshold::new(2, 3).unwrap();
    let (commitment, shares) = deal(0x5a, threshold);
    let honest = vec![player(0, NOW, 0), player(1, NOW, 1)];
    let lies = vec![player(2, NOW - YEAR, 2), player(3, NOW - YEAR, 2), player(2, NOW + YEAR, 2), frozen(0), frozen(1)];
    let players = [honest.clone(), lies].concat();
    let states = Game { threshold, shares, players, honest, commitment, dials: 4, ends: false }.explore();
    assert!(states > 1_000, "{states} states");
}

/// A node's own share under evidence that has expired, or is not valid yet, at whatever time its clock says.
#[test]
fn shares_under_evidence_that_is_not_valid_are_not_used() {
    let threshold = Threshold::new(2, 3).unwrap();
    let (commitment, shares) = deal(0x5a, threshold);
    let honest = vec![player(0, NOW, 0), player(1, NOW, 1)];
    let lies = vec![expired(2, NOW - YEAR, 2), expired(0, NOW, 0), not_yet_valid(3, NOW + YEAR, 2), not_yet_valid(1, NOW, 1)];
    let players = [honest.clone(), lies].concat();
    let states = Game { threshold, shares, players, honest, commitment, dials: 4, ends: false }.explore();
    assert!(states > 1_000, "{states} states");
}

/// Two of four collude, so that all four shares lie on one polynomial through another key. There is no honest quorum to be used.
#[test]
fn shares_that_are_chosen_jointly_make_no_other_key() {
    let threshold = Threshold::new(3, 4).unwrap();
    let (commitment, mut shares) = deal(0x5a, threshold);
    let joint =
        |x: u8| (vsss_rs::Gf256(0x42) * (vsss_rs::Gf256(x) + vsss_rs::Gf256(3)) * (vsss_rs::Gf256(x) + vsss_rs::Gf256(4))).0;
    shares.extend([changed(&shares[0], joint(1)), changed(&shares[1], joint(2))]);
    let honest = vec![player(2, NOW, 2), player(3, NOW, 3)];
    let lies = vec![player(0, NOW, 4), player(1, NOW - YEAR, 5)];
    let players = [honest.clone(), lies].concat();
    let states = Game { threshold, shares, players, honest, commitment, dials: 4, ends: false }.explore();
    assert!(states > 1_000, "{states} states");
}
