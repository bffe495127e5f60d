//! When a disk counts as blank, as begun, as ours: files in the place of disks.

use std::os::unix::fs::FileExt;

use uuid::Uuid;

use super::*;

/// tests/fuzz/seeds/luks2_header says where it is from.
const HEADER: &[u8] = include_bytes!("../../../../../tests/fuzz/seeds/luks2_header/cryptsetup-2.6.1-xts-hmac");
const BYTES: u64 = 64 << 20;

pub(crate) fn wanted(words: &str) -> cmdline::Data {
    let line = format!(
        "roothash={} cvm.data=serial=data cvm.vault=10.0.2.2:1,10.0.2.2:2,10.0.2.2:3 cvm.vault.handle=h cvm.vault.mrenclave={} \
         cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff cvm.vault.key-commitment={} {words}",
        "ab".repeat(32),
        "11".repeat(32),
        "22".repeat(32),
    );
    cmdline::parse(&line).unwrap().data.unwrap()
}

/// What a disk is taken for that has these bytes at these places and zeros elsewhere.
fn look_at(content: &[(u64, &[u8])], words: &str) -> Result<&'static str, u8> {
    // In the build's own folder: a file in memory may not be read past the cache.
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    file.as_file().set_len(BYTES).unwrap();
    for (at, bytes) in content {
        file.as_file().write_all_at(bytes, *at).unwrap();
    }
    let place = BlockDevice { path: file.path().to_owned(), number: String::new(), bytes: BYTES };
    match look(&place, &wanted(words)) {
        Ok(Content::Blank) => Ok("blank"),
        Ok(Content::Begun(Begun::Record(..))) => Ok("begun by its record"),
        Ok(Content::Begun(Begun::Header(_))) => Ok("begun by its header"),
        Ok(Content::Luks(_)) => Ok("luks"),
        Err(error) => Err(error.code().number()),
    }
}

/// Name, content, words, and what it is taken for or the code of its refusal.
type Case<'a> = (&'a str, &'a [(u64, &'a [u8])], &'a str, Result<&'a str, u8>);

#[test]
fn disk_is_formatted_only_when_it_is_blank_or_a_format_was_begun() {
    let record = Intent { uuid: Uuid::from_bytes([9; 16]), mac: [1; 32] }.block();
    let mut spoiled = record;
    spoiled[0] ^= 1;
    let mut torn = HEADER.to_vec();
    torn[5000] ^= 1;
    torn[16384 + 5000] ^= 1;
    let format = "cvm.data.format=if-blank";
    let auto = "cvm.data.format=if-blank cvm.data.header-auth=auto";
    let front = (16 << 20) + 4095;
    let cases: [Case<'_>; 17] = [
        ("blank", &[], format, Ok("blank")),
        ("blank, and policy does not format", &[], "", Err(72)),
        ("one byte behind the header area", &[(front, b"x")], format, Err(73)),
        ("one byte at the end", &[(BYTES - 1, b"x")], format, Err(73)),
        ("one byte that nobody looks at", &[(40 << 20, b"x")], format, Ok("blank")),
        ("record", &[(intent::OFFSET, &record)], format, Ok("begun by its record")),
        ("record, and policy does not format", &[(intent::OFFSET, &record)], "", Err(72)),
        ("record elsewhere", &[(4096, &record)], format, Err(73)),
        ("spoiled record", &[(intent::OFFSET, &spoiled)], format, Err(73)),
        ("record and a torn header", &[(0, &torn), (intent::OFFSET, &record)], format, Ok("begun by its record")),
        ("torn header", &[(0, &torn)], format, Err(74)),
        ("header without a seal", &[(0, HEADER)], auto, Ok("luks")),
        ("the same, and nothing to format", &[(0, HEADER)], "", Ok("luks")),
        ("header without a seal where one must be", &[(0, HEADER)], format, Err(84)),
        ("record beside a header without a seal", &[(0, HEADER), (intent::OFFSET, &record)], auto, Err(73)),
        (
            "header of another cipher",
            &[(0, HEADER), (intent::OFFSET, &record)],
            "cvm.data.format=if-blank cvm.data.cipher=gcm",
            Err(75),
        ),
        ("header of the cipher that policy names", &[(0, HEADER)], "cvm.data.cipher=xts-hmac", Ok("luks")),
    ];
    for (name, content, words, want) in cases {
        assert_eq!(look_at(content, words), want, "{name}");
    }
}
