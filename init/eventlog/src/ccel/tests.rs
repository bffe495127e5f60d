//! Logs in the form of firmware, built record by record. `init/ctl/tests/logs` contains logs that OVMF wrote.

use proptest::prelude::*;

use super::*;

/// A log: a header with these hash functions, and the records.
fn log(algorithms: &[(u16, u16)], records: &[Vec<u8>]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02".to_vec();
    data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    data.extend(algorithms.iter().flat_map(|(id, bytes)| [id.to_le_bytes(), bytes.to_le_bytes()].concat()));
    data.push(0);
    let mut log = [1u32.to_le_bytes(), 3u32.to_le_bytes()].concat();
    log.extend([0; 20]);
    log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    log.extend(data);
    log.extend(records.concat());
    log
}

fn record(register: u32, kind: u32, digests: &[(u16, &[u8])], data: &[u8]) -> Vec<u8> {
    let mut record = [register, kind, u32::try_from(digests.len()).unwrap()].map(u32::to_le_bytes).concat();
    record.extend(digests.iter().flat_map(|(id, digest)| [&id.to_le_bytes()[..], digest].concat()));
    record.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    record.extend(data);
    record
}

const SHA384: (u16, u16) = (0xc, 48);

fn of(data: &[u8]) -> Vec<u8> {
    Hash::Sha384.digest(data)
}

fn separator(register: u32) -> Vec<u8> {
    record(register, 4, &[(0xc, &of(&[0; 4]))], &[0; 4])
}

#[test]
fn registers_are_replayed_without_no_action_events() {
    let bytes = log(&[SHA384], &[separator(1), record(1, EV_NO_ACTION, &[(0xc, &[0; 48])], b"note"), separator(2), separator(1)]);
    let parsed = Log::parse(&bytes).unwrap();
    assert_eq!((parsed.kind(), parsed.events.len()), (Kind::Cc, 4));
    let digest = of(&[0; 4]);
    assert_eq!(parsed.replay(Hash::Sha384, 1), Some(Hash::Sha384.replay([&digest[..], &digest])));
    assert_eq!(parsed.replay(Hash::Sha384, 2), Some(Hash::Sha384.replay([&digest[..]])));
    assert_eq!(parsed.replay(Hash::Sha384, 3), Some(vec![0; 48]));
    assert_eq!(parsed.replay(Hash::Sha256, 2), None);
}

#[test]
fn pcr_0_starts_with_the_startup_locality() {
    let locality = record(0, EV_NO_ACTION, &[(0xb, &[0; 32])], b"StartupLocality\0\x03");
    let event = record(0, 8, &[(0xb, &Hash::Sha256.digest(b"x"))], b"x");
    let mut bytes = log(&[(0xb, 32)], &[locality, event]);
    bytes[0] = 0;
    let parsed = Log::parse(&bytes).unwrap();
    let mut begin = vec![0; 32];
    begin[31] = 3;
    assert_eq!(parsed.kind(), Kind::Tpm);
    assert_eq!(parsed.replay(Hash::Sha256, 0), Some(Hash::Sha256.extend(&begin, &Hash::Sha256.digest(b"x"))));
}

#[test]
fn log_ends_at_ones_at_trailing_zeros_or_at_its_last_byte() {
    let whole = log(&[SHA384], &[separator(1)]);
    for (name, fill) in [
        ("nothing", vec![]),
        ("ones", vec![0xff; 100]),
        ("zeros", vec![0; 3]),
        ("ones, then zeros", [[0xff; 4], [0; 4]].concat()),
    ] {
        let bytes = [whole.clone(), fill].concat();
        assert_eq!(Log::parse(&bytes).unwrap().events.len(), 1, "{name}");
    }
}

#[test]
fn data_behind_the_end_mark_is_refused_with_its_offset() {
    let (first, second) = (log(&[SHA384], &[separator(1)]), separator(2));
    let at = first.len();
    for (name, rest, want) in [
        ("noise", [&[0xff; 4][..], b"noise"].concat(), at + 4),
        ("an event", [&[0xff; 4][..], &second].concat(), at + 4),
        ("an event behind padding", [&[0xff; 100][..], &second].concat(), at + 100),
        ("one byte at the end", [&[0xff; 100][..], &[1]].concat(), at + 100),
    ] {
        assert_eq!(Log::parse(&[first.clone(), rest].concat()), Err(Error::BehindEnd(at, want)), "{name}");
    }
}

