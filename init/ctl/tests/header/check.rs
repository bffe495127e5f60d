//! `cvmctl header check`: headers of cryptsetup 2.6.1, authenticated here, damaged here, and blank disks.

use std::fs;
use std::process::{Command, Stdio};

use ondisk::blank;
use ondisk::intent::{self, Intent};
use ondisk::luks2::{DATA_OFFSET, FormatState};
use quorum::Purpose;
use serde_json::json;
use uuid::Uuid;

use crate::world::{SIZE, authenticate_with, authenticated, dek, metadata, unauthenticated, with};

/// Exit code and output for a disk of 64 MiB with this start, and the passphrase of `key` on a descriptor.
fn check(area: &[u8], parameters: &str, key: Option<u8>) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let (disk, pass) = (folder.path().join("disk"), folder.path().join("pass"));
    fs::write(&disk, area).unwrap();
    fs::File::options().write(true).open(&disk).unwrap().set_len(64 << 20).unwrap();
    fs::write(&pass, key.map_or(Vec::new(), |byte| dek(byte).expose_passphrase().to_vec())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cvmctl"));
    let (parameters, name) =
        parameters.split_once(" --disk-name ").map_or((parameters, None), |(parameters, name)| (parameters, Some(name)));
    command.args(["header", "check"]).arg(&disk).args(["--cmdline", parameters]);
    command.args(name.into_iter().flat_map(|name| ["--disk-name", name]));
    if key.is_some() {
        command.args(["--passphrase-fd", "0"]);
    }
    let output = command.stdin(Stdio::from(fs::File::open(&pass).unwrap())).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

#[test]
fn each_rule_is_a_line_and_the_guest_s_word_the_last() {
    let (code, text) = check(&authenticated(FormatState::Ready), "", Some(7));
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "form: both copies",
        "configuration:",
        "segment:",
        "keyslots:",
        "digest:",
        "tokens:",
        "authentication: verifies with the key",
    ] {
        assert!(text.lines().any(|line| line.starts_with("ok") && line.contains(part)), "{part} in {text}");
    }
    assert_eq!(text.lines().last(), Some("the guest would continue"));
}

/// Name, header area, parameters, key, exit code, and a part of the output.
type Case<'a> = (&'a str, &'a [u8], &'a str, Option<u8>, i32, &'a str);

#[test]
fn disk_is_checked_by_policy_and_key() {
    let null = {
        let mut json = metadata(&unauthenticated());
        json["keyslots"]["0"]["area"]["encryption"] = json!("cipher_null-ecb");
        with(unauthenticated(), &json)
    };
    let record = {
        let uuid = Uuid::from_bytes([9; 16]);
        let mac = dek(7).authenticator(Purpose::FormatIntent, &uuid.to_string()).mac(&intent::message(uuid));
        let mut area = authenticated(FormatState::Formatting);
        let at = usize::try_from(intent::OFFSET).unwrap();
        area[at..at + intent::BLOCK].copy_from_slice(&Intent { uuid, mac }.block());
        area
    };
    let mut torn = authenticated(FormatState::Ready);
    torn[5000] ^= 1;
    let mut flipped = authenticated(FormatState::Ready);
    flipped[32768 + 7] ^= 1;
    let at = usize::try_from(intent::OFFSET).unwrap();
    let (mut cut, mut stray) = (record.clone(), unauthenticated());
    cut[..SIZE * 2].fill(0xff);
    stray[at..].copy_from_slice(&record[at..]);
    let empty = vec![0; usize::try_from(DATA_OFFSET).unwrap()];
    assert!(blank::is_blank(&empty));
    let formats = "cvm.data.format=if-blank";
    let cases: [Case<'_>; 16] = [
        ("authenticated, no key", &authenticated(FormatState::Ready), formats, None, 0, "not verified: no passphrase"),
        ("another key", &authenticated(FormatState::Ready), "", Some(8), 2, "REFUSED  authentication: does not verify"),
        ("key material", &flipped, "", Some(7), 2, "REFUSED  authentication: does not verify"),
        ("one copy torn", &torn, "", Some(7), 0, "the guest repairs this one"),
        ("unauthenticated", &unauthenticated(), "", None, 0, "only the allow-list"),
        (
            "unauthenticated where a token must be",
            &unauthenticated(),
            formats,
            None,
            2,
            "REFUSED  authentication: the header has no token",
        ),
        (
            "another cipher",
            &unauthenticated(),
            "cvm.data.cipher=gcm",
            None,
            2,
            "REFUSED  segment: segment is under another cipher",
        ),
        ("null cipher", &null, "", None, 2, "REFUSED  keyslots: keyslot 0 is under another cipher"),
        ("interrupted", &record, formats, Some(7), 0, "record of a begun format: verifies with the key"),
        ("interrupted, another key", &record, formats, Some(8), 2, "record of a begun format: does not verify"),
        ("interrupted, no format", &authenticated(FormatState::Formatting), "", Some(7), 2, "REFUSED  state: a first format"),
        ("cut in the header", &cut, formats, Some(7), 0, "record of a begun format: verifies with the key"),
        ("record and no token", &stray, "cvm.data.header-auth=auto", None, 2, "beside a header without an authentication token"),
        ("blank", &empty, formats, None, 0, "ok       blank"),
        ("blank, no format", &empty, "", None, 2, "REFUSED  blank"),
        ("nonsense", b"nonsense", "", None, 2, "REFUSED  form: no primary header"),
    ];
    for (name, area, parameters, key, want, part) in cases {
        let (code, text) = check(area, parameters, key);
        assert_eq!(code, Some(want), "{name}: {text}");
        assert!(text.contains(part), "{name}: {text}");
    }
}

