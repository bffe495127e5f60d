//! Parsing of headers.

use super::image::{AEGIS, ARGON2ID, GCM, Image, NEW, OLD, PLAIN, SIZED_512, UUID, XTS_HMAC, auth_token_json, put, sign};
use crate::luks2::{Copy, Error, Excerpt, Header};
use encoding::hex::encode;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The golden header with changed bytes in one copy and a new checksum.
fn with(copy: Copy, at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = Image::golden().bytes();
    let start = if copy == Copy::Primary { 0 } else { 16384 };
    let whole = &mut bytes[start..start + 16384];
    put(whole, at, value);
    sign(whole);
    bytes
}

fn parse_json(json: &(impl ToString + ?Sized)) -> Result<Header, Error> {
    Header::parse(&Image::of(json).bytes())
}

#[test]
fn headers_of_cryptsetup_are_read() {
    let others = OLD.into_iter().chain(NEW).map(|(_, golden)| golden);
    for golden in [XTS_HMAC, AEGIS, GCM, ARGON2ID, PLAIN, SIZED_512].into_iter().chain(others) {
        let bytes = golden.image().bytes();
        assert_eq!(checksums(&bytes), golden.checksums(), "the writer is right");
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.size(), header.seqid()), (16384, golden.seqid));
        assert_eq!((header.label(), header.subsystem()), ("data", ""));
        assert_eq!(header.uuid().to_string(), UUID);
    }
}

fn checksums(bytes: &[u8]) -> [String; 2] {
    [448, 16384 + 448].map(|at| encode(&bytes[at..at + 32]))
}

#[test]
fn header_is_read_from_any_longer_image() {
    let mut bytes = Image::golden().bytes();
    let header = Header::parse(&bytes).unwrap();
    bytes.extend([0xaa; 5000]);
    assert_eq!(Header::parse(&bytes), Ok(header));
}

#[test]
fn header_may_have_nine_sizes() {
    for power in 14..=22 {
        let image = Image { size: 1 << power, ..Image::golden() };
        assert_eq!(Header::parse(&image.bytes()).map(|header| header.size()), Ok(1 << power));
    }
    for size in [8192, 16384 + 4096, 1 << 23] {
        let image = Image { size, ..Image::golden() };
        assert_eq!(Header::parse(&image.bytes()), Err(Error::Size(Copy::Primary)), "{size}");
    }
}

#[test]
fn header_is_refused_when_one_field_is_wrong() {
    type Refusal = fn(Copy) -> Error;
    let cases: [(&str, usize, &[u8], Refusal); 18] = [
        ("magic", 0, b"luks", Error::Magic),
        ("version 1", 6, &[0, 1], Error::Version),
        ("version 3", 6, &[0, 3], Error::Version),
        ("size 0", 8, &[0; 8], Error::Size),
        ("largest size", 8, &[0xff; 8], Error::Size),
        ("offset of another copy", 256, &[0, 0, 0, 0, 0, 0, 0x80, 0], Error::Offset),
        ("sha1", 72, b"sha1\0\0", Error::Algorithm),
        ("sha512", 72, b"sha512", Error::Algorithm),
        ("behind the algorithm", 80, b"x", Error::Algorithm),
        ("label without an end", 24, &[b'l'; 48], Error::Text),
        ("label that is not text", 24, &[0xff], Error::Text),
        ("behind the label", 30, b"x", Error::Text),
        ("behind the subsystem", 210, b"x", Error::Text),
        ("uuid in upper case", 168, b"6B", Error::Text),
        ("no uuid", 168, &[0; 40], Error::Text),
        ("padding", 264, &[1], Error::Padding),
        ("second padding", 4095, &[1], Error::Padding),
        ("end of the json area", 16383, &[1], Error::JsonArea),
    ];
    for (name, at, value, refusal) in cases {
        for copy in [Copy::Primary, Copy::Secondary] {
            assert_eq!(Header::parse(&with(copy, at, value)), Err(refusal(copy)), "{copy}: {name}");
        }
    }
}

#[test]
fn checksum_covers_each_bit() {
    let good = Image::golden().bytes();
    for (at, copy) in [(20, Copy::Primary), (110, Copy::Primary), (479, Copy::Primary), (5000, Copy::Primary)]
        .into_iter()
        .chain([(16384 + 24, Copy::Secondary), (16384 + 16383, Copy::Secondary), (16384 + 480, Copy::Secondary)])
    {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert_eq!(Header::parse(&bytes), Err(Error::Checksum(copy)), "byte {at}");
    }
}

