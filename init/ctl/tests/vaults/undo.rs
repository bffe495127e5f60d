//! Vaults that fail or give wrong answers after a share was sent: the shares are deleted, and those that cannot be deleted are reported.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use ctl::keys::{self, Deleted};
use ctl::provision::{Request, provision};
use ctl::{Cause, Error};
use serde_json::{Value, json};
use vault_node::Misbehaviour;

use crate::scripted::{Reply, Scripted};
use crate::world::{HANDLE, OLD_IMAGE, World};

/// Two honest vaults, and a third one that behaves as scripted.
fn with_third(world: &World, node: &Scripted) -> Request {
    let mut request = world.request();
    request.nodes.vaults[2] = node.address.to_string();
    request
}

fn unfinished(request: &Request) -> (String, Vec<String>, Vec<String>) {
    let error = provision(request).unwrap_err();
    let message = error.to_string();
    match error {
        Error::Unfinished { deleted, left, .. } => (message, deleted, left.iter().map(ToString::to_string).collect()),
        _ => (message, Vec::new(), vec!["another error".to_owned()]),
    }
}

#[test]
fn honest_nodes_of_the_first_build_get_their_shares_without_evidence_of_ours() {
    let world = World::new();
    let node = Scripted::start(&world.pki, |_, _, honest| honest);
    assert_eq!(provision(&with_third(&world, &node)).unwrap().vaults.len(), 3);
    assert_eq!(node.asked(), ["GetKeyInfo", "CreateKey", "GetPolicy"]);
}

