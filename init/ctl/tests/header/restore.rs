//! `cvmctl header restore`.

use std::fs::{self, File};
use std::path::Path;

use ondisk::luks2::FormatState;
use serde_json::json;

use crate::world::{
    KEY, KEY_BYTE, KEYS, SIZE, World, area, authenticate, authenticated, front, metadata, numbered, recorded, renamed, spoiled,
    two_slots, unauthenticated, with,
};

pub(crate) fn cleared(mut area: Vec<u8>, range: std::ops::Range<usize>) -> Vec<u8> {
    area[range].fill(0);
    area
}

/// The area under the same UUID with another volume key.
fn reformatted(area: Vec<u8>) -> Vec<u8> {
    let mut json = metadata(&area);
    json["digests"]["0"]["salt"] = json!(format!("{}=", "A".repeat(43)));
    authenticate(with(area, &json), FormatState::Ready, KEY_BYTE)
}

pub(crate) fn restore(world: &World, saved: &[u8], disk: &Path, more: &str, key: Option<u8>) -> (Option<i32>, String) {
    let file = world.file(saved);
    world.run("restore", [&file, disk], more, key)
}

/// The disk's contents, more arguments, the final sequence number, and a part of the output.
type Case<'a> = (&'a str, Vec<u8>, &'a str, u64, &'a str);

#[test]
fn damaged_header_area_is_as_saved_afterwards_and_a_second_restore_does_nothing() {
    let saved = area(5, 0, 0xaa);
    let replace = "--replace-damaged";
    let cases: [Case<'_>; 13] = [
        ("primary torn", spoiled(saved.clone(), &[5000]), "", 5, "written and reads back"),
        ("secondary torn", spoiled(saved.clone(), &[SIZE + 5000]), "", 5, "written and reads back"),
        ("primary zeroed", cleared(saved.clone(), 0..SIZE), "", 5, "written and reads back"),
        ("both torn", spoiled(saved.clone(), &[5000, SIZE + 5000]), "", 5, "written and reads back"),
        ("both zeroed", cleared(saved.clone(), 0..2 * SIZE), replace, 5, "found no LUKS header: other data"),
        ("all zeroed", vec![0; saved.len()], replace, 5, "found no LUKS header: the header area is blank"),
        ("keyslots zeroed", cleared(saved.clone(), KEYS..KEYS + KEY), "", 5, "neither header is usable"),
        ("damaged header of another", spoiled(renamed(saved.clone()), &[5000, SIZE + 5000]), replace, 5, "a damaged header of"),
        ("foreign", vec![0x5a; saved.len()], replace, 5, "found no LUKS header: other data"),
        ("older", area(4, 1, 0xbb), "", 5, "written and reads back"),
        ("newer", area(9, 1, 0xbb), "", 10, "is older than the disk's (9)"),
        ("newer in the same place", area(9, 0, 0xbb), "", 10, "neither header is usable"),
        ("another volume key", reformatted(area(5, 1, 0xbb)), replace, 6, "for another volume key"),
    ];
    for (name, on_disk, more, seqid, part) in cases {
        let world = World::new();
        let disk = world.disk(&on_disk);
        let (code, text) = restore(&world, &saved, &disk, more, Some(KEY_BYTE));
        assert_eq!(code, Some(0), "{name}: {text}");
        assert!(text.contains(part), "{name}: {text}");
        assert_eq!(text.contains("is older than"), name.starts_with("newer"), "{name}: {text}");
        assert!(front(&disk) == numbered(saved.clone(), seqid), "{name}");
        assert_eq!(fs::metadata(&disk).unwrap().len(), 64 << 20, "{name}");
        let (code, text) = restore(&world, &saved, &disk, "", Some(KEY_BYTE));
        assert!(code == Some(0) && text.contains("nothing to do"), "{name}: {text}");
        assert!(front(&disk) == numbered(saved.clone(), seqid), "{name}");
    }
}

