//! `cvmctl header save`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use ondisk::luks2::{self, FormatState};
use ring::digest::{SHA256, digest};
use serde_json::json;

use crate::world::{
    KEY_BYTE, KEYS, SIZE, World, area, authenticate, authenticated, metadata, recorded, spoiled, two_slots, unauthenticated, with,
};

/// The area on the disk, more arguments, the key, and a part of the output.
type Case<'a> = (&'a str, Vec<u8>, &'a str, Option<u8>, &'a str);

#[test]
fn what_the_guest_would_accept_is_saved() {
    let good = area(5, 0, 0xaa);
    let cases: [Case<'_>; 6] = [
        ("authenticated", good.clone(), "", Some(KEY_BYTE), "authenticated: yes"),
        ("without a passphrase", good.clone(), "", None, "authenticated: NO, not authenticated: no passphrase"),
        (
            "without a token",
            unauthenticated(),
            "",
            Some(KEY_BYTE),
            "authenticated: NO, not authenticated: the header has no token",
        ),
        ("first copy torn", spoiled(good.clone(), &[5000]), "", Some(KEY_BYTE), "the file gets both copies from it"),
        ("second copy torn", spoiled(good.clone(), &[SIZE + 5000]), "", Some(KEY_BYTE), "the file gets both copies from it"),
        (
            "in a rotation",
            authenticate(two_slots(good.clone()), FormatState::Ready, 7),
            "",
            Some(7),
            "only with cvm.vault.previous",
        ),
    ];
    for (name, on_disk, more, key, part) in cases {
        let world = World::new();
        let (disk, file) = (world.disk(&on_disk), world.path("saved"));
        let (code, text) = world.run("save", [&disk, &file], more, key);
        assert_eq!(code, Some(0), "{name}: {text}");
        let saved = fs::read(&file).unwrap();
        let mut want = on_disk;
        luks2::repair(&mut want).unwrap();
        assert!(saved == want, "{name}");
        let hash: String = digest(&SHA256, &saved).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        for part in [part, &hash, "LUKS UUID: ", "sequence: ", "keyslots: 0 by pbkdf2", "delete every copy after a rotation"] {
            assert!(text.contains(part), "{name}: {part} in {text}");
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600, "{name}");
        let names = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|name| name.to_string_lossy().starts_with('.')).count(), 0, "{name}: a temporary file is left");
    }
}

#[test]
fn what_the_guest_would_refuse_is_not_saved() {
    let good = area(5, 0, 0xaa);
    let mut null = metadata(&good);
    null["keyslots"]["0"]["area"]["encryption"] = json!("cipher_null-ecb");
    let other = "--cmdline=cvm.data.uuid=00112233-4455-6677-8899-aabbccddeeff";
    let commit = "--cmdline=cvm.vault.key-commitment=1111111111111111111111111111111111111111111111111111111111111111";
    let cases: [Case<'_>; 12] = [
        ("another key", good.clone(), "", Some(8), "REFUSED  authentication"),
        ("key material", spoiled(good.clone(), &[KEYS + 7]), "", Some(KEY_BYTE), "REFUSED  authentication"),
        ("null cipher", with(good.clone(), &null), "", None, "REFUSED  keyslots: keyslot 0 is under another cipher"),
        ("another cipher", good.clone(), "--cmdline=cvm.data.cipher=gcm", None, "REFUSED  segment"),
        (
            "no token where policy has one",
            unauthenticated(),
            "--cmdline=cvm.data.header-auth=require",
            None,
            "REFUSED  authentication",
        ),
        ("two keyslots without a token", two_slots(unauthenticated()), "", None, "only beside the authentication token"),
        ("another uuid", good.clone(), other, None, "REFUSED  uuid"),
        ("another commitment", good.clone(), commit, Some(KEY_BYTE), "REFUSED  commitment"),
        ("begun", authenticated(FormatState::Formatting), "", Some(KEY_BYTE), "REFUSED  state"),
        ("record", recorded(good.clone()), "", Some(KEY_BYTE), "REFUSED  record of a begun format"),
        ("both copies torn", spoiled(good.clone(), &[5000, SIZE + 5000]), "", None, "REFUSED  form"),
        ("blank", vec![0; 64], "", None, "REFUSED  form: no primary header"),
    ];
    for (name, on_disk, more, key, part) in cases {
        let world = World::new();
        let (disk, file) = (world.disk(&on_disk), world.path("saved"));
        let (code, text) = world.run("save", [&disk, &file], more, key);
        assert_eq!(code, Some(2), "{name}: {text}");
        assert!(text.contains(part) && text.ends_with("nothing was saved\n"), "{name}: {text}");
        assert!(!file.exists(), "{name}");
    }
}

#[test]
fn existing_file_is_not_replaced_and_short_disk_is_refused() {
    let world = World::new();
    let disk = world.disk(&area(5, 0, 0xaa));
    let file = world.file(b"mine");
    let dangling = world.path("link");
    symlink(world.path("nowhere"), &dangling).unwrap();
    for path in [&file, &dangling] {
        let (code, text) = world.run("save", [&disk, path], "", None);
        assert!(code == Some(2) && text.contains("REFUSED  file") && text.contains("is not replaced"), "{text}");
    }
    assert!(fs::read(&file).unwrap() == b"mine" && !world.path("nowhere").exists());
    let short = world.path("short");
    fs::write(&short, &area(5, 0, 0xaa)[..16 << 19]).unwrap();
    let (code, text) = world.run("save", [&short, &world.path("new")], "", None);
    assert!(code == Some(2) && text.contains("REFUSED  size") && !world.path("new").exists(), "{text}");
}
