//! What the MAC covers, and in which order a changed header is written.

use super::allowlist::two_slots;
use super::image::{Image, XTS_HMAC, auth_token_json, put};
use crate::luks2::{
    AcceptedLayout, AuthToken, DATA_OFFSET, Expect, FormatState, Header, auth_message, check, check_parts, clear_unused, repair,
    writes,
};
use cmdline::DataCipher;
use proptest::prelude::*;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

const EXPECT: Expect = Expect { cipher: Some(DataCipher::XtsHmac), data_offset: DATA_OFFSET, rotation: true };
const SIZE: u64 = 16384;
/// Both headers and two keyslots, 385,024 bytes each.
const LENGTH: usize = 32768 + 2 * 385_024;

/// A header area with this metadata, and `fill` as key material.
fn area(json: &Value, seqid: u64, fill: u8) -> Vec<u8> {
    let mut bytes = Image { seqid, ..Image::of(json) }.bytes();
    bytes.resize(LENGTH, fill);
    bytes
}

fn parsed(image: &[u8]) -> (Header, AcceptedLayout) {
    let header = Header::parse(image).unwrap();
    let checked = check(&header, &EXPECT).unwrap();
    (header, checked)
}

fn message(image: &[u8], state: FormatState) -> Option<Vec<u8>> {
    let (header, checked) = parsed(image);
    auth_message(&header, &checked, image, state)
}

#[test]
fn message_is_each_field_behind_its_length() {
    let image = area(&XTS_HMAC.json(), 4, 0xaa);
    let header = Header::parse(&image).unwrap();
    let json = header.json_without_auth_token();
    let key = digest(&SHA256, &image[32768..32768 + 385_024]);
    let fields: [&[u8]; 9] = [
        b"cvm-init header seal v1",
        b"ready",
        json.as_bytes(),
        b"6b3f1c0e-0000-4000-8000-000000000001",
        b"data",
        b"",
        b"16384",
        b"0",
        key.as_ref(),
    ];
    let want: Vec<u8> =
        fields.iter().flat_map(|field| [&u32::try_from(field.len()).unwrap().to_be_bytes(), *field].concat()).collect();
    assert_eq!(message(&image, FormatState::Ready), Some(want));
    assert_eq!(message(&image[..400_000], FormatState::Ready), None);
}

#[test]
fn message_changes_with_whatever_decides_and_with_nothing_else() {
    let good = message(&area(&XTS_HMAC.json(), 4, 0xaa), FormatState::Ready);
    let mut with_token = XTS_HMAC.json();
    with_token["tokens"]["3"] = auth_token_json();
    assert_eq!(message(&area(&with_token, 9, 0xaa), FormatState::Ready), good, "neither the token itself nor the sequence");
    assert_ne!(message(&area(&with_token, 9, 0xaa), FormatState::Formatting), good);
    let json = |path: &str, value: Value| {
        let mut json = XTS_HMAC.json();
        *json.pointer_mut(path).unwrap() = value;
        area(&json, 4, 0xaa)
    };
    let mut token = XTS_HMAC.json();
    token["tokens"]["7"] = json!({"type": "privasys-vault", "keyslots": []});
    let mut sized = XTS_HMAC.json();
    sized["segments"]["0"]["integrity"]["key_size"] = json!(32);
    let label = Image { label: "other", ..Image::of(&XTS_HMAC.json()) };
    let mut labelled = label.bytes();
    labelled.resize(LENGTH, 0xaa);
    let mut flipped = area(&XTS_HMAC.json(), 4, 0xaa);
    flipped[32768 + 385_023] ^= 1;
    for (name, image) in [
        ("iterations", json("/keyslots/0/kdf/iterations", json!(1001))),
        ("salt", json("/keyslots/0/kdf/salt", json!(format!("{}=", "A".repeat(43))))),
        ("digest", json("/digests/0/digest", json!(format!("{}=", "A".repeat(43))))),
        ("sector size", json("/segments/0/sector_size", json!(512))),
        ("integrity key", area(&sized, 4, 0xaa)),
        ("a token", area(&token, 4, 0xaa)),
        ("label", labelled),
        ("last byte of the key material", flipped),
    ] {
        assert_ne!(message(&image, FormatState::Ready), good, "{name}");
    }
}