/// An owner of a disk that another tool formatted has a passphrase, and needs the commitment to it for a rotation. Expected is what
/// `printf 'cvm-init dek commit v1' | cat - key | sha256sum` prints for a key of 32 bytes 07.
#[test]
fn commitment_to_a_key_is_printed() {
    let commitment = |passphrase: &[u8]| {
        let pass = tempfile::NamedTempFile::new().unwrap();
        fs::write(pass.path(), passphrase).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cvmctl"));
        command.args(["key", "commitment", "--passphrase-fd", "0"]).stdin(Stdio::from(pass.reopen().unwrap()));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let expected = "20bf090675f4e6029fa1a42c7c924031db1953a6b8809b65bd7ee355f730f964\n";
    assert_eq!(commitment("07".repeat(32).as_bytes()), (Some(0), expected.to_owned()));
    for wrong in ["07".repeat(31), "0G".repeat(32), "0A".repeat(32), String::new()] {
        assert_eq!(commitment(wrong.as_bytes()), (Some(1), String::new()), "{wrong}");
    }
}

#[test]
fn words_and_passphrases_are_read_strictly() {
    let (code, text) = check(&unauthenticated(), "cvm.data.cipher=null", None);
    assert!(code == Some(1) && text.contains("cvm.data.cipher"), "{text}");
    let commit = |byte: u8| {
        let hex: String = dek(byte).commitment().0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("cvm.vault.key-commitment={hex}")
    };
    assert_eq!(check(&authenticated(FormatState::Ready), &commit(7), Some(7)).0, Some(0));
    assert_eq!(check(&authenticated(FormatState::Ready), &commit(8), Some(7)).0, Some(2));
    let rotates = |before: u8| {
        let before = commit(before).replace("cvm.vault.key-commitment", "cvm.vault.previous.key-commitment");
        format!("{} cvm.vault.previous=v0 {before}", commit(8))
    };
    assert_eq!(check(&authenticated(FormatState::Ready), &rotates(7), Some(7)).0, Some(0));
    assert_eq!(check(&authenticated(FormatState::Ready), &rotates(9), Some(7)).0, Some(2));
}

#[test]
fn named_disk_verifies_with_its_own_key_and_a_pinned_one_has_its_uuid() {
    let named = authenticate_with(unauthenticated(), FormatState::Ready, &dek(7).of_disk("logs"));
    let plain = authenticated(FormatState::Ready);
    let cases = [
        (&named, "cvm.data=serial=a,logs:serial=b --disk-name logs", 0, "ok       authentication: verifies with the key"),
        (&named, " --disk-name logs", 0, "ok       authentication: verifies with the key"),
        (&named, " --disk-name log", 2, "REFUSED  authentication: does not verify"),
        (&named, "cvm.data=serial=a,logs:serial=b", 2, "REFUSED  authentication: does not verify"),
        (&plain, "cvm.data=serial=a,logs:serial=b --disk-name logs", 2, "REFUSED  authentication: does not verify"),
        (&plain, "cvm.data=serial=a,logs:serial=b --disk-name log", 1, "which lists: (no name), logs"),
        (&plain, "cvm.data.uuid=00112233-4455-6677-8899-aabbccddeeff", 2, "REFUSED  uuid: the header's is"),
    ];
    for (area, parameters, want, part) in cases {
        let (code, text) = check(area, parameters, Some(7));
        assert_eq!(code, Some(want), "{parameters}: {text}");
        assert!(text.contains(part), "{parameters}: {text}");
    }
}