#[test]
fn registers_that_no_machine_has_are_refused_with_the_offset() {
    let start = log(&[SHA384], &[]).len();
    let at = start + separator(1).len();
    for register in [24, 0x100, u32::MAX - 1] {
        let bytes = log(&[SHA384], &[separator(1), separator(register)]);
        assert_eq!(Log::parse(&bytes), Err(Error::Register(at, register)));
        let note = record(register, EV_NO_ACTION, &[(0xc, &[0; 48])], b"note");
        assert_eq!(Log::parse(&log(&[SHA384], &[note])), Err(Error::Register(start, register)));
    }
    assert_eq!(Log::parse(&log(&[SHA384], &[separator(23)])).unwrap().events.len(), 1);
    // Windows: a signed statement that belongs to no register, and other events behind it.
    let statement = record(u32::MAX, EV_NO_ACTION, &[(0xc, &[0; 48])], b"statement");
    assert_eq!(Log::parse(&log(&[SHA384], &[statement, separator(1)])).unwrap().events.len(), 2);
}

fn old_record(register: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_le_bytes();
    [&register.to_le_bytes()[..], &kind.to_le_bytes(), &Hash::Sha1.digest(data), &length, data].concat()
}

#[test]
fn logs_of_sha1_alone_are_read_apart() {
    let (first, second) = (old_record(0, 8, b"version"), old_record(7, 4, &[0; 4]));
    for fill in [vec![], vec![0; 100], vec![0xff; 100]] {
        let bytes = [&first[..], &second, &fill].concat();
        assert_eq!(Log::parse(&bytes), Err(Error::Header));
        let parsed = Log::parse_sha1(&bytes).unwrap();
        assert_eq!((parsed.events.len(), parsed.kind(), parsed.is_sha1_alone()), (2, Kind::Tpm, true));
        assert_eq!(parsed.replay(Hash::Sha1, 7), Some(Hash::Sha1.replay([Hash::Sha1.digest(&[0; 4]).as_slice()])));
        assert_eq!(parsed.replay(Hash::Sha256, 7), None);
        assert_eq!(describe::hashed(&parsed.events[0]), describe::Hashed::Nothing);
    }
    // A crypto-agile log may have this hash function alone as well.
    let agile = log(&[(4, 20)], &[record(7, 4, &[(4, &Hash::Sha1.digest(b""))], b"")]);
    assert!(Log::parse(&agile).unwrap().is_sha1_alone());
    let cases: [(&str, Vec<u8>, Error); 8] = [
        ("empty", vec![], Error::Header),
        ("text", b"{\"pcr\":1,\"digests\":[],\"content_type\":\"systemd\"}".to_vec(), Error::Header),
        ("zeros", vec![0; 100], Error::Header),
        ("ones", vec![0xff; 100], Error::Header),
        ("an unknown type first", old_record(0, 0x77, b""), Error::Header),
        ("register 24 first", old_record(24, 4, b""), Error::Header),
        ("register 24", [&first[..], &old_record(24, 4, b"")].concat(), Error::Register(first.len(), 24)),
        ("cut short", [&first[..], &second[..33]].concat(), Error::Truncated(first.len())),
    ];
    for (name, bytes, want) in cases {
        assert_eq!(Log::parse_sha1(&bytes), Err(want), "{name}");
    }
}

