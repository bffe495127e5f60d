//! The allow-list: a valid header, and headers with one changed value.

use super::image::{AEGIS, ARGON2ID, GCM, Image, NEW, OLD, PLAIN, SIZED_512, UUID, XTS_HMAC, auth_token_json};
use crate::luks2::{AcceptedLayout, AuthToken, DATA_OFFSET, Excerpt, Expect, FormatState, Header, Kdf, Slot, Violation, check};
use cmdline::DataCipher;
use proptest::prelude::*;
use serde_json::{Value, json};

const EXPECT: Expect = Expect { cipher: Some(DataCipher::XtsHmac), data_offset: DATA_OFFSET, rotation: false };

fn check_json(json: &Value, expect: &Expect) -> Result<AcceptedLayout, Violation> {
    check(&Header::parse(&Image::of(json).bytes()).unwrap(), expect)
}

/// The valid header with the value at `path` replaced or added.
fn with(path: &str, value: Value) -> Value {
    let mut json = XTS_HMAC.json();
    let (parent, field) = path.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[field] = value;
    json
}

/// A header during a rotation: with a second keyslot after the first.
pub(super) fn two_slots() -> Value {
    let mut json = XTS_HMAC.json();
    let mut second = json["keyslots"]["0"].clone();
    second["area"]["offset"] = json!("417792");
    json["keyslots"]["1"] = second;
    json["digests"]["0"]["keyslots"] = json!(["1", "0"]);
    json
}

fn argon2(kind: &str, time: u32, memory: u32, cpus: u32) -> Value {
    json!({"type": kind, "time": time, "memory": memory, "cpus": cpus, "salt": "BxpPKrNm8P+m/sjVOpCi3FwUuV8DBaIPxwxFO8CqnTo="})
}

#[test]
fn headers_of_other_cryptsetups_pass_for_their_own_cipher_or_any() {
    for (cipher, golden) in OLD.into_iter().chain(NEW) {
        let header = Header::parse(&golden.image().bytes()).unwrap();
        let any = check(&header, &Expect { cipher: None, ..EXPECT });
        assert_eq!(any.map(|checked| checked.cipher()), Ok(cipher), "{cipher:?}");
        for other in [DataCipher::XtsHmac, DataCipher::Aegis, DataCipher::Gcm] {
            assert_eq!(
                check(&header, &Expect { cipher: Some(other), ..EXPECT }).is_ok(),
                other == cipher,
                "{cipher:?} as {other:?}"
            );
        }
    }
}

#[test]
fn valid_header_passes_with_its_layout() {
    let checked = check_json(&XTS_HMAC.json(), &EXPECT).unwrap();
    assert_eq!(checked.uuid().to_string(), UUID);
    assert_eq!((checked.seqid(), checked.sector_size(), checked.auth_token()), (4, 4096, None));
    assert_eq!(checked.slots(), [Slot { id: 0, kdf: Kdf::Pbkdf2, memory_kib: 0, area: 32768..417_792 }]);
    let argon2id = check_json(&ARGON2ID.json(), &EXPECT).unwrap();
    assert_eq!(argon2id.slots(), [Slot { id: 0, kdf: Kdf::Argon2id, memory_kib: 65536, area: 32768..417_792 }]);
}

#[test]
fn ciphers_pass_where_the_policy_names_them() {
    let jsons = [(DataCipher::XtsHmac, XTS_HMAC.json()), (DataCipher::Aegis, AEGIS.json()), (DataCipher::Gcm, GCM.json())];
    for (cipher, json) in &jsons {
        for (expected, _) in &jsons {
            let verdict = check_json(json, &Expect { cipher: Some(*expected), ..EXPECT }).map(|_| ());
            let want = if cipher == expected { Ok(()) } else { Err(Violation::SegmentCipher) };
            assert_eq!(verdict, want, "{cipher:?} where {expected:?} is expected");
        }
    }
}

#[test]
fn disk_without_authentication_is_refused() {
    assert_eq!(check_json(&PLAIN.json(), &EXPECT), Err(Violation::SegmentIntegrity));
}