#[test]
fn different_copies_are_refused() {
    let other = |changed: Image| {
        let mut bytes = Image::golden().copy(0);
        bytes.extend(changed.copy(1));
        Header::parse(&bytes)
    };
    let golden = Image::golden();
    assert!(other(golden.clone()).is_ok());
    let cases = [
        ("sequence", Image { seqid: 5, ..golden.clone() }),
        ("label", Image { label: "other", ..golden.clone() }),
        ("uuid", Image { uuid: "6b3f1c0e-0000-4000-8000-000000000002", ..golden }),
        ("json", Image::of(&PLAIN.text().replace("4096", "512"))),
        ("json's white space", Image::of(&PLAIN.text().replacen(':', ": ", 1))),
    ];
    for (name, changed) in cases {
        assert_eq!(other(changed), Err(Error::CopiesDiffer), "{name}");
    }
}

#[test]
fn image_is_long_enough_for_both_copies() {
    let bytes = Image::golden().bytes();
    let cases = [
        (0, Error::Truncated),
        (5, Error::Truncated),
        (300, Error::Truncated),
        (16383, Error::Truncated),
        (16384, Error::Truncated),
        (32767, Error::Truncated),
    ];
    for (length, want) in cases {
        assert_eq!(Header::parse(&bytes[..length]), Err(want), "{length}");
    }
    assert_eq!(Header::parse(&vec![0; 32768]), Err(Error::Magic(Copy::Primary)));
}

#[test]
fn json_area_holds_one_object() {
    let plain = PLAIN.text();
    let full = format!("{{{}}}", "x".repeat(12286));
    let cases = [
        ("nothing", String::new(), Error::JsonArea(Copy::Primary)),
        ("white space before", format!(" {plain}"), Error::JsonArea(Copy::Primary)),
        ("white space behind", format!("{plain} "), Error::JsonArea(Copy::Primary)),
        ("a second object behind a nul", format!("{plain}\0{{}}"), Error::JsonArea(Copy::Primary)),
        ("a second object", format!("{plain}{{}}"), Error::Json),
        ("no nul", full, Error::JsonArea(Copy::Primary)),
        ("a list", "[]".to_owned(), Error::JsonArea(Copy::Primary)),
        ("no fields", "{}".to_owned(), Error::Model),
        ("not json", "{keyslots}".to_owned(), Error::Json),
    ];
    for (name, json, want) in cases {
        assert_eq!(parse_json(&json), Err(want), "{name}");
    }
}