#[test]
fn event_types_have_the_names_of_the_specification() {
    for (number, name) in [
        (0, "EV_PREBOOT_CERT"),
        (4, "EV_SEPARATOR"),
        (0x13, "EV_POST_CODE2"),
        (0x8000_000d, "EV_EFI_GPT_EVENT2"),
        (0x8000_0010, "EV_EFI_HCRTM_EVENT"),
        (0x8000_00e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"),
        (0x8000_00e3, "EV_EFI_SPDM_DEVICE_POLICY"),
        (0x8000_00e4, "EV_EFI_SPDM_DEVICE_AUTHORITY"),
    ] {
        assert_eq!((describe::kind(number).as_str(), event_type::number(name)), (name, Some(number)));
    }
    assert_eq!((event_type::name(0x77), event_type::number("119"), event_type::number("EV_NONE")), (None, Some(0x77), None));
}

#[test]
fn log_of_millions_of_empty_records_is_refused() {
    // 16 zeros are an empty record: without a bound a host could make the guest parse for minutes.
    let mut bytes = log(&[SHA384], &[]);
    bytes.resize(4 << 20, 0);
    bytes.push(1);
    assert_eq!(Log::parse(&bytes), Err(Error::Events));
}

#[test]
fn kind_is_told_by_header_hashes_and_registers() {
    let with = |header: u32, algorithms: &[(u16, u16)], records: &[Vec<u8>]| {
        let mut bytes = log(algorithms, records);
        bytes[..4].copy_from_slice(&header.to_le_bytes());
        Log::parse(&bytes).unwrap().kind()
    };
    let of_mrtd = record(0, 4, &[(0xc, &of(b""))], b"");
    assert_eq!(with(1, &[SHA384, (0x12, 32)], &[separator(1), of_mrtd]), Kind::Cc);
    assert_eq!(with(0, &[SHA384], &[separator(3)]), Kind::Cc);
    assert_eq!(with(0, &[SHA384], &[separator(3), separator(7)]), Kind::Tpm);
    assert_eq!(with(1, &[SHA384], &[separator(5)]), Kind::Tpm);
    assert_eq!(with(0, &[(0xb, 32), SHA384], &[separator(3)]), Kind::Tpm);
}

#[test]
fn digests_of_unknown_hash_functions_are_skipped() {
    let bytes = log(&[(0x12, 32), SHA384], &[record(2, 4, &[(0x12, &[7; 32]), (0xc, &of(b""))], b"")]);
    let parsed = Log::parse(&bytes).unwrap();
    assert_eq!(
        (parsed.algorithms.as_slice(), parsed.events[0].digest(Hash::Sha384)),
        (&[0x12, 0xc][..], Some(of(b"").as_slice()))
    );
}

#[test]
fn malformed_logs_are_refused() {
    let at = log(&[SHA384], &[]).len();
    let cases: [(&str, Vec<u8>, Error); 10] = [
        ("empty", vec![], Error::Header),
        ("the ACPI table", b"CCEL\x38\0\0\0\x01".to_vec(), Error::Table),
        (
            "another header",
            log(&[SHA384], &[]).iter().map(|byte| if *byte == b'3' { b'2' } else { *byte }).collect(),
            Error::Header,
        ),
        ("no hash function", log(&[], &[]), Error::Algorithms(0, 0)),
        ("17 hash functions", log(&(0..17).map(|id| (0x100 + id, 8)).collect::<Vec<_>>(), &[]), Error::Algorithms(0, 17)),
        ("one twice", log(&[SHA384, SHA384], &[]), Error::Algorithm(0, 0xc)),
        ("SHA-384 of 32 bytes", log(&[(0xc, 32)], &[]), Error::Algorithm(0, 0xc)),
        (
            "a digest that the header does not name",
            log(&[SHA384], &[record(1, 4, &[(0xb, &[0; 32])], b"")]),
            Error::Algorithm(at, 0xb),
        ),
        (
            "more digests than hash functions",
            log(&[SHA384], &[record(1, 4, &[(0xc, &[0; 48]), (0xc, &[0; 48])], b"")]),
            Error::Algorithms(at, 2),
        ),
        ("cut short", log(&[SHA384], &[separator(1)[..60].to_vec()]), Error::Truncated(at)),
    ];
    for (name, bytes, want) in cases {
        assert_eq!(Log::parse(&bytes), Err(want), "{name}");
    }
}

#[test]
fn command_line_is_found_in_each_encoding_and_in_its_registers_only() {
    let line = "BOOT_IMAGE=/vmlinuz roothash=ab quiet";
    let wide = |nuls: usize| line.encode_utf16().chain(vec![0; nuls]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let cases: [(&str, u32, Vec<u8>, Option<&str>); 8] = [
        ("load options", 3, wide(1), Some("the kernel's EFI stub")),
        ("load options of systemd-stub", 3, wide(2), Some("the kernel's EFI stub")),
        ("the section", 3, format!("{line}\0").into_bytes(), Some("systemd-stub")),
        ("GRUB's", 3, line.as_bytes()[11..].to_vec(), Some("GRUB")),
        ("an older GRUB's", 3, format!("{}\0", &line[11..]).into_bytes(), Some("GRUB")),
        ("in RTMR1", 2, wide(1), None),
        ("one letter more", 3, format!("{line}t\0").into_bytes(), None),
        ("three NULs", 3, wide(3), None),
    ];
    for (name, register, hashed, want) in cases {
        let bytes = log(&[SHA384], &[record(register, 13, &[(0xc, &of(&hashed))], b"any text")]);
        assert_eq!(
            Log::parse(&bytes).unwrap().command_line_events(Kind::Cc, Hash::Sha384, line).first().map(|found| found.by),
            want,
            "{name}"
        );
    }
    // The text without its digest proves nothing.
    let bytes = log(&[SHA384], &[record(3, 13, &[(0xc, &of(b"others"))], line.as_bytes())]);
    assert_eq!(Log::parse(&bytes).unwrap().command_line_events(Kind::Cc, Hash::Sha384, line), []);
    // In a TPM's log: PCR 8 to 15.
    for (register, want) in [(7, None), (8, Some("GRUB")), (12, Some("GRUB")), (16, None)] {
        let bytes = log(&[SHA384], &[record(register, 13, &[(0xc, &of(&line.as_bytes()[11..]))], b"")]);
        let found = Log::parse(&bytes).unwrap().command_line_events(Kind::Tpm, Hash::Sha384, line);
        assert_eq!(found.first().map(|found| (found.register, found.by)), want.map(|by| (register, by)), "PCR {register}");
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// `UEFI_VARIABLE_DATA` with one byte of value.
fn variable(name: &str, value: u8) -> Vec<u8> {
    let units = u64::try_from(name.len()).unwrap();
    [&[7; 16][..], &units.to_le_bytes(), &1_u64.to_le_bytes(), &utf16(name), &[value]].concat()
}

#[test]
fn events_are_described_by_printable_text() {
    let node = |kind: [u8; 2], data: &[u8]| [&kind[..], &u16::try_from(4 + data.len()).unwrap().to_le_bytes(), data].concat();
    let path =
        [node([4, 1], &[9; 38]), node([4, 4], &utf16("\\EFI\\BOOT\0")), node([4, 4], &utf16("A.EFI\0")), node([0x7f, 0xff], &[])]
            .concat();
    let blob = [0xffc0_0000_u64.to_le_bytes(), 0x2000_u64.to_le_bytes()].concat();
    let cases: [(u32, Vec<u8>, &str); 15] = [
        (0x8000_0001, variable("SecureBoot", 1), "SecureBoot"),
        (0x8000_00e0, variable("db", b'x'), "db"),
        (0x8000_0001, [&[7; 16][..], &[0xff; 8], &[0; 30]].concat(), "(54 bytes)"),
        (0x8000_0007, b"Calling EFI Application from Boot Option".to_vec(), "Calling EFI Application from Boot Option"),
        (0x8000_0003, [vec![0x21; 32], path].concat(), "\\EFI\\BOOTA.EFI"),
        (0x8000_0004, [vec![0x21; 32], vec![4, 4, 0, 0]].concat(), "(36 bytes)"),
        (0x8000_0008, blob, "0xffc00000, 8192 bytes"),
        (0x8000_000a, b"\x0btd_payload\0\x01\x02".to_vec(), "td_payload"),
        (0x8000_000b, b"\x08TdxTable\x01\0\0\0".to_vec(), "TdxTable"),
        (EV_NO_ACTION, b"SP800-155 Event3y+\0\0".to_vec(), "SP800-155 Event3"),
        (0xd, utf16(".linux\0"), ".linux"),
        (0xd, b"grub_cmd: menuentry x {\n\tlinux /v\n}\0".to_vec(), "grub_cmd: menuentry x {  linux /v }"),
        (6, b"\xed\x22\x3b\x8f\x1a\0\0\0LOADED_IMAGE::LoadOptions\0".to_vec(), "LOADED_IMAGE::LoadOptions"),
        (4, vec![0; 4], "(4 bytes)"),
        (0xd, "\u{1b}[2J".as_bytes().to_vec(), "(4 bytes)"),
    ];
    for (kind, data, want) in cases {
        let bytes = log(&[SHA384], &[record(1, kind, &[(0xc, &[0; 48])], &data)]);
        assert_eq!(describe::text(&Log::parse(&bytes).unwrap().events[0]), want, "{kind:#x}");
    }
    assert_eq!((describe::kind(4), describe::kind(0x77)), ("EV_SEPARATOR".to_owned(), "event type 0x77".to_owned()));
}

#[test]
fn text_is_proved_as_far_as_the_digest_covers_it() {
    use describe::Hashed::{Behind, Nothing, Whole};
    type Case<'a> = (&'a str, u32, Vec<u8>, Vec<u8>, describe::Hashed);
    let cases: [Case<'_>; 12] = [
        ("a separator", 4, vec![0; 4], vec![0; 4], Whole),
        ("a variable", 0x8000_0001, variable("SecureBoot", 1), variable("SecureBoot", 1), Whole),
        ("a text whose NUL is not hashed", 5, b"text\0".to_vec(), b"text".to_vec(), Whole),
        ("a section by its name", 0xd, utf16(".linux\0"), b".linux\0".to_vec(), Whole),
        ("a command of GRUB", 0xd, b"grub_cmd: set a=0\0".to_vec(), b"set a=0".to_vec(), Behind("grub_cmd: ")),
        ("a command line", 0xd, b"kernel_cmdline: /v ro\0".to_vec(), b"/v ro\0".to_vec(), Behind("kernel_cmdline: ")),
        (
            "a command line of older GRUB",
            0xd,
            b"grub_kernel_cmdline /v\0".to_vec(),
            b"/v".to_vec(),
            Behind("grub_kernel_cmdline "),
        ),
        ("the value of a variable alone", 0x8000_0002, variable("Boot0000", 9), vec![9], Nothing),
        ("another command", 0xd, b"grub_cmd: set a=9\0".to_vec(), b"set a=0".to_vec(), Nothing),
        ("a prefix that GRUB does not write", 0xd, b"evil: set a=0\0".to_vec(), b"set a=0".to_vec(), Nothing),
        ("a section by its content", 0xd, utf16(".linux\0"), b"MZ".to_vec(), Nothing),
        ("load options", 6, b"\xed\x22\x3b\x8f\x04\0\0\0LOAD".to_vec(), b"a b".to_vec(), Nothing),
    ];
    for (name, kind, data, hashed, want) in cases {
        let bytes = log(&[SHA384], &[record(1, kind, &[(0xc, &of(&hashed))], &data)]);
        assert_eq!(describe::hashed(&Log::parse(&bytes).unwrap().events[0]), want, "{name}");
    }
    // SHA-1 alone is not enough: collisions can be computed.
    let (sha1, sha256) = (Hash::Sha1.digest(b"text"), Hash::Sha256.digest(b"text"));
    for (name, digests, want) in [
        ("two digests", vec![(4, &sha1[..]), (0xb, &sha256)], Whole),
        ("one of them of another text", vec![(4, &sha1[..]), (0xb, &[7; 32])], Nothing),
        ("SHA-1 alone", vec![(4, &sha1[..])], Nothing),
        ("none", vec![], Nothing),
    ] {
        let bytes = log(&[(4, 20), (0xb, 32)], &[record(1, 5, &digests, b"text")]);
        assert_eq!(describe::hashed(&Log::parse(&bytes).unwrap().events[0]), want, "{name}");
    }
}

proptest! {
    #[test]
    fn any_change_of_a_byte_is_read_or_refused(at in 0_usize..300, byte: u8) {
        let mut bytes = log(&[SHA384, (0x12, 32)], &[separator(1), record(3, 13, &[(0xc, &of(b"x")), (0x12, &[1; 32])], b"x"), separator(2)]);
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(log) = Log::parse(&bytes) {
            drop(log.replay(Hash::Sha384, 1));
            log.events.iter().for_each(|event| drop((describe::text(event), describe::hashed(event))));
        }
    }

    #[test]
    fn any_change_of_a_byte_of_an_old_log_is_read_or_refused(at in 0_usize..80, byte: u8) {
        let mut bytes = [old_record(0, 8, b"version"), old_record(7, 4, &[0; 4])].concat();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(log) = Log::parse_sha1(&bytes) {
            assert!(!log.events.is_empty() && log.replay(Hash::Sha384, 7).is_none_or(|value| value == [0; 48]));
        }
    }
}
