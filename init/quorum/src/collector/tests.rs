use proptest::prelude::*;
use vsss_rs::Gf256;

use super::*;
use crate::share::combine;
use crate::split;

fn key(byte: u8) -> Dek {
    Dek::fill_with(|bytes| -> Result<(), ()> {
        bytes.fill(byte);
        Ok(())
    })
    .ok()
    .unwrap()
}

fn deal(needed: usize, dealt: usize) -> (Threshold, Vec<Share>) {
    let threshold = Threshold::new(needed, dealt).unwrap();
    (threshold, split(&key(0x5a), threshold, ShareSetId([1; 16])).unwrap())
}

/// Alters another byte for each x, so that two altered shares do not fit together.
fn altered(share: &Share) -> Share {
    share.changed(|data| data[usize::from(share.x().get())] ^= 1)
}

fn found(action: Action) -> Option<RecoveredKey> {
    match action {
        Action::Done(recovered) => Some(recovered),
        Action::Wait | Action::Ask(_) => None,
    }
}

fn copy(share: &Share) -> Share {
    share.changed(|_| ())
}

#[test]
fn asks_only_as_many_ready_vaults_as_are_needed() {
    let (threshold, _) = deal(2, 4);
    let mut collector = Collector::new(threshold, KeyProof::Disk);
    (0..4).for_each(|vault| collector.ready(vault));
    assert!(matches!(collector.ask_next(), Action::Ask(0)));
    assert!(matches!(collector.ask_next(), Action::Ask(1)));
    assert!(matches!(collector.ask_next(), Action::Wait));
    collector.stalled();
    assert!(matches!(collector.ask_next(), Action::Ask(2)));
    collector.lost(0);
    assert!(matches!(collector.ask_next(), Action::Ask(3)));
    assert!(matches!(collector.ask_next(), Action::Wait));
}

#[test]
fn finds_the_key_among_lies_and_names_the_liars() {
    let (threshold, shares) = deal(2, 4);
    let mut collector = Collector::new(threshold, KeyProof::Commitment(key(0x5a).commitment()));
    let never = |_: &Dek| -> bool { unreachable!("a commitment needs no disk") };
    assert!(found(collector.received(3, altered(&shares[3]), never)).is_none());
    assert!(found(collector.received(0, copy(&shares[0]), never)).is_none());
    let recovered = found(collector.received(2, copy(&shares[2]), never)).unwrap();
    assert_eq!(recovered.dek.expose(), key(0x5a).expose());
    assert_eq!(recovered.share_set_id, ShareSetId([1; 16]));
    assert_eq!(collector.statuses(), [ShareStatus::Served, ShareStatus::Waiting, ShareStatus::Served, ShareStatus::BadShare]);
}

/// Two of four add c(x-3)(x-4) to their shares: any three of the four then lie on one polynomial of degree 2, whose key is the
/// true one plus 12c.
#[test]
fn two_colluding_shares_chosen_jointly_among_four_make_no_key() {
    let (threshold, shares) = deal(3, 4);
    let shifted = |share: &Share| {
        let x = Gf256(share.x().get());
        let shift = Gf256(0x42) * (x + Gf256(3)) * (x + Gf256(4)); // in GF(2^8) minus is plus
        share.changed(|data| data.iter_mut().for_each(|byte| *byte ^= shift.0))
    };
    let reported: Vec<Share> = shares.iter().map(shifted).collect();
    // The addition is zero at 3 and 4, so the honest two take no part, and all four agree on the wrong key.
    assert!((2..4).all(|honest| reported[honest].expose_data() == shares[honest].expose_data()));
    let keys: Vec<_> =
        [[0, 1, 2], [0, 2, 3], [1, 2, 3]].map(|of| combine(&of.map(|at| &reported[at])).unwrap().commitment()).into();
    assert!(keys.iter().all(|wrong| *wrong == keys[0] && *wrong != key_of_all()), "the four are on one polynomial");
    let mut collector = Collector::new(threshold, KeyProof::Commitment(key_of_all()));
    let never = |_: &Dek| -> bool { unreachable!("a commitment needs no disk") };
    for (vault, share) in reported.into_iter().enumerate() {
        assert!(found(collector.received(vault, share, never)).is_none());
    }
    assert!(found(collector.received(1, copy(&shares[1]), never)).is_some(), "then the address led to an honest node");
    assert_eq!(collector.statuses(), [ShareStatus::BadShare, ShareStatus::Served, ShareStatus::Served, ShareStatus::Served]);
}

#[test]
fn another_share_of_a_vault_takes_the_place_of_the_one_before() {
    let (threshold, shares) = deal(2, 3);
    let mut collector = Collector::new(threshold, KeyProof::Commitment(key_of_all()));
    let never = |_: &Dek| -> bool { unreachable!("a commitment needs no disk") };
    assert!(found(collector.received(0, altered(&shares[0]), never)).is_none());
    assert!(found(collector.received(1, copy(&shares[1]), never)).is_none());
    assert_eq!(collector.shares(), 2);
    // A vault without a share goes first.
    (0..3).for_each(|vault| collector.ready(vault));
    assert!(matches!(collector.ask_next(), Action::Ask(2)));
    assert!(matches!(collector.ask_next(), Action::Wait));
    collector.lost(2);
    assert!(matches!(collector.ask_next(), Action::Ask(0)));
    assert!(found(collector.received(0, copy(&shares[0]), never)).is_some());
}