#[test]
fn keyslot_is_refused_when_one_value_is_wrong() {
    use Violation::{KeyslotArea, KeyslotCipher, KeyslotKey, KeyslotKind, KeyslotSplit};
    let cases = [
        ("type", json!("reencrypt"), KeyslotKind(0)),
        ("priority", json!(0), KeyslotKind(0)),
        ("priority", json!(2), KeyslotKind(0)),
        ("key_size", json!(64), KeyslotKey(0)),
        ("key_size", json!(0), KeyslotKey(0)),
        ("area/type", json!("journal"), KeyslotKind(0)),
        ("area/encryption", json!("cipher_null-ecb"), KeyslotCipher(0)),
        ("area/encryption", json!("cipher_null"), KeyslotCipher(0)),
        ("area/encryption", json!("null"), KeyslotCipher(0)),
        ("area/encryption", json!(""), KeyslotCipher(0)),
        ("area/encryption", json!("aes-xts-plain64 "), KeyslotCipher(0)),
        ("area/encryption", json!("aes-cbc-plain64"), KeyslotCipher(0)),
        ("area/key_size", json!(32), KeyslotCipher(0)),
        ("af/type", json!("luks2"), KeyslotSplit(0)),
        ("af/stripes", json!(1), KeyslotSplit(0)),
        ("af/hash", json!("sha1"), KeyslotSplit(0)),
        ("area/offset", json!("0"), KeyslotArea(0)),
        ("area/offset", json!("28672"), KeyslotArea(0)),
        ("area/offset", json!("32769"), KeyslotArea(0)),
        ("area/offset", json!("16777216"), KeyslotArea(0)),
        ("area/offset", json!("16396288"), KeyslotArea(0)),
        ("area/offset", json!("18446744073709547520"), KeyslotArea(0)),
        ("area/size", json!("0"), KeyslotArea(0)),
        ("area/size", json!("380928"), KeyslotArea(0)),
        ("area/size", json!("18446744073709551615"), KeyslotArea(0)),
    ];
    for (field, value, want) in cases {
        let shown = value.to_string();
        assert_eq!(check_json(&with(&format!("/keyslots/0/{field}"), value), &EXPECT), Err(want), "{field} = {shown}");
    }
    assert!(check_json(&with("/keyslots/0/area/offset", json!("16392192")), &EXPECT).is_ok(), "the last place there is");
}

#[test]
fn key_derivation_is_bounded_on_both_sides() {
    let pbkdf2 = |hash: &str, iterations: u32| json!({"type": "pbkdf2", "hash": hash, "iterations": iterations, "salt": "BxpPKrNm8P+m/sjVOpCi3FwUuV8DBaIPxwxFO8CqnTo="});
    let salted = |salt: &str| json!({"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": salt});
    let cases = [
        (pbkdf2("sha256", 1000), Some(Kdf::Pbkdf2)),
        (pbkdf2("sha256", 10_000_000), Some(Kdf::Pbkdf2)),
        (pbkdf2("sha256", 999), None),
        (pbkdf2("sha256", 10_000_001), None),
        (pbkdf2("sha1", 1000), None),
        (pbkdf2("sha512", 1000), None),
        (argon2("argon2id", 4, 1_048_576, 4), Some(Kdf::Argon2id)),
        (argon2("argon2i", 1, 8, 1), Some(Kdf::Argon2i)),
        (argon2("argon2id", 0, 65536, 1), None),
        (argon2("argon2id", 33, 65536, 1), None),
        (argon2("argon2id", 4, 1_048_577, 1), None),
        (argon2("argon2id", 4, 7, 1), None),
        (argon2("argon2id", 4, 65536, 5), None),
        (argon2("argon2id", 4, 65536, 0), None),
        (salted(""), None),
        (salted("BxpPKrNm8P+m/sjVOpCi3FwUuV8DBaIPxwxFO8CqnT=="), None),
        (salted("BxpPKrNm8P+m/sjVOpCi3FwUuV8DBaIPxwxFO8CqnTo=="), None),
        (salted("BxpPKrNm8P-m_sjVOpCi3FwUuV8DBaIPxwxFO8CqnTo="), None),
    ];
    for (kdf, want) in cases {
        let shown = kdf.to_string();
        let found = check_json(&with("/keyslots/0/kdf", kdf), &EXPECT).map(|checked| checked.slots()[0].kdf);
        assert_eq!(found, want.ok_or(Violation::KeyslotKdf(0)), "{shown}");
    }
}

