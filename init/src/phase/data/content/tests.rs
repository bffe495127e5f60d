//! Classification of disks, with files in place of disks.

use std::os::unix::fs::FileExt;

use uuid::Uuid;

use super::*;

/// tests/fuzz/seeds/luks2_header says how it was made.
const HEADER: &[u8] = include_bytes!("../../../../../tests/fuzz/seeds/luks2_header/cryptsetup-2.6.1-xts-hmac");
const BYTES: u64 = 64 << 20;

pub(crate) fn wanted(arguments: &str) -> cmdline::Data {
    let line = format!(
        "roothash={} cvm.data=serial=data cvm.vault=10.0.2.2:1,10.0.2.2:2,10.0.2.2:3 cvm.vault.handle=h cvm.vault.mrenclave={} \
         cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff cvm.vault.key-commitment={} {arguments}",
        "ab".repeat(32),
        "11".repeat(32),
        "22".repeat(32),
    );
    cmdline::parse(&line).unwrap().data.unwrap()
}

/// Classifies a disk with these bytes at these offsets and zeros elsewhere.
fn classify_disk(content: &[(u64, &[u8])], arguments: &str) -> Result<&'static str, u8> {
    // In the build folder: tmpfs does not support direct reads everywhere.
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    file.as_file().set_len(BYTES).unwrap();
    for (at, bytes) in content {
        file.as_file().write_all_at(bytes, *at).unwrap();
    }
    let place = BlockDevice { path: file.path().to_owned(), number: String::new(), bytes: BYTES };
    match classify(&place, &wanted(arguments)) {
        Ok(Content::Blank) => Ok("blank"),
        Ok(Content::Interrupted(InterruptedFormat::Record(..))) => Ok("interrupted, by its record"),
        Ok(Content::Interrupted(InterruptedFormat::Header(_))) => Ok("interrupted, by its header"),
        Ok(Content::Luks(_)) => Ok("luks"),
        Err(error) => Err(error.code().number()),
    }
}

/// Name, content, arguments, and the expected class or error code.
type Case<'a> = (&'a str, &'a [(u64, &'a [u8])], &'a str, Result<&'a str, u8>);

#[test]
fn disk_is_formatted_only_when_it_is_blank_or_a_format_was_begun() {
    let record = Intent { uuid: Uuid::from_bytes([9; 16]), mac: [1; 32] }.block();
    let mut damaged = record;
    damaged[0] ^= 1;
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
        ("one byte that is not examined", &[(40 << 20, b"x")], format, Ok("blank")),
        ("record", &[(intent::OFFSET, &record)], format, Ok("interrupted, by its record")),
        ("record, and policy does not format", &[(intent::OFFSET, &record)], "", Err(72)),
        ("record elsewhere", &[(4096, &record)], format, Err(73)),
        ("damaged record", &[(intent::OFFSET, &damaged)], format, Err(73)),
        ("record and a torn header", &[(0, &torn), (intent::OFFSET, &record)], format, Ok("interrupted, by its record")),
        ("torn header", &[(0, &torn)], format, Err(74)),
        ("header without a token", &[(0, HEADER)], auto, Ok("luks")),
        ("the same, and nothing to format", &[(0, HEADER)], "", Ok("luks")),
        ("header without a token where one is required", &[(0, HEADER)], format, Err(84)),
        ("record beside a header without a token", &[(0, HEADER), (intent::OFFSET, &record)], auto, Err(73)),
        (
            "header of another cipher",
            &[(0, HEADER), (intent::OFFSET, &record)],
            "cvm.data.format=if-blank cvm.data.cipher=gcm",
            Err(75),
        ),
        ("header of the cipher that policy names", &[(0, HEADER)], "cvm.data.cipher=xts-hmac", Ok("luks")),
    ];
    for (name, content, arguments, want) in cases {
        assert_eq!(classify_disk(content, arguments), want, "{name}");
    }
}