#[test]
fn what_was_saved_is_restored() {
    let world = World::new();
    let original = area(5, 0, 0xaa);
    let (disk, file) = (world.disk(&original), world.path("saved"));
    assert_eq!(world.run("save", [&disk, &file], "", Some(KEY_BYTE)).0, Some(0));
    let disk = world.disk(&vec![0xff; original.len()]);
    let (code, text) = world.run("restore", [&file, &disk], "--replace-damaged", Some(KEY_BYTE));
    assert!(code == Some(0) && front(&disk) == original, "{text}");
}

/// The disk's contents, more arguments, and a part of the output.
type Refusal<'a> = (&'a str, Vec<u8>, &'a str, &'a str);

#[test]
fn disk_that_the_header_does_not_belong_on_is_left_as_it_is() {
    let saved = area(5, 0, 0xaa);
    let (replace, luks1) = ("--replace-damaged", [b"LUKS\xba\xbe\x00\x01".as_slice(), &[0; 4088]].concat());
    let one_of_another = spoiled(renamed(area(9, 1, 0xbb)), &[5000]);
    let mut table = vec![0; 4096];
    table[510..512].copy_from_slice(&[0x55, 0xaa]);
    let cases: [Refusal<'_>; 14] = [
        ("qcow2, flag", b"QFI\xfb\0\0\0\x03".to_vec(), replace, "found a qcow2 image"),
        ("partition table", table, "", "one of its partitions"),
        ("another uuid", renamed(saved.clone()), "", "found a whole header of"),
        ("another uuid, flag", renamed(saved.clone()), replace, "found a whole header of"),
        ("one whole copy of another, flag", one_of_another, replace, "found a whole header of"),
        ("damaged header of another", spoiled(renamed(saved.clone()), &[5000, SIZE + 5000]), "", "a damaged header of"),
        ("blank", vec![0; 64], "", "the header area is blank. If it is the right disk"),
        ("foreign", vec![0x5a; 4096], "", "other data. If it is the right disk"),
        ("LUKS1", luks1.clone(), "", "found a header of LUKS1"),
        ("LUKS1, flag", luks1, replace, "found a header of LUKS1"),
        ("another volume key", reformatted(area(5, 1, 0xbb)), "", "formatted again with the same UUID"),
        ("record", recorded(area(4, 0, 0xbb)), "", "REFUSED  record of a begun format"),
        ("record, flag", recorded(vec![0; saved.len()]), replace, "seek=4095 count=1"),
        ("both zeroed", cleared(saved.clone(), 0..2 * SIZE), "", "give --replace-damaged"),
    ];
    for (name, on_disk, more, part) in cases {
        let world = World::new();
        let disk = world.disk(&on_disk);
        let before = front(&disk);
        let (code, text) = restore(&world, &saved, &disk, more, Some(KEY_BYTE));
        assert_eq!(code, Some(2), "{name}: {text}");
        assert!(text.contains(part) && text.ends_with("nothing was written\n"), "{name}: {text}");
        assert!(front(&disk) == before, "{name}");
    }
}

/// The saved file, more arguments, the key, the exit code, and a part of the output.
type Saved<'a> = (&'a str, Vec<u8>, &'a str, Option<u8>, i32, &'a str);