#[test]
fn token_is_read_as_it_is_written() {
    for state in [FormatState::Formatting, FormatState::Ready] {
        let mut json = XTS_HMAC.json();
        json["tokens"]["5"] = AuthToken::json(state, &[0xc3; 32]);
        let (_, checked) = parsed(&area(&json, 4, 0));
        assert_eq!(checked.auth_token(), Some(&AuthToken { id: 5, state, mac: [0xc3; 32] }));
    }
}

#[test]
fn examination_tells_each_part_by_itself() {
    let mut json = XTS_HMAC.json();
    json["segments"]["0"]["encryption"] = json!("cipher_null-ecb");
    json["tokens"]["1"] = json!({"type": "luks2-keyring", "keyslots": []});
    let found = check_parts(&Header::parse(&area(&json, 4, 0)).unwrap(), &EXPECT);
    assert_eq!(found.map(|part| part.is_ok()), [true, false, true, true, false]);
}

#[test]
fn unused_bytes_are_cleared_and_no_others() {
    let mut image = area(&XTS_HMAC.json(), 4, 0xaa);
    let (_, checked) = parsed(&image);
    let before = image.clone();
    clear_unused(&mut image, SIZE, &checked);
    assert_eq!(image[..32768 + 385_024], before[..32768 + 385_024]);
    assert!(image[32768 + 385_024..].iter().all(|byte| *byte == 0));
}

/// The header area before a keyslot is added, and after; or the other way round.
fn change(adds: bool) -> [Vec<u8>; 2] {
    let mut one = area(&XTS_HMAC.json(), if adds { 4 } else { 5 }, 0xaa);
    one[32768 + 385_024..].fill(0);
    let two = area(&two_slots(), if adds { 5 } else { 4 }, 0xaa);
    if adds { [one, two] } else { [two, one] }
}

#[test]
fn key_material_is_written_before_what_names_it_and_cleared_after() {
    let [before, after] = change(true);
    let groups = writes(&before, &after, SIZE, &parsed(&after).1);
    assert_eq!(groups.clone().map(|group| group.len()), [1, 1, 1, 0]);
    assert_eq!(groups[0].first(), Some(&(32768 + 385_024..LENGTH)));
    let [before, after] = change(false);
    assert_eq!(writes(&before, &after, SIZE, &parsed(&after).1).map(|group| group.len()), [0, 1, 1, 1]);
    assert_eq!(writes(&after, &after, SIZE, &parsed(&after).1).map(|group| group.len()), [0; 4]);
}

proptest! {
    /// After a power cut in any group, with some of its 512-byte sectors written, the better copy is the old or the new header, and its key
    /// material is complete.
    #[test]
    fn cut_anywhere_leaves_the_old_header_or_the_new(adds: bool, cut in 0_usize..4, kept: u64) {
        let [before, after] = change(adds);
        let groups = writes(&before, &after, SIZE, &parsed(&after).1);
        let mut disk = before.clone();
        for (number, group) in groups.iter().enumerate().take(cut + 1) {
            for area in group {
                for (sector, start) in area.clone().step_by(512).enumerate() {
                    if number < cut || kept.rotate_left(u32::try_from(sector % 64).unwrap()) & 1 == 1 {
                        put(&mut disk, start, &after[start..start + 512]);
                    }
                }
            }
        }
        prop_assert_eq!(repair(&mut disk), Ok(()));
        let (header, checked) = parsed(&disk);
        let whole = [&before, &after].into_iter().find(|image| Header::parse(image).as_ref() == Ok(&header));
        prop_assert!(whole.is_some());
        for slot in checked.slots() {
            let range = usize::try_from(slot.area.start).unwrap()..usize::try_from(slot.area.end).unwrap();
            prop_assert!(disk[range].iter().all(|byte| *byte == 0xaa));
        }
    }
}
