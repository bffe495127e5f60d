//! Every misbehaviour is detected, with its own error.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::json;
use vault_node::{Extensions, Misbehaviour};

use crate::guest::{Guest, HANDLE, World};
use crate::link::material;

#[test]
fn wrong_evidence_of_the_enclave_is_detected() {
    let world = World::new();
    let guest = Guest::new(&world);
    // With the node's own collateral, which fits the reflected quote and the foreign root too, so that the error shows the
    // misbehaviour itself.
    let node = world.extended(Extensions { staple_collateral: true, ..Extensions::default() });
    guest.unlock(node.addr()).unwrap();
    let cases = [
        (Misbehaviour::WrongMrenclave, "another enclave"),
        (Misbehaviour::DebugEnclave, "Debug"),
        (Misbehaviour::StaleQuote, "another binding"),
        (Misbehaviour::OtherConnection, "another binding"),
        (Misbehaviour::WrongSpki, "another binding"),
        (Misbehaviour::HalfReportData, "another binding"),
        (Misbehaviour::Reflection, "no enclave's quote"),
        (Misbehaviour::ExpiredCollateral, "CrlExpired"),
        (Misbehaviour::ForeignCollateral, "InvalidCrlSignature"),
        (Misbehaviour::ForeignRoot, "InvalidCrlSignature"),
        (Misbehaviour::RevokedPck, "CertRevoked"),
        (Misbehaviour::OutOfDate, "OutOfDate"),
        (Misbehaviour::Unavailable, "challenge: 503"),
        (Misbehaviour::Oversize, "oversize"),
    ];
    for (misbehaviour, want) in cases {
        node.set_misbehaviour(misbehaviour);
        let shown = guest.unlock(node.addr()).map(|_| ()).expect_err("must be found");
        assert!(shown.contains(want), "{misbehaviour:?}: {shown}");
    }
    node.set_misbehaviour(Misbehaviour::None);
    guest.unlock(node.addr()).unwrap();
}

#[test]
fn guest_gives_up_nodes_that_do_not_answer() {
    let world = World::new();
    let guest = Guest { timeout: Duration::from_millis(300), ..Guest::new(&world) };
    let node = world.node(Misbehaviour::None);
    for misbehaviour in [Misbehaviour::Down, Misbehaviour::HangAfterAccept, Misbehaviour::HangAfterHandshake, Misbehaviour::Tls12]
    {
        node.set_misbehaviour(misbehaviour);
        assert!(guest.unlock(node.addr()).is_err(), "{misbehaviour:?}");
    }
    node.set_misbehaviour(Misbehaviour::Tls12);
    let shown = Guest::new(&world).dial(node.addr()).map(|_| ()).unwrap_err();
    assert!(shown.contains("incompatible"), "{shown}");
}

#[test]
fn slow_nodes_answer_late_and_stop_at_once() {
    let world = World::new();
    let guest = Guest::new(&world);
    let node = world.node(Misbehaviour::Slow(Duration::from_millis(200)));
    let begun = Instant::now();
    guest.unlock(node.addr()).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(400), "two answers, 200 ms each");
    node.set_misbehaviour(Misbehaviour::Slow(Duration::from_secs(600)));
    let hasty = Guest { timeout: Duration::from_millis(300), ..guest };
    assert!(hasty.unlock(node.addr()).is_err());
    let begun = Instant::now();
    drop(node);
    assert!(begun.elapsed() < Duration::from_secs(10), "a node stops though an answer is still due");
}

#[test]
fn shares_are_changed_as_configured() {
    let world = World::new();
    let guest = Guest::new(&world);
    let node = world.node(Misbehaviour::None);
    let share = [vec![0xaa; 16], vec![1], vec![0xbb; 32]].concat();
    node.put_key(HANDLE, share.clone(), world.policy()).unwrap();
    let exported = |misbehaviour| {
        node.set_misbehaviour(misbehaviour);
        guest.unlock(node.addr()).unwrap().export(HANDLE)
    };
    assert_eq!(material(&exported(Misbehaviour::None)), share);
    assert_eq!(material(&exported(Misbehaviour::ForeignX(9)))[16], 9);
    assert_ne!(material(&exported(Misbehaviour::WrongShareSetId))[..16], share[..16]);
    assert_ne!(material(&exported(Misbehaviour::WrongShare))[17..], share[17..]);
    assert_eq!(material(&exported(Misbehaviour::Length(500))).len(), 500);
    assert_eq!(exported(Misbehaviour::Expired), json!({ "Error": "key has expired" }));
    let denied = exported(Misbehaviour::Deny);
    assert!(denied["Error"].as_str().unwrap().contains("policy.principals"), "{denied}");
    let echoed = exported(Misbehaviour::Echo);
    assert_eq!(echoed, json!({ "ExportKey": { "handle": HANDLE, "approvals": [] } }));
}

#[test]
fn reflection_shows_the_guest_its_own_quote() {
    let world = World::new();
    let guest = Guest::new(&world);
    let node = world.node(Misbehaviour::None);
    guest.unlock(node.addr()).unwrap();
    node.set_misbehaviour(Misbehaviour::Reflection);
    let (_, evidence) = guest.dial(node.addr()).unwrap().challenge(&[1; 32]).unwrap();
    let shown = evidence["quote"].as_str().unwrap();
    let shown = BASE64URL.decode(shown).unwrap();
    assert_eq!(Some(&shown), node.guest_quotes().last());
}

#[test]
fn wrong_clocks_show_in_the_quote_time_only() {
    let world = World::new();
    let guest = Guest::new(&world);
    let node = world.node(Misbehaviour::WrongClock(-86_400 * 365));
    let mut link = guest.dial(node.addr()).unwrap();
    let (_, evidence) = link.challenge(&[1; 32]).unwrap();
    let shown: i64 = evidence["quote_time"].as_str().unwrap()[..4].parse().unwrap();
    let (_, honest) = {
        node.set_misbehaviour(Misbehaviour::None);
        guest.dial(node.addr()).unwrap().challenge(&[1; 32]).unwrap()
    };
    let right: i64 = honest["quote_time"].as_str().unwrap()[..4].parse().unwrap();
    assert!(shown < right, "{shown} and {right}");
    link.attest_node().unwrap();
}