#[test]
fn saved_file_is_held_against_policy_and_key() {
    let good = area(5, 0, 0xaa);
    let (accept, rotating) = ("--unauthenticated", authenticate(two_slots(good.clone()), FormatState::Ready, KEY_BYTE));
    let mut long = good.clone();
    long.push(0);
    let mut null = metadata(&good);
    null["keyslots"]["0"]["area"]["encryption"] = json!("cipher_null-ecb");
    let cases: [Saved<'_>; 17] = [
        ("no passphrase", good.clone(), "", None, 2, "the passphrase is missing"),
        ("no passphrase, accepted", good.clone(), accept, None, 0, "WARNING  authentication: not verified"),
        ("another key", good.clone(), "", Some(8), 2, "does not verify with the passphrase"),
        ("another key, accepted", good.clone(), accept, Some(8), 2, "does not verify with the passphrase"),
        ("key material", spoiled(good.clone(), &[KEYS + 7]), "", Some(KEY_BYTE), 2, "does not verify with the passphrase"),
        ("no token", unauthenticated(), "", Some(KEY_BYTE), 2, "nothing proves it: accept the file"),
        ("no token, accepted", unauthenticated(), accept, None, 0, "nothing proves it, as --unauthenticated says"),
        (
            "no token where policy has one",
            unauthenticated(),
            "--unauthenticated --cmdline=cvm.data.header-auth=require",
            None,
            2,
            "no token",
        ),
        ("null cipher", with(good.clone(), &null), accept, None, 2, "keyslot 0 is under another cipher"),
        ("in a rotation", rotating, "", Some(KEY_BYTE), 0, "note     keyslots: 0 by pbkdf2, 1 by pbkdf2"),
        ("two keyslots without a token", two_slots(unauthenticated()), accept, None, 2, "only beside the authentication token"),
        ("truncated", good[..good.len() - 1].to_vec(), "", Some(KEY_BYTE), 2, "REFUSED  size: expected exactly 16777216"),
        ("oversized", long, "", Some(KEY_BYTE), 2, "REFUSED  size: expected exactly 16777216"),
        ("empty", vec![], "", Some(KEY_BYTE), 2, "REFUSED  size"),
        ("one copy torn", spoiled(good.clone(), &[5000]), "", Some(KEY_BYTE), 2, "cvmctl header save FILE NEWFILE"),
        ("begun", authenticated(FormatState::Formatting), "", Some(KEY_BYTE), 2, "REFUSED  state"),
        ("record", recorded(good.clone()), "", Some(KEY_BYTE), 2, "REFUSED  record of a begun format"),
    ];
    for (name, saved, more, key, want, part) in cases {
        let world = World::new();
        let on_disk = area(3, 1, 0xbb);
        let disk = world.disk(&on_disk);
        let (code, text) = restore(&world, &saved, &disk, more, key);
        assert_eq!(code, Some(want), "{name}: {text}");
        assert!(text.contains(part), "{name}: {text}");
        assert_eq!(front(&disk) == on_disk, want == 2, "{name}");
    }
}

#[test]
fn token_that_the_saved_header_lacks_is_told() {
    let world = World::new();
    for (name, on_disk, want) in [("a token", area(3, 1, 0xbb), true), ("none", numbered(unauthenticated(), 9), false)] {
        let disk = world.disk(&on_disk);
        let (code, text) = restore(&world, &unauthenticated(), &disk, "--unauthenticated", None);
        assert_eq!((code, text.contains("the token was removed from it")), (Some(0), want), "{name}: {text}");
    }
}

#[test]
fn small_disk_and_what_is_no_disk_are_refused() {
    let (world, saved) = (World::new(), area(5, 0, 0xaa));
    let disk = world.disk(&saved);
    File::options().write(true).open(&disk).unwrap().set_len((17 << 20) - 1).unwrap();
    let (code, text) = restore(&world, &saved, &disk, "", Some(KEY_BYTE));
    assert!(code == Some(2) && text.contains("REFUSED  disk: expected at least 17825792"), "{text}");
    let (code, text) = restore(&world, &saved, Path::new("/dev/null"), "", Some(KEY_BYTE));
    assert!(code == Some(1) && text.contains("expected a block device or a regular file"), "{text}");
}

#[test]
fn disk_that_another_program_has_locked_is_refused() {
    use rustix::fs::{FlockOperation, fcntl_lock};
    let (world, saved) = (World::new(), area(5, 0, 0xaa));
    let disk = world.disk(&area(4, 0, 0xbb));
    let held = File::open(&disk).unwrap();
    fcntl_lock(&held, FlockOperation::NonBlockingLockShared).unwrap();
    let (code, text) = restore(&world, &saved, &disk, "", Some(KEY_BYTE));
    assert!(code == Some(2) && text.contains("REFUSED  disk: it is in use"), "{text}");
    drop(held);
    assert_eq!(restore(&world, &saved, &disk, "", Some(KEY_BYTE)).0, Some(0));
}
