//! Restores of a saved header, with power cuts.

use super::image::{Image, UUID, XTS_HMAC, put};
use crate::luks2::{
    AcceptedLayout, Copy, DATA_OFFSET, Expect, Header, RestorePlan, SoundCopy, check, has_other_volume_key, identifiers,
    plan_restore, repair, sound_copies,
};
use cmdline::DataCipher;
use proptest::prelude::*;
use serde_json::json;

const EXPECT: Expect = Expect { cipher: Some(DataCipher::XtsHmac), data_offset: DATA_OFFSET, rotation: true };
/// Where the first keyslot is, and the size of one.
const KEYS: usize = 32768;
const KEY: usize = 385_024;
const LENGTH: usize = KEYS + 2 * KEY;

/// A header area with one keyslot, at the first or the second position, with `fill` as key material.
fn area(seqid: u64, place: usize, fill: u8) -> Vec<u8> {
    let mut json = XTS_HMAC.json();
    json["keyslots"]["0"]["area"]["offset"] = json!((KEYS + place * KEY).to_string());
    let mut bytes = Image { seqid, ..Image::of(&json) }.bytes();
    bytes.resize(LENGTH, 0);
    bytes[KEYS + place * KEY..KEYS + (place + 1) * KEY].fill(fill);
    bytes
}

fn parsed(image: &[u8]) -> (Header, AcceptedLayout) {
    let header = Header::parse(image).unwrap();
    let checked = check(&header, &EXPECT).unwrap();
    (header, checked)
}

fn plan(found: &[u8], saved: &[u8]) -> RestorePlan {
    let (header, checked) = parsed(saved);
    plan_restore(found, saved, &header, &checked).unwrap()
}

/// Returns the fill byte of the key material that the header refers to, if all bytes are equal.
fn key_material(disk: &[u8]) -> Option<u8> {
    let slot = parsed(disk).1.slots()[0].area.clone();
    let range = usize::try_from(slot.start).unwrap()..usize::try_from(slot.end).unwrap();
    let first = disk[range.start];
    disk[range].iter().all(|byte| *byte == first).then_some(first)
}

/// The disk after a power cut: with all groups before `cut`, and the sectors of that group for which `kept` has a bit.
fn cut_at(found: &[u8], plan: &RestorePlan, cut: usize, kept: u64) -> Vec<u8> {
    let mut disk = found.to_vec();
    for (number, group) in plan.groups.iter().enumerate().take(cut + 1) {
        for (sector, start) in group.iter().flat_map(|area| area.clone().step_by(512)).enumerate() {
            if number < cut || kept.rotate_left(u32::try_from(sector % 64).unwrap()) & 1 == 1 {
                put(&mut disk, start, &plan.image[start..start + 512]);
            }
        }
    }
    disk
}

fn torn(mut image: Vec<u8>, at: usize) -> Vec<u8> {
    image[at] ^= 1;
    image
}

#[test]
fn restored_header_is_the_newest_and_everything_else_as_saved() {
    let saved = area(5, 0, 0xaa);
    let blank = vec![0; LENGTH];
    let spoiled = [KEYS + 7, 5000].into_iter().fold(saved.clone(), torn);
    let damaged = torn(torn(area(9, 1, 0xbb), 5000), 16384 + 5000);
    // The contents of the disk, the sequence number at the end, and whether both headers need the same bytes.
    let cases = [
        ("the same", saved.clone(), 5, false),
        ("key material spoiled", torn(saved.clone(), KEYS + 7), 5, true),
        ("one copy and key material spoiled", spoiled, 5, true),
        ("one copy torn", torn(saved.clone(), 5000), 5, false),
        ("an older one", area(4, 1, 0xbb), 5, false),
        ("another of the same number", area(5, 1, 0xbb), 6, false),
        ("a newer one", area(9, 1, 0xbb), 10, false),
        ("the same under a newer number, key material spoiled", area(9, 0, 0xbb), 9, true),
        ("the newest that there can be", area(u64::MAX, 1, 0xbb), u64::MAX, false),
        ("nothing", blank, 5, false),
        ("both copies torn", damaged, 5, false),
    ];
    for (name, found, seqid, shares) in cases {
        let plan = plan(&found, &saved);
        let (header, _) = parsed(&plan.image);
        assert_eq!((header.seqid(), plan.shares_key_material), (seqid, shares), "{name}");
        assert_eq!(header.metadata, parsed(&saved).0.metadata, "{name}");
        assert_eq!(plan.image[KEYS..], saved[KEYS..], "{name}");
        assert!(cut_at(&found, &plan, 3, u64::MAX) == plan.image, "{name}");
    }
}

/// Also with a raised sequence number, which then differs from that of the saved header.
#[test]
fn second_restore_has_nothing_to_write() {
    let saved = area(5, 0, 0xaa);
    for found in [vec![0; LENGTH], saved.clone(), area(9, 1, 0xbb), area(u64::MAX, 1, 0xbb)] {
        let disk = plan(&found, &saved).image;
        let again = plan(&disk, &saved);
        assert!(again.image == disk && again.groups.iter().all(Vec::is_empty));
        let torn_once = plan(&torn(disk.clone(), 5000), &saved);
        assert!(torn_once.image == disk, "the other copy is the same, so the number stays");
    }
}