#[test]
fn second_keyslot_passes_only_in_a_rotation() {
    let rotation = Expect { rotation: true, ..EXPECT };
    assert_eq!(check_json(&two_slots(), &EXPECT), Err(Violation::Keyslots));
    let slots = check_json(&two_slots(), &rotation).unwrap().slots().to_vec();
    assert_eq!(
        slots.iter().map(|slot| (slot.id, slot.area.clone())).collect::<Vec<_>>(),
        [(0, 32768..417_792), (1, 417_792..802_816)]
    );
    assert!(check_json(&XTS_HMAC.json(), &rotation).is_ok(), "one is enough");
    let mut three = two_slots();
    three["keyslots"]["2"] = three["keyslots"]["1"].clone();
    assert_eq!(check_json(&three, &rotation), Err(Violation::Keyslots));
    let mut overlapping = two_slots();
    overlapping["keyslots"]["1"]["area"]["offset"] = json!("413696");
    assert_eq!(check_json(&overlapping, &rotation), Err(Violation::KeyslotOverlap));
    let mut none = XTS_HMAC.json();
    none["keyslots"] = json!({});
    assert_eq!(check_json(&none, &EXPECT), Err(Violation::Keyslots));
    let mut second_is_null = two_slots();
    second_is_null["keyslots"]["1"]["area"]["encryption"] = json!("cipher_null-ecb");
    assert_eq!(check_json(&second_is_null, &rotation), Err(Violation::KeyslotCipher(1)));
}

#[test]
fn keyslot_of_a_rotated_disk_may_have_another_name() {
    let mut json = XTS_HMAC.json();
    json["keyslots"] = json!({"1": json["keyslots"]["0"]});
    json["digests"]["0"]["keyslots"] = json!(["1"]);
    assert_eq!(check_json(&json, &EXPECT).unwrap().slots()[0].id, 1);
}

#[test]
fn segment_is_refused_when_one_value_is_wrong() {
    use Violation::{SegmentCipher, SegmentIntegrity, SegmentKind, SegmentOffset, SegmentSector, SegmentSize, SegmentTweak};
    let cases = [
        ("type", json!("linear"), SegmentKind),
        ("flags", json!(["backup-previous"]), SegmentKind),
        ("flags", json!([]), SegmentKind),
        ("offset", json!("0"), SegmentOffset),
        ("offset", json!("32768"), SegmentOffset),
        ("size", json!("4096"), SegmentSize),
        ("iv_tweak", json!("8"), SegmentTweak),
        ("sector_size", json!(1024), SegmentSector),
        ("sector_size", json!(0), SegmentSector),
        ("encryption", json!("cipher_null-ecb"), SegmentCipher),
        ("encryption", json!("aes-xts-plain"), SegmentCipher),
        ("encryption", json!("capi:authenc(hmac(sha256),xts(aes))-plain64"), SegmentCipher),
        ("integrity/type", json!("none"), SegmentIntegrity),
        ("integrity/type", json!("crc32c"), SegmentIntegrity),
        ("integrity/type", json!("aead"), SegmentIntegrity),
        ("integrity/journal_encryption", json!("aes"), SegmentIntegrity),
        ("integrity/journal_integrity", json!("hmac(sha256)"), SegmentIntegrity),
    ];
    for (field, value, want) in cases {
        let shown = value.to_string();
        assert_eq!(check_json(&with(&format!("/segments/0/{field}"), value), &EXPECT), Err(want), "{field} = {shown}");
    }
    let small = check_json(&with("/segments/0/sector_size", json!(512)), &EXPECT).unwrap();
    assert_eq!(small.sector_size(), 512);
}

#[test]
fn header_under_a_cipher_that_is_not_allowed_is_refused_whatever_the_policy_names() {
    for cipher in [None, Some(DataCipher::XtsHmac)] {
        for name in ["cipher_null-ecb", "aes-xts-plain", "aes-cbc-essiv:sha256", "aegis128-plain64", ""] {
            let header = with("/segments/0/encryption", json!(name));
            assert_eq!(check_json(&header, &Expect { cipher, ..EXPECT }), Err(Violation::SegmentCipher), "{name}");
        }
        // Integrity and key size belong to the cipher of the segment.
        let mixed = with("/segments/0/encryption", json!("aegis128-random"));
        let want = if cipher.is_none() { Violation::SegmentIntegrity } else { Violation::SegmentCipher };
        assert_eq!(check_json(&mixed, &Expect { cipher, ..EXPECT }), Err(want));
    }
}

