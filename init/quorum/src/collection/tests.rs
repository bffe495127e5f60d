use super::*;
use crate::{Commitment, Generation, split};

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

/// Two of three, with a share for each.
fn collection() -> (ShareCollection, Vec<Share>) {
    let threshold = Threshold::new(2, 3).unwrap();
    let shares = split(&key(), threshold, Generation([1; 16])).unwrap();
    (ShareCollection::new(threshold, Rule::Commitment(key().commitment()), 0), shares)
}

fn take(collection: &mut ShareCollection, vault: usize, event: Event) -> Step {
    collection.take(vault, event, Duration::ZERO, |_| unreachable!("a commitment needs no disk"))
}

#[test]
fn one_node_behind_two_addresses_is_one_vault() {
    let (mut collection, _) = collection();
    assert_eq!(take(&mut collection, 0, node(7)).commands, [(0, Command::Ask)]);
    assert_eq!(take(&mut collection, 1, node(7)).commands, [(1, Command::Redial(RedialReason::SameNode))]);
    assert_eq!(take(&mut collection, 1, node(8)).commands, [(1, Command::Ask)]);
}

#[test]
fn voice_counts_once_the_node_took_our_evidence_and_goes_with_it() {
    let (mut collection, _) = collection();
    for (vault, identity) in [(0, 7), (1, 8)] {
        take(&mut collection, vault, node(identity));
    }
    take(&mut collection, 0, Event::Accepted);
    assert_eq!(collection.time(Duration::ZERO), None);
    take(&mut collection, 1, Event::Accepted);
    assert_eq!(collection.time(Duration::ZERO).map(|time| time.unix_seconds), Some(NOW));
    take(&mut collection, 0, Event::Lost);
    assert_eq!(collection.time(Duration::ZERO), None);
}

#[test]
fn shares_that_make_no_key_have_their_addresses_dialled_again() {
    let (mut collection, shares) = collection();
    let wrong = {
        let mut material = shares[0].expose_material();
        material[20] ^= 1;
        Share::parse(&material).ok().unwrap()
    };
    let mut shares = shares.into_iter().map(Some).collect::<Vec<_>>();
    for (vault, identity) in [(0, 7), (1, 8)] {
        take(&mut collection, vault, node(identity));
        take(&mut collection, vault, Event::Accepted);
    }
    assert!(take(&mut collection, 0, Event::Served(wrong)).commands.is_empty());
    let step = take(&mut collection, 1, Event::Served(shares[1].take().unwrap()));
    let redial = |vault| (vault, Command::Redial(RedialReason::Unfit));
    assert_eq!(step.commands, [redial(0), redial(1)]);
    assert!(step.key.is_none() && !collection.is_hopeless());
    assert_eq!(take(&mut collection, 0, node(9)).commands, [(0, Command::Ask)]);
    take(&mut collection, 0, Event::Accepted);
    assert!(take(&mut collection, 0, Event::Served(shares[0].take().unwrap())).key.is_some());
    assert_eq!(collection.fates(), [Fate::Served, Fate::Served, Fate::Waiting]);
}

#[test]
fn share_whose_evidence_is_not_valid_at_the_agreed_time_waits() {
    let (mut collection, mut shares) = collection();
    let late = Node { identity: vec![9], valid: (NOW, NOW + 900), issued: NOW, quote_time: NOW + 600, at: Duration::ZERO };
    take(&mut collection, 0, node(7));
    take(&mut collection, 0, Event::Accepted);
    take(&mut collection, 0, Event::Served(shares.remove(0)));
    take(&mut collection, 1, Event::Verified(late));
    // Two voices, the second smallest of which is ten minutes late.
    let step = take(&mut collection, 1, Event::Accepted);
    assert_eq!(step.commands, [(0, Command::Redial(RedialReason::Stale))]);
    take(&mut collection, 2, node(8));
    take(&mut collection, 2, Event::Accepted);
    assert!(take(&mut collection, 2, Event::Served(shares.remove(1))).key.is_some(), "the time became earlier");
}

#[test]
fn only_addresses_that_are_not_dialled_any_more_end_all_hope() {
    let (mut collection, _) = collection();
    (0..3).for_each(|vault| drop(take(&mut collection, vault, Event::Lost)));
    take(&mut collection, 0, Event::Ended);
    assert!(!collection.is_hopeless());
    take(&mut collection, 1, Event::Ended);
    assert!(collection.is_hopeless());
    let commitment = Commitment([0; 32]);
    assert!(!ShareCollection::new(Threshold::new(2, 2).unwrap(), Rule::Commitment(commitment), 0).is_hopeless());
}

/// The authority of the nodes, or one that plays it, can date a leaf as it likes: that narrows the node's window and moves no time.
#[test]
fn only_what_intel_signed_is_a_bound_of_the_time() {
    let (mut collection, _) = collection();
    for vault in [0, 1] {
        let identity = vec![u8::try_from(vault).unwrap()];
        let valid = (NOW + 31_536_000, NOW + 63_072_000);
        let late = Node { identity, valid, issued: NOW - 60, quote_time: NOW, at: Duration::ZERO };
        take(&mut collection, vault, Event::Verified(late));
        take(&mut collection, vault, Event::Accepted);
    }
    assert_eq!(collection.time(Duration::ZERO).map(|time| time.unix_seconds), Some(NOW));
}