#[test]
fn only_whole_copy_is_written_last() {
    let saved = area(5, 0, 0xaa);
    let (primary, secondary) = (0..16384, 16384..32768);
    let other = area(9, 1, 0xbb);
    let older = |at: usize| {
        let mut disk = other.clone();
        put(&mut disk, at, &area(8, 1, 0xbb)[at..at + 16384]);
        disk
    };
    let cases = [
        ("both whole", other.clone(), &primary),
        ("primary torn", torn(other.clone(), 5000), &primary),
        ("secondary torn", torn(other.clone(), 16384 + 5000), &secondary),
        ("primary older", older(0), &primary),
        ("secondary older", older(16384), &secondary),
    ];
    for (name, found, first) in cases {
        let plan = plan(&found, &saved);
        let place = plan.groups[1].first().unwrap().start;
        assert!(first.contains(&place), "{name}: {place}");
    }
}

#[test]
fn sound_copies_and_the_volume_key_are_told() {
    let uuid = encoding::text::uuid(UUID).unwrap();
    let one = |copy, seqid| SoundCopy { copy, uuid, seqid };
    let mut other = XTS_HMAC.json();
    other["digests"]["0"]["salt"] = json!(format!("{}=", "A".repeat(43)));
    let mut other = Image::of(&other).bytes();
    other.resize(LENGTH, 0);
    let mut mixed = area(5, 0, 0);
    put(&mut mixed, 0, &area(6, 0, 0)[..16384]);
    let header = parsed(&area(5, 0, 0)).0;
    let cases = [
        ("whole", area(5, 0, 0), vec![one(Copy::Primary, 5), one(Copy::Secondary, 5)], false),
        ("of two ages", mixed, vec![one(Copy::Primary, 6), one(Copy::Secondary, 5)], false),
        ("primary torn", torn(area(5, 0, 0), 5000), vec![one(Copy::Secondary, 5)], false),
        ("another volume key", other, vec![one(Copy::Primary, 4), one(Copy::Secondary, 4)], true),
        ("zeros", vec![0; LENGTH], vec![], false),
        ("nothing", vec![], vec![], false),
    ];
    for (name, image, want, is_other) in cases {
        assert_eq!(sound_copies(&image), want, "{name}");
        assert_eq!(has_other_volume_key(&image, &header), is_other, "{name}");
    }
}

#[test]
fn identifiers_are_read_from_what_is_left() {
    let uuid = encoding::text::uuid(UUID).unwrap();
    let mut second_only = area(5, 0, 0);
    second_only[..16384].fill(0);
    let mut luks1 = area(5, 0, 0)[..4096].to_vec();
    luks1[7] = 1;
    let mut unreadable = area(5, 0, 0);
    unreadable[168..208].fill(0xff);
    let cases = [
        ("whole", area(5, 0, 0), vec![uuid, uuid]),
        ("torn", torn(area(5, 0, 0), 5000), vec![uuid, uuid]),
        ("second copy alone", second_only, vec![uuid]),
        ("version 1", luks1, vec![uuid]),
        ("unreadable", unreadable, vec![uuid]),
        ("zeros", vec![0; LENGTH], vec![]),
        ("cut", area(5, 0, 0)[..200].to_vec(), vec![]),
        ("nothing", vec![], vec![]),
    ];
    for (name, image, want) in cases {
        assert_eq!(identifiers(&image), want, "{name}");
    }
}

proptest! {
    /// After a power cut in any group, with some of its sectors written, the better copy is the old or the saved header, and its key
    /// material is complete.
    #[test]
    fn cut_anywhere_leaves_a_whole_header(
        before in 3_u64..8, place in 0_usize..2, tear in 0_usize..3, cut in 0_usize..4, kept: u64,
    ) {
        let saved = area(5, 0, 0xaa);
        let mut found = area(before, place, 0xbb);
        if tear > 0 {
            found = torn(found, (tear - 1) * 16384 + 5000);
        }
        let plan = plan(&found, &saved);
        prop_assert_eq!(plan.shares_key_material, place == 0);
        prop_assume!(!plan.shares_key_material || cut > 0);
        let mut disk = cut_at(&found, &plan, cut, kept);
        prop_assert_eq!(repair(&mut disk), Ok(()));
        let metadata = parsed(&disk).0.metadata;
        let is_saved = metadata == parsed(&saved).0.metadata;
        let want = if is_saved { 0xaa } else { 0xbb };
        prop_assert!(is_saved || place == 1);
        prop_assert_eq!(key_material(&disk), Some(want));
    }

    #[test]
    fn plan_never_panics(found: Vec<u8>, at in 0_usize..32768, value: u8) {
        let saved = area(5, 0, 0xaa);
        let mut spoiled = area(5, 1, 0xbb);
        spoiled[at] = value;
        for disk in [found, spoiled] {
            let _plan = (plan(&disk, &saved), identifiers(&disk), sound_copies(&disk));
        }
    }
}