#[test]
fn integrity_key_has_the_size_that_the_cipher_has_or_none() {
    let (hmac, aegis, gcm) = (DataCipher::XtsHmac, DataCipher::Aegis, DataCipher::Gcm);
    let cases = [
        (hmac, Some(32), Ok(())),
        (hmac, None, Ok(())),
        (hmac, Some(0), Err(Violation::IntegrityKey(0))),
        (hmac, Some(16), Err(Violation::IntegrityKey(16))),
        (hmac, Some(64), Err(Violation::IntegrityKey(64))),
        (hmac, Some(u32::MAX), Err(Violation::IntegrityKey(u32::MAX))),
        (aegis, None, Ok(())),
        (aegis, Some(0), Err(Violation::IntegrityKey(0))),
        (aegis, Some(16), Err(Violation::IntegrityKey(16))),
        (gcm, Some(32), Err(Violation::IntegrityKey(32))),
    ];
    for (cipher, size, want) in cases {
        let mut json = match cipher {
            DataCipher::XtsHmac => XTS_HMAC.json(),
            DataCipher::Aegis => AEGIS.json(),
            DataCipher::Gcm => GCM.json(),
        };
        if let Some(size) = size {
            json["segments"]["0"]["integrity"]["key_size"] = json!(size);
        }
        for cipher in [Some(cipher), None] {
            assert_eq!(check_json(&json, &Expect { cipher, ..EXPECT }).map(drop), want, "{cipher:?}, {size:?}");
        }
    }
}

#[test]
fn integrity_key_of_cryptsetup_that_is_too_long_is_refused() {
    assert_eq!(check_json(&SIZED_512.json(), &EXPECT), Err(Violation::IntegrityKey(64)));
}

#[test]
fn data_starts_where_the_policy_pins_it() {
    let pinned = Expect { data_offset: 2 * DATA_OFFSET, ..EXPECT };
    assert_eq!(check_json(&XTS_HMAC.json(), &pinned), Err(Violation::SegmentOffset));
    assert!(check_json(&with("/segments/0/offset", json!("33554432")), &pinned).is_ok());
}

#[test]
fn segment_is_the_only_one() {
    let mut two = XTS_HMAC.json();
    two["segments"]["1"] = two["segments"]["0"].clone();
    let mut renamed = XTS_HMAC.json();
    renamed["segments"] = json!({"1": renamed["segments"]["0"]});
    let mut none = XTS_HMAC.json();
    none["segments"] = json!({});
    for json in [two, renamed, none] {
        assert_eq!(check_json(&json, &EXPECT), Err(Violation::Segments));
    }
}

#[test]
fn digest_is_refused_when_one_value_is_wrong() {
    use Violation::{DigestKind, DigestScope};
    let cases = [
        ("type", json!("none"), DigestKind),
        ("hash", json!("sha1"), DigestKind),
        ("iterations", json!(1), DigestKind),
        ("iterations", json!(u32::MAX), DigestKind),
        ("salt", json!(""), DigestKind),
        ("digest", json!(""), DigestKind),
        ("digest", json!("UvpjPaFbFUHCxczuwYRuTZjs5GE="), DigestKind),
        ("keyslots", json!([]), DigestScope),
        ("keyslots", json!(["0", "0"]), DigestScope),
        ("keyslots", json!(["1"]), DigestScope),
        ("segments", json!([]), DigestScope),
        ("segments", json!(["0", "1"]), DigestScope),
    ];
    for (field, value, want) in cases {
        let shown = value.to_string();
        assert_eq!(check_json(&with(&format!("/digests/0/{field}"), value), &EXPECT), Err(want), "{field} = {shown}");
    }
    let mut two = XTS_HMAC.json();
    two["digests"]["1"] = two["digests"]["0"].clone();
    assert_eq!(check_json(&two, &EXPECT), Err(Violation::Digests));
    let mut unbound = two_slots();
    unbound["digests"]["0"]["keyslots"] = json!(["0"]);
    assert_eq!(check_json(&unbound, &Expect { rotation: true, ..EXPECT }), Err(DigestScope), "slot that no digest is about");
}

