//! Attacks of a malicious host on the content of a disk, against the public functions of the crate.

use cmdline::DataCipher;
use ondisk::luks2::{self, Expect, Header};
use ondisk::{blank, gpt, verity};
use proptest::prelude::*;

#[test]
fn disk_with_any_byte_in_the_checked_ranges_is_not_blank() {
    let header = include_bytes!("../src/luks2/tests/golden/plain.txt");
    let [front, back] = blank::ranges(64 << 20).unwrap();
    let mut disk = vec![0_u8; 64 << 20];
    let is_blank = |disk: &[u8]| {
        [&front, &back].into_iter().all(|range| {
            let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
            blank::is_blank(&disk[start..end])
        })
    };
    assert!(is_blank(&disk));
    for at in [0, 4096, (16 << 20) + 4000, (64 << 20) - header.len()] {
        disk[at..at + 16].copy_from_slice(&header[..16]);
        assert!(!is_blank(&disk), "{at}");
        disk[at..at + 16].fill(0);
    }
}

#[test]
fn headers_of_other_formats_are_refused() {
    let mut luks1 = vec![0_u8; 1 << 20];
    luks1[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
    assert_eq!(Header::parse(&luks1), Err(luks2::Error::Version(luks2::Copy::Primary)));
    let mut ext4 = vec![0_u8; 1 << 20];
    ext4[1080..1082].copy_from_slice(&[0x53, 0xef]);
    assert_eq!(Header::parse(&ext4), Err(luks2::Error::Magic(luks2::Copy::Primary)));
    let mut backup = vec![0_u8; 512];
    backup[..8].copy_from_slice(b"EFI PART");
    assert_eq!(gpt::Header::parse(&backup, 1 << 20), Err(gpt::Error::Revision));
    assert_eq!(verity::Superblock::parse(&backup), Err(verity::Error::Signature));
}

/// A LUKS2 header with valid checksums and any metadata.
fn header_with(json: &str) -> Vec<u8> {
    let copy = |magic: &[u8], place: u64| {
        let mut copy = vec![0_u8; 16384];
        let size = 16384_u64.to_be_bytes();
        let fields: [(usize, &[u8]); 7] = [
            (0, magic),
            (6, &[0, 2]),
            (8, &size),
            (72, b"sha256"),
            (168, b"6b3f1c0e-0000-4000-8000-000000000001"),
            (256, &place.to_be_bytes()),
            (4096, json.as_bytes()),
        ];
        for (at, value) in fields {
            copy.splice(at..at + value.len(), value.iter().copied());
        }
        let checksum = ring::digest::digest(&ring::digest::SHA256, &copy);
        copy.splice(448..480, checksum.as_ref().iter().copied());
        copy
    };
    [copy(b"LUKS\xba\xbe", 0), copy(b"SKUL\xba\xbe", 16384)].concat()
}

#[test]
fn header_that_opens_without_a_secret_is_refused() {
    let good = include_str!("../src/luks2/tests/golden/xts-hmac.txt").lines().next().unwrap();
    let expect = Expect { cipher: Some(DataCipher::XtsHmac), data_offset: luks2::DATA_OFFSET, rotation: false };
    let check = |json: &str| luks2::check(&Header::parse(&header_with(json)).unwrap(), &expect).err();
    assert_eq!(check(good), None);
    let keyslot = r#""size":"385024","encryption":"aes-xts-plain64""#;
    let segment = r#""iv_tweak":"0","encryption":"aes-xts-plain64""#;
    let cases = [
        // CVE-2025-59054 and related attacks: the volume key is in the keyslot area without encryption.
        (keyslot, r#""size":"385024","encryption":"cipher_null-ecb""#, luks2::Violation::KeyslotCipher(0)),
        (segment, r#""iv_tweak":"0","encryption":"cipher_null-ecb""#, luks2::Violation::SegmentCipher),
        (r#""type":"hmac(sha256)""#, r#""type":"none""#, luks2::Violation::SegmentIntegrity),
        (r#""tokens":{}"#, r#""tokens":{"0":{"type":"luks2-keyring","keyslots":["0"]}}"#, luks2::Violation::Token(0)),
        (r#""keyslots":["0"]"#, r#""keyslots":[]"#, luks2::Violation::DigestScope),
        (r#""offset":"16777216""#, r#""offset":"33554432""#, luks2::Violation::SegmentOffset),
        (r#""iterations":1000"#, r#""iterations":1"#, luks2::Violation::KeyslotKdf(0)),
    ];
    for (from, to, want) in cases {
        assert!(good.contains(from), "{from}");
        assert_eq!(check(&good.replacen(from, to, 1)), Some(want), "{to}");
    }
}

proptest! {
    #[test]
    fn one_changed_byte_never_makes_a_parser_panic(at in 0_usize..32768, value: u8) {
        let mut header = header_with(include_str!("../src/luks2/tests/golden/xts-hmac.txt").lines().next().unwrap());
        header[at] = value;
        let _read = (Header::parse(&header), luks2::repair(&mut header));
    }

    #[test]
    fn cut_bytes_never_make_a_parser_panic(length in 0_usize..32768) {
        let header = header_with(include_str!("../src/luks2/tests/golden/xts-hmac.txt").lines().next().unwrap());
        prop_assert!(Header::parse(&header[..length]).is_err());
    }
}