#[test]
fn two_vaults_with_one_x_do_not_make_a_key() {
    let (threshold, shares) = deal(2, 3);
    let mut collector = Collector::new(threshold, KeyProof::Disk);
    assert!(found(collector.received(0, copy(&shares[0]), |_| true)).is_none());
    assert!(found(collector.received(1, copy(&shares[0]), |_| true)).is_none());
    assert!(found(collector.received(2, copy(&shares[2]), |_| true)).is_some());
}

proptest! {
    /// In every order of answers, with up to n - t wrong shares and any silent vault, the key is found when t right shares are
    /// in, and never a wrong one.
    #[test]
    fn key_is_found_exactly_when_enough_honest_shares_are_in(
        (needed, dealt) in (2_usize..5).prop_flat_map(|needed| (Just(needed), needed..8)),
        seed in any::<u64>(),
        lies in any::<u8>(),
    ) {
        let (threshold, shares) = deal(needed, dealt);
        let mut order: Vec<usize> = (0..dealt).collect();
        let mut state = seed;
        for i in (1..dealt).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
        }
        let lying: Vec<usize> = (0..dealt).filter(|v| lies >> v & 1 == 1).take(dealt - needed).collect();
        let mut collector = Collector::new(threshold, KeyProof::Disk);
        let mut honest = 0;
        for vault in order {
            let lie = lying.contains(&vault);
            honest += usize::from(!lie);
            let share = if lie { altered(&shares[vault]) } else { copy(&shares[vault]) };
            let done = found(collector.received(vault, share, |dek| dek.commitment() == key(0x5a).commitment()));
            prop_assert_eq!(done.is_some(), honest == needed);
            if done.is_some() {
                for liar in &lying {
                    prop_assert!(!matches!(collector.statuses()[*liar], ShareStatus::Served | ShareStatus::Spare));
                }
                break;
            }
        }
    }

    /// A collection with any order of events: vaults that never prove themselves, that become silent or break when asked, that
    /// give wrong shares. A vault is asked only when it is ready and never twice at once, no quote is wasted, and the key is
    /// found if t honest vaults answer.
    #[test]
    fn gathering_ends_well_if_enough_vaults_are_good(
        needed in 2_usize..5,
        manners in proptest::collection::vec(0_u8..6, 5..9),
        picks in proptest::collection::vec(any::<u16>(), 200),
    ) {
        let dealt = manners.len();
        let (threshold, shares) = deal(needed, dealt);
        let mut collector = Collector::new(threshold, KeyProof::Disk);
        let (mut unheard, mut asked): (Vec<usize>, Vec<usize>) = ((0..dealt).collect(), Vec::new());
        let (mut key, mut stalls) = (None, 0);
        for pick in picks {
            let mut action = Action::Wait;
            let at = usize::from(pick);
            // Either a vault answers for the first time, or one that was asked reacts.
            if !unheard.is_empty() && (asked.is_empty() || at % 3 != 0) {
                let vault = unheard.swap_remove(at % unheard.len());
                if manners[vault] == 0 { collector.lost(vault) } else { collector.ready(vault) }
            } else if !asked.is_empty() {
                let vault = asked.swap_remove(at % asked.len());
                match manners[vault] {
                    1 => collector.lost(vault),
                    2 => { collector.stalled(); stalls += 1 }
                    3 => action = collector.received(vault, altered(&shares[vault]), |dek| dek.commitment() == key_of_all()),
                    _ => action = collector.received(vault, copy(&shares[vault]), |dek| dek.commitment() == key_of_all()),
                }
            }
            loop {
                match action {
                    Action::Done(recovered) => { key = Some(recovered); break }
                    Action::Wait => {}
                    Action::Ask(vault) => {
                        prop_assert!(!asked.contains(&vault) && !unheard.contains(&vault));
                        asked.push(vault);
                    }
                }
                match collector.ask_next() {
                    Action::Wait => break,
                    next => action = next,
                }
            }
            if key.is_some() { break }
            let out = collector.statuses().iter().filter(|status| **status == ShareStatus::Asked).count();
            prop_assert!(out + collector.shares() <= needed.max(collector.shares() + 1) + stalls);
        }
        let good = manners.iter().filter(|manner| **manner > 3).count();
        if good >= needed {
            prop_assert!(key.is_some());
        }
        if let Some(recovered) = key {
            prop_assert!(recovered.dek.commitment() == key_of_all());
            for (manner, status) in manners.iter().zip(collector.statuses()) {
                prop_assert!(*manner != 3 || !matches!(status, ShareStatus::Served | ShareStatus::Spare));
            }
        }
    }
}

fn key_of_all() -> crate::Commitment {
    key(0x5a).commitment()
}
