use super::*;
use crate::{Commitment, ShareSetId, split};

const NOW: u64 = 1_795_392_000;

fn key() -> Dek {
    Dek::fill_with(|bytes| -> Result<(), ()> {
        bytes.fill(0x5a);
        Ok(())
    })
    .ok()
    .unwrap()
}

fn node(identity: u8) -> Event {
    Event::Verified(Node {
        identity: vec![identity],
        valid: (NOW - 60, NOW + 60),
        issued: NOW - 60,
        quote_time: NOW,
        at: Duration::ZERO,
    })
}

/// A collection of two of three, and the three shares.
fn collection() -> (ShareCollection, Vec<Share>) {
    let threshold = Threshold::new(2, 3).unwrap();
    let shares = split(&key(), threshold, ShareSetId([1; 16])).unwrap();
    (ShareCollection::new(threshold, KeyProof::Commitment(key().commitment()), 0), shares)
}

fn handle(collection: &mut ShareCollection, vault: usize, event: Event) -> Step {
    collection.handle(vault, event, Duration::ZERO, |_| unreachable!("a commitment needs no disk"))
}

#[test]
fn one_node_behind_two_addresses_is_one_vault() {
    let (mut collection, _) = collection();
    assert_eq!(handle(&mut collection, 0, node(7)).commands, [(0, Command::Ask)]);
    assert_eq!(handle(&mut collection, 1, node(7)).commands, [(1, Command::Redial(RedialReason::SameNode))]);
    assert_eq!(handle(&mut collection, 1, node(8)).commands, [(1, Command::Ask)]);
}

#[test]
fn time_is_by_the_nodes_whose_shares_made_the_key() {
    let (mut collection, mut shares) = collection();
    // A malicious vault as two nodes, with altered shares and clocks that are a year behind: neither share makes the key.
    let liar = |identity| {
        let Event::Verified(liar) = node(identity) else { unreachable!() };
        Event::Verified(Node { quote_time: NOW - 31_536_000, valid: (0, u64::MAX), issued: 0, ..liar })
    };
    let altered = |share: &Share, by| share.changed(|data| data[3] ^= by);
    for (vault, identity) in [(0, 1), (1, 2)] {
        handle(&mut collection, vault, liar(identity));
        let share = altered(&shares[vault], 1 + identity);
        handle(&mut collection, vault, Event::Served(share));
    }
    handle(&mut collection, 2, node(7));
    handle(&mut collection, 2, Event::Served(shares.remove(2)));
    handle(&mut collection, 1, node(8));
    let step = handle(&mut collection, 1, Event::Served(shares.remove(1)));
    let (recovered, time) = step.key.unwrap();
    assert_eq!((recovered.vaults.len(), time.unix_seconds, time.interval), (2, NOW, (NOW, NOW + 60)));
}

/// Old collateral at the first dial, new collateral at the next one at another address.
#[test]
fn newer_evidence_of_a_node_counts_in_place_of_the_older() {
    let (mut collection, mut shares) = collection();
    let fresh = || node(7);
    let Event::Verified(old) = fresh() else { unreachable!() };
    handle(&mut collection, 2, Event::Verified(Node { valid: (0, NOW - 60), ..old }));
    handle(&mut collection, 2, Event::Served(shares.remove(0)));
    assert_eq!(collection.statuses()[2], ShareStatus::Spare);
    let step = handle(&mut collection, 0, fresh());
    assert_eq!(step.commands, [(2, Command::Redial(RedialReason::SameNode)), (0, Command::Ask)]);
    assert_eq!(
        (collection.statuses(), collection.shares(Duration::ZERO)),
        (&[ShareStatus::Asked, ShareStatus::Waiting, ShareStatus::Lost][..], 0)
    );
}

#[test]
fn shares_that_make_no_key_have_their_addresses_dialled_again() {
    let (mut collection, shares) = collection();
    let wrong = shares[0].changed(|data| data[3] ^= 1);
    let mut shares = shares.into_iter().map(Some).collect::<Vec<_>>();
    for (vault, identity) in [(0, 7), (1, 8)] {
        handle(&mut collection, vault, node(identity));
    }
    assert!(handle(&mut collection, 0, Event::Served(wrong)).commands.is_empty());
    let step = handle(&mut collection, 1, Event::Served(shares[1].take().unwrap()));
    let redial = |vault| (vault, Command::Redial(RedialReason::Unfit));
    assert_eq!(step.commands, [redial(0), redial(1)]);
    assert!(step.key.is_none() && !collection.is_impossible());
    assert_eq!(handle(&mut collection, 0, node(9)).commands, [(0, Command::Ask)]);
    assert!(handle(&mut collection, 0, Event::Served(shares[0].take().unwrap())).key.is_some());
    assert_eq!(collection.statuses(), [ShareStatus::Served, ShareStatus::Served, ShareStatus::Waiting]);
}

#[test]
fn share_whose_evidence_is_not_valid_at_the_agreed_time_is_not_used() {
    let (mut collection, mut shares) = collection();
    let late = Node { identity: vec![9], valid: (NOW, NOW + 900), issued: NOW, quote_time: NOW + 600, at: Duration::ZERO };
    handle(&mut collection, 0, node(7));
    handle(&mut collection, 0, Event::Served(shares.remove(0)));
    handle(&mut collection, 1, Event::Verified(late));
    // Two clocks, the later of which is ten minutes ahead.
    let step = handle(&mut collection, 1, Event::Served(shares.remove(0)));
    assert!(step.key.is_none(), "the evidence of the first is not valid then");
    assert_eq!((step.commands, collection.shares(Duration::ZERO)), (vec![(0, Command::Redial(RedialReason::Stale))], 1));
    handle(&mut collection, 2, node(8));
    let (recovered, time) = handle(&mut collection, 2, Event::Served(shares.remove(0))).key.unwrap();
    assert_eq!((recovered.vaults, time.unix_seconds), (vec![2, 0], NOW), "two that agree");
}

#[test]
fn key_is_impossible_only_when_too_few_addresses_are_dialled() {
    let (mut collection, _) = collection();
    (0..3).for_each(|vault| drop(handle(&mut collection, vault, Event::Lost)));
    handle(&mut collection, 0, Event::Ended);
    assert!(!collection.is_impossible());
    handle(&mut collection, 1, Event::Ended);
    assert!(collection.is_impossible());
    let commitment = Commitment([0; 32]);
    assert!(!ShareCollection::new(Threshold::new(2, 2).unwrap(), KeyProof::Commitment(commitment), 0).is_impossible());
}

/// A node authority can issue certificates with any date: that shortens the validity of the node's evidence and does not move the
/// time.
#[test]
fn only_what_intel_signed_is_a_bound_of_the_time() {
    for (issued, until, want) in [(NOW - 60, NOW + 60, NOW), (NOW + 30, NOW + 60, NOW + 30)] {
        let (mut collection, mut shares) = collection();
        let mut step = Step::default();
        for (vault, from) in [(0, NOW - 60), (1, NOW)] {
            let identity = vec![u8::try_from(vault).unwrap()];
            let node = Node { identity, valid: (from, until), issued, quote_time: NOW, at: Duration::ZERO };
            handle(&mut collection, vault, Event::Verified(node));
            step = handle(&mut collection, vault, Event::Served(shares.remove(0)));
        }
        assert_eq!(step.key.map(|(_, time)| time.unix_seconds), Some(want));
    }
}