#[test]
fn repeated_keys_are_refused_everywhere() {
    let twice = |one: &str| parse_json(&PLAIN.text().replacen(one, &format!("{one},{one}"), 1));
    for one in [r#""sector_size":4096"#, r#""keyslots_size":"16744448""#, r#""nodes":["a"]"#, r#""stripes":4000"#] {
        assert_eq!(twice(one), Err(Error::Ambiguous), "{one}");
    }
    let segments = PLAIN.text().replacen(r#""segments":{"#, r#""segments":{"0":{},"#, 1);
    assert_eq!(parse_json(&segments), Err(Error::Ambiguous));
}

/// The plain header with the value at `path` replaced or added.
fn with_field(path: &str, value: Value) -> Value {
    let (parent, field) = path.rsplit_once('/').unwrap();
    let mut json = PLAIN.json();
    json.pointer_mut(parent).unwrap()[field] = value;
    json
}

#[test]
fn fields_of_another_type_are_refused() {
    let cases: [(&str, Value); 11] = [
        ("/config/json_size", json!(12288)),
        ("/config/flags", json!(null)),
        ("/keyslots", json!([])),
        ("/keyslots/0/priority", json!(null)),
        ("/keyslots/0/kdf", json!({"type": "scrypt", "n": 1})),
        ("/keyslots/0/area/offset", json!("+32768")),
        ("/keyslots/00", json!({})),
        ("/segments/0/size", json!("static")),
        ("/segments/0/integrity", json!(null)),
        ("/segments/0/integrity", json!({"type": "a", "journal_encryption": "b", "journal_integrity": "c", "key_size": "32"})),
        ("/digests/0/iterations", json!("1000")),
    ];
    for (path, value) in cases {
        assert_eq!(parse_json(&with_field(path, value)), Err(Error::Model), "{path}");
    }
}

#[test]
fn unknown_field_is_named() {
    let long = format!("/config/{}", "x".repeat(200));
    let cut = format!("config/{}...", "x".repeat(54));
    let cases = [
        ("/extra", "extra"),
        ("/config/extra", "config/extra"),
        ("/keyslots/0/extra", "keyslots/0/extra"),
        ("/keyslots/0/af/extra", "keyslots/0/af/extra"),
        ("/keyslots/0/area/shift_size", "keyslots/0/area/shift_size"),
        ("/keyslots/0/kdf/extra", "keyslots/0/kdf/extra"),
        ("/keyslots/0/kdf/memory", "keyslots/0/kdf/memory"),
        ("/segments/0/opal_key_size", "segments/0/opal_key_size"),
        ("/segments/0/integrity/inline", "segments/0/integrity/inline"),
        ("/digests/0/extra", "digests/0/extra"),
        ("/config/a\n\u{1b}[2J", r"config/a\n\u{1b}[2J"),
        (&long, &cut),
    ];
    for (path, want) in cases {
        let mut json = PLAIN.json();
        json["segments"]["0"]["integrity"] = json!({"type": "aead", "journal_encryption": "none", "journal_integrity": "none"});
        let (parent, field) = path.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[field] = json!(32);
        let error = parse_json(&json).unwrap_err();
        assert_eq!(error.to_string(), format!("json has the field {want}, which this version does not know"));
    }
}

#[test]
fn requirement_is_reported_before_its_fields() {
    let mut json = with_field("/segments/0/tags", json!(1));
    json["config"]["requirements"] = json!({"mandatory": ["tags-v9\n", "other"]});
    let error = parse_json(&json).unwrap_err();
    assert_eq!(error.to_string(), r"the header requires tags-v9\n, which this version does not support");
    json["config"]["requirements"] = json!({"mandatory": []});
    assert_eq!(parse_json(&json), Err(Error::UnknownField(Excerpt::new("segments/0/tags"))));
}

#[test]
fn text_for_the_seal_leaves_the_seal_out() {
    let plain = parse_json(&XTS_HMAC.json()).unwrap().json_without_auth_token();
    let mut with_token = XTS_HMAC.json();
    with_token["tokens"]["0"] = auth_token_json();
    assert_eq!(parse_json(&with_token).unwrap().json_without_auth_token(), plain);
    with_token["tokens"]["0"]["mac"] = json!("00".repeat(32));
    assert_eq!(parse_json(&with_token).unwrap().json_without_auth_token(), plain);
    let mut sized = with_token.clone();
    sized["segments"]["0"]["integrity"]["key_size"] = json!(32);
    with_token["segments"]["0"]["sector_size"] = json!(512);
    for other in [with_token, sized] {
        assert_ne!(parse_json(&other).unwrap().json_without_auth_token(), plain);
    }
}

#[test]
fn text_for_the_seal_is_sorted_and_tight() {
    let json = Image::golden().json[0].replacen(':', " : ", 9);
    let text = parse_json(&json).unwrap().json_without_auth_token();
    assert!(text.starts_with(r#"{"config":{"json_size":"12288","keyslots_size":"16744448"},"digests":{"0":{"digest":"#));
    assert!(text.ends_with(r#""tokens":{"7":{"keyslots":[],"nodes":["a"],"type":"privasys-vault"}}}"#), "{text}");
    assert_eq!(text, parse_json(PLAIN.text()).unwrap().json_without_auth_token());
}

proptest! {
    #[test]
    fn parse_never_panics(bytes: Vec<u8>, at in 0_usize..4096, value: [u8; 4]) {
        let _read = Header::parse(&bytes);
        for copy in [Copy::Primary, Copy::Secondary] {
            let _read = Header::parse(&with(copy, at.min(4092), &value));
        }
    }

    #[test]
    fn any_field_that_is_not_known_is_named(at in 0_usize..8, name in "[a-z_]{12,20}") {
        let parents = ["", "/config", "/keyslots/0", "/keyslots/0/af", "/keyslots/0/area", "/keyslots/0/kdf", "/segments/0", "/digests/0"];
        prop_assume!(!PLAIN.text().contains(&name));
        let path = format!("{}/{name}", parents[at]);
        let want = Error::UnknownField(Excerpt::new(&path[1..]));
        prop_assert_eq!(parse_json(&with_field(&path, json!({"a": 1}))), Err(want));
    }

    #[test]
    fn parse_never_panics_on_changed_json(at in 0_usize..PLAIN.text().len(), text in "[]{}\",:0-9a-]{0,3}") {
        let mut json = PLAIN.text().to_owned();
        json.insert_str(at, &text);
        if let Ok(header) = parse_json(&json) {
            prop_assert_eq!(parse_json(&header.json_without_auth_token()).map(|again| again.metadata), Ok(header.metadata));
        }
    }
}