#[test]
fn each_lie_after_a_share_was_sent_undoes_the_dealing() {
    type Case = (&'static str, fn(&str, &Value, Reply) -> Reply, &'static str, bool);
    let cases: [Case; 9] = [
        ("dies with the answer", |name, _, honest| if name == "CreateKey" { Reply::Close } else { honest }, "connection", true),
        (
            "echoes",
            |name, fields, honest| if name == "CreateKey" { Reply::json(&json!({ name: fields })) } else { honest },
            "echoed",
            true,
        ),
        (
            "nonsense",
            |name, _, honest| if name == "CreateKey" { Reply::Body(b"<html>\x1b[2J".to_vec()) } else { honest },
            "expected an answer of a vault, got something else at line 1 column 1",
            true,
        ),
        (
            "another key",
            |name, _, honest| {
                let other = json!({ "KeyCreated": { "handle": "other", "expires_at": 1 } });
                if name == "CreateKey" { Reply::json(&other) } else { honest }
            },
            "the node answered another request, or for another key",
            true,
        ),
        (
            "stored, and then an error",
            |name, _, honest| if name == "CreateKey" { Reply::error("kv owner index: full \u{1b}[31m") } else { honest },
            "refused for a reason that this version does not know; the node says: \"kv owner index: full \\u{1b}[31m\"",
            true,
        ),
        (
            "503",
            |name, _, honest| if name == "CreateKey" { Reply::Status(503, b"busy".to_vec()) } else { honest },
            "got 503",
            true,
        ),
        (
            "another policy",
            |name, _, honest| {
                let policy = json!({ "Policy": { "policy": { "version": 1, "backdoor": true }, "policy_version": 1 } });
                if name == "GetPolicy" { Reply::json(&policy) } else { honest }
            },
            "/backdoor: the node added true",
            true,
        ),
        (
            "no policy",
            |name, _, honest| if name == "GetPolicy" { Reply::error("caller is not in policy.principals") } else { honest },
            "denied by the key's policy; the node says: \"caller is not in policy.principals\"",
            true,
        ),
        (
            "huge",
            |name, _, honest| if name == "GetPolicy" { Reply::Body(vec![b'x'; 2 << 20]) } else { honest },
            "answer longer than the limit",
            true,
        ),
    ];
    let world = World::new();
    for (name, script, want, undone) in cases {
        let node = Scripted::start(&world.pki, script);
        let (message, deleted, left) = unfinished(&with_third(&world, &node));
        assert!(message.contains(want), "{name}: {message}");
        assert!(message.len() < 2000 && message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {message}");
        let third = node.address.to_string();
        let want = [&world.vaults()[..2], &[third]].concat();
        assert_eq!((deleted, left.is_empty()), (want, undone), "{name}: {message}");
        assert!(!node.has(HANDLE) && world.is_empty(), "{name}");
    }
}

/// Nodes and proxies quote the request in their errors.
#[test]
fn no_quoted_share_is_printed() {
    type Case = (&'static str, fn(&Value) -> Reply, &'static str);
    let cases: [Case; 6] = [
        (
            "400 with the request",
            |fields| Reply::Status(400, json!({ "CreateKey": fields }).to_string().into_bytes()),
            "got 400;",
        ),
        ("500 with a text", |fields| Reply::Status(500, format!("bad: {fields}").into_bytes()), "got 500;"),
        (
            "quoted input",
            |fields| Reply::error(&format!("invalid request: {fields}")),
            "refused for a reason that this version does not know;",
        ),
        (
            "material",
            |fields| Reply::error(&format!("base64: {}", fields["material_b64"])),
            "refused for a reason that this version does not know;",
        ),
        (
            "a piece of the material",
            |fields| Reply::error(&format!("base64: {}...", &fields["material_b64"].as_str().unwrap()[40..60])),
            "refused for a reason that this version does not know;",
        ),
        (
            "grant",
            |fields| Reply::error(&format!("grant: {}", fields["grant"])),
            "refused for a reason that this version does not know;",
        ),
    ];
    let world = World::new();
    for (name, answer, want) in cases {
        let sent = Arc::new(Mutex::new(Value::Null));
        let kept = Arc::clone(&sent);
        let node = Scripted::start(&world.pki, move |request, fields, honest| {
            if request != "CreateKey" {
                return honest;
            }
            *kept.lock().unwrap() = fields.clone();
            answer(fields)
        });
        let (message, _, left) = unfinished(&with_third(&world, &node));
        let sent = sent.lock().unwrap();
        let secrets = ["material_b64", "grant"].map(|name| sent[name].as_str().unwrap());
        let is_quoted =
            |secret: &str| secret.as_bytes().windows(16).any(|piece| message.contains(std::str::from_utf8(piece).unwrap()));
        assert!(!secrets.into_iter().any(is_quoted), "{name}: {message}");
        assert!(
            message.contains(want) && message.contains("bytes, not printed: they may quote what was sent"),
            "{name}: {message}"
        );
        assert!(left.is_empty() && world.is_empty(), "{name}: {message}");
    }
}

#[test]
fn a_refusal_before_anything_is_stored_leaves_nothing_to_undo_there() {
    let world = World::new();
    let node = Scripted::start(&world.pki, |name, _, honest| {
        let denied = "key-creation grant verification failed: no key for kid";
        if name == "CreateKey" { Reply::error(denied) } else { honest }
    });
    let (message, deleted, left) = unfinished(&with_third(&world, &node));
    assert!(message.contains("grant refused: signature; the node says: ") && message.contains("compare --kid"), "{message}");
    assert_eq!((deleted, left.len()), (world.vaults()[..2].to_vec(), 0));
    assert_eq!(node.asked(), ["GetKeyInfo", "CreateKey"]);
}

/// The node does not answer any more after it stored its share.
#[test]
fn what_could_not_be_undone_is_named_and_deleted_later() {
    let world = World::new();
    let asked = AtomicU32::new(0);
    let node = Scripted::start(&world.pki, move |_, _, honest| {
        // The second request is CreateKey; the fourth is the first of `key delete`.
        if (1..3).contains(&asked.fetch_add(1, Ordering::SeqCst)) { Reply::Close } else { honest }
    });
    let request = with_third(&world, &node);
    let (message, deleted, left) = unfinished(&request);
    assert_eq!((deleted, left.len()), (world.vaults()[..2].to_vec(), 1), "{message}");
    let all = request.nodes.vaults.join(",");
    assert!(
        message.contains(&format!("Undo it later with: cvmctl key delete --handle {HANDLE} --vault {all} --mrenclave 1111")),
        "{message}"
    );
    let owner = format!("--issuer-key FILE --issuer {} --owner-sub owner-1 (each FILE", world.issuer.url);
    assert!(message.contains(" --anchor FILE --collateral FILE ") && message.contains(&owner), "{message}");
    assert!(!message.contains("--threshold") && !message.contains("other options of this command"), "{message}");
    assert!(node.has(HANDLE));

    let mut owner = world.as_owner();
    owner.nodes.vaults = request.nodes.vaults;
    let answers = keys::delete(&owner, HANDLE, false).unwrap();
    let found: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().1).collect();
    assert_eq!(found, [Deleted::Absent, Deleted::Absent, Deleted::Now]);
    assert!(!node.has(HANDLE));
}