#[test]
fn configuration_has_sizes_that_fit_and_nothing_else() {
    use Violation::{ConfigFlags, ConfigSizes, Requirement, Requirements};
    let requires = |name| Requirement(Excerpt::new(name));
    let cases = [
        ("json_size", json!("16384"), ConfigSizes),
        ("json_size", json!("0"), ConfigSizes),
        ("keyslots_size", json!("16748544"), ConfigSizes),
        ("keyslots_size", json!("16744447"), ConfigSizes),
        ("keyslots_size", json!("18446744073709551615"), ConfigSizes),
        ("flags", json!(["allow-discards"]), ConfigFlags),
        ("flags", json!([]), ConfigFlags),
        ("requirements", json!({"mandatory": ["online-reencrypt-v2"]}), requires("online-reencrypt-v2")),
        ("requirements", json!({"mandatory": ["inline-hw-tags"]}), requires("inline-hw-tags")),
        ("requirements", json!({"mandatory": ["opal", "inline-hw-tags"]}), requires("opal")),
        ("requirements", json!({"mandatory": ["\u{1b}[2J"]}), requires("\u{1b}[2J")),
        ("requirements", json!({"mandatory": []}), Requirements),
        ("requirements", json!({"mandatory": [1]}), Requirements),
        ("requirements", json!({"mandatory": "inline-hw-tags"}), Requirements),
        ("requirements", json!([]), Requirements),
        ("requirements", json!({}), Requirements),
    ];
    for (field, value, want) in cases {
        let shown = value.to_string();
        assert_eq!(check_json(&with(&format!("/config/{field}"), value), &EXPECT), Err(want), "{field} = {shown}");
    }
    let smaller = with("/config/keyslots_size", json!("385024"));
    assert!(check_json(&smaller, &EXPECT).is_ok(), "just enough for the keyslot");
}

#[test]
fn unknown_tokens_are_refused() {
    let mut without = XTS_HMAC.json();
    without["tokens"] = json!({});
    assert!(check_json(&without, &EXPECT).is_ok());
    let cases = [
        json!({"type": "luks2-keyring", "keyslots": ["0"], "key_description": "k"}),
        json!({"type": "systemd-tpm2", "keyslots": ["0"]}),
        json!({"type": "privasys-vault2", "keyslots": []}),
        json!({"keyslots": []}),
        json!({"type": 1}),
        json!("privasys-vault"),
        json!(null),
    ];
    for token in cases {
        let shown = token.to_string();
        assert_eq!(check_json(&with("/tokens/3", token), &EXPECT), Err(Violation::Token(3)), "{shown}");
    }
}

#[test]
fn auth_token_is_read_exactly_as_it_is_written() {
    let token = AuthToken { id: 3, state: FormatState::Ready, mac: [0x5a; 32] };
    assert_eq!(check_json(&with("/tokens/3", auth_token_json()), &EXPECT).unwrap().auth_token(), Some(&token));
    let mut formatting = auth_token_json();
    formatting["state"] = json!(FormatState::Formatting.as_str());
    let checked = check_json(&with("/tokens/3", formatting), &EXPECT).unwrap();
    assert_eq!(checked.auth_token(), Some(&AuthToken { state: FormatState::Formatting, ..token }));
    let cases = [
        ("keyslots", json!(["0"])),
        ("version", json!(2)),
        ("version", json!("1")),
        ("state", json!("done")),
        ("state", json!("Ready")),
        ("mac", json!("5A".repeat(32))),
        ("mac", json!("5a".repeat(31))),
        ("mac", json!(null)),
        ("extra", json!(1)),
    ];
    for (field, value) in cases {
        let mut token = auth_token_json();
        token[field] = value;
        assert_eq!(check_json(&with("/tokens/3", token.clone()), &EXPECT), Err(Violation::AuthToken(3)), "{token}");
    }
    let mut two = with("/tokens/3", auth_token_json());
    two["tokens"]["9"] = auth_token_json();
    assert_eq!(check_json(&two, &EXPECT), Err(Violation::AuthToken(9)));
}

proptest! {
    #[test]
    fn numbers_of_any_size_are_judged_without_panic(offset: u64, size: u64, keyslots: u64, data: u64) {
        let mut json = two_slots();
        json["keyslots"]["0"]["area"]["offset"] = json!(offset.to_string());
        json["keyslots"]["1"]["area"]["size"] = json!(size.to_string());
        json["config"]["keyslots_size"] = json!(keyslots.to_string());
        json["segments"]["0"]["offset"] = json!(data.to_string());
        let expect = Expect { rotation: true, data_offset: data, ..EXPECT };
        prop_assert!(check_json(&json, &expect).is_err());
    }

    #[test]
    fn any_word_in_place_of_a_cipher_is_refused(word in "[ -~]{0,24}") {
        prop_assume!(word != "aes-xts-plain64");
        let json = with("/keyslots/0/area/encryption", json!(word));
        prop_assert_eq!(check_json(&json, &EXPECT), Err(Violation::KeyslotCipher(0)));
        let json = with("/segments/0/encryption", json!(word));
        prop_assert_eq!(check_json(&json, &EXPECT), Err(Violation::SegmentCipher));
    }
}