/// The program was killed after it sent some or all of the shares.
#[test]
fn a_killed_dealing_is_deleted_and_a_whole_key_only_when_that_is_meant() {
    let world = World::new();
    let delete = |complete| keys::delete(&world.as_owner(), HANDLE, complete).unwrap();
    for held in 0..2 {
        world.nodes[held].put_key(HANDLE, vec![7; 49], world.policy(&[])).unwrap();
    }
    let found: Vec<_> = delete(false).into_iter().map(|answer| answer.unwrap().1).collect();
    assert_eq!(found, [Deleted::Now, Deleted::Now, Deleted::Absent]);
    assert!(delete(false).into_iter().all(|answer| answer.unwrap().1 == Deleted::Absent), "it can be repeated");

    provision(&world.request()).unwrap();
    for answer in delete(false) {
        assert!(matches!(answer.unwrap_err().cause, Cause::InUse));
    }
    assert!(world.export(0, &crate::world::OLD_IMAGE).is_ok());
    world.nodes[2].drop_key(HANDLE).unwrap();
    let answers = delete(false);
    assert!(answers[..2].iter().all(|answer| matches!(answer.as_ref().unwrap_err().cause, Cause::InUse)), "a guest has read it");
    assert!(delete(true).into_iter().all(|answer| answer.is_ok()));
    assert!(world.is_empty());
}

/// The vault that would show that the key is in use does not answer: the others look like an incomplete `provision`.
#[test]
fn nothing_is_deleted_while_a_vault_that_may_have_given_the_key_out_is_down() {
    let world = World::new();
    let is_kept = |index: usize| world.export(index, &OLD_IMAGE).is_ok();
    for updated in [false, true] {
        provision(&world.request()).unwrap();
        if updated {
            let promoted = ctl::promote::promote(&world.promotion(&[OLD_IMAGE])).unwrap();
            assert!(promoted[0].is_ok());
        } else {
            world.export(0, &OLD_IMAGE).unwrap();
        }
        world.nodes[0].set_misbehaviour(Misbehaviour::Down);
        world.nodes[1].drop_key(HANDLE).unwrap();
        // The third vault's own log shows no use.
        world.nodes[2].drop_key(HANDLE).unwrap();
        world.nodes[2].put_key(HANDLE, vec![7; 49], world.policy(&[OLD_IMAGE])).unwrap();

        let answers = keys::delete(&world.as_owner(), HANDLE, false).unwrap();
        let message = answers[2].as_ref().unwrap_err().to_string();
        let down = &world.vaults()[0];
        assert!(
            message.contains(&format!("not deleted: {down} did not answer")) && message.contains("--even-in-use"),
            "{message}"
        );
        assert!(answers[0].is_err() && answers[1].as_ref().unwrap().1 == Deleted::Absent, "{updated}");
        assert!(is_kept(2), "{updated}");

        let answers = keys::delete(&world.as_owner(), HANDLE, true).unwrap();
        assert!(answers[0].is_err() && answers[2].as_ref().unwrap().1 == Deleted::Now, "{updated}");
        world.nodes[0].set_misbehaviour(Misbehaviour::None);
        assert!(is_kept(0), "{updated}");
        keys::delete(&world.as_owner(), HANDLE, true).unwrap();
    }
}

/// A key that appears between the check and the share belongs to another client.
#[test]
fn an_older_key_of_the_same_name_is_left_alone() {
    let world = World::new();
    let asked = AtomicU32::new(0);
    let node = Scripted::start(&world.pki, move |name, _, honest| match (name, asked.fetch_add(1, Ordering::SeqCst)) {
        ("CreateKey", _) => Reply::Close,
        ("GetKeyInfo", 2..) => Reply::json(&json!({ "KeyInfo": {
            "handle": HANDLE, "key_type": "RawShare", "exportable": true, "created_at": 1_700_000_000, "expires_at": 1,
            "policy_version": 1, "public_key": null,
        } })),
        _ => honest,
    });
    let (message, deleted, left) = unfinished(&with_third(&world, &node));
    assert!(left[0].contains("created there before this command (at 1700000000"), "{message}");
    assert_eq!(deleted, world.vaults()[..2]);
    assert!(!node.asked().contains(&"DeleteKey".to_owned()));
}
