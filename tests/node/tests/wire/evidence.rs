//! Both legs of the evidence exchange.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use sim_dcap::{TdQuote, sha256};
use vault_node::{Misbehaviour, Node, NodeConfig};

use crate::guest::{Guest, HANDLE, World, material};

/// The one measurement a case changes.
type Change = fn(&mut TdQuote);

const DENIED: &str = "caller is not in policy.principals (no OIDC subject or RA-TLS TEE matches the key's PrincipalSet)";

#[test]
fn guest_that_proves_itself_gets_its_share() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut link = guest.unlock(node.addr()).unwrap();
    let answer = link.export(HANDLE);
    assert_eq!(material(&answer), [7; 49]);
    assert_eq!(link.export("another"), json!({ "Error": "key not found" }));
    let served = node.served();
    assert_eq!((served.challenges, served.presents, served.exports, served.released), (1, 1, 2, 1));
}

#[test]
fn guest_that_proves_nothing_gets_nothing() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    assert_eq!(guest.dial(node.addr()).unwrap().export(HANDLE), json!({ "Error": DENIED }));
}

#[test]
fn guest_without_an_app_is_asked_for_nothing() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::with_app(&world, None));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut link = guest.dial(node.addr()).unwrap();
    let (status, evidence) = link.challenge(&[1; 32]).unwrap();
    assert_eq!((status, &evidence["client_evidence"]), (200, &json!("none")));
    assert_eq!(link.present(&[2; 32], &link.quote(&[2; 32])).0, 403);
    assert_eq!(link.export(HANDLE), json!({ "Error": DENIED }));
}

#[test]
fn guest_is_matched_by_every_measurement_of_the_policy() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let cases: [(&str, Change, bool); 6] = [
        ("as it is", |_| (), true),
        ("other RTMR0, which this policy leaves alone", |td| td.rtmr[0] = [9; 48], true),
        ("other MRTD", |td| td.mrtd = [9; 48], false),
        ("other RTMR1", |td| td.rtmr[1] = [9; 48], false),
        ("other RTMR2", |td| td.rtmr[2] = [9; 48], false),
        ("later in the same boot", |td| td.rtmr[3] = [9; 48], false),
    ];
    for (name, change, want) in cases {
        let mut guest = Guest::new(&world);
        change(&mut guest.td);
        let answer = guest.unlock(node.addr()).unwrap().export(HANDLE);
        assert_eq!(answer.get("KeyMaterial").is_some(), want, "{name}: {answer}");
        assert!(want || answer == json!({ "Error": DENIED }), "{name}: {answer}");
    }
}

#[test]
fn guests_evidence_is_refused_when_one_thing_is_wrong() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    let guest = Guest::new(&world);
    let mut debug = Guest::new(&world);
    debug.td.td_attributes |= TdQuote::DEBUG;
    let mut stranger = Guest::new(&World::new());
    stranger.td = guest.td.clone();

    for (name, guest) in [("debug TD", &debug), ("another root", &stranger)] {
        let mut link = guest.dial(node.addr()).unwrap();
        let (_, evidence) = link.challenge(&[1; 32]).unwrap();
        let context = BASE64URL.decode(evidence["client_context"].as_str().unwrap()).unwrap().try_into().unwrap();
        assert_eq!(link.present(&context, &link.quote(&context)).0, 403, "{name}");
    }

    let mut first = guest.dial(node.addr()).unwrap();
    let mut second = guest.dial(node.addr()).unwrap();
    let context = first.attest_node().unwrap();
    let other = second.attest_node().unwrap();
    assert_eq!(second.present(&other, &first.quote(&context)).0, 403, "a quote of another connection");
    assert_eq!(second.present(&other, &second.quote(&other)).0, 403, "a second try at one challenge");
    assert_eq!(first.present(&[0; 32], &first.quote(&[0; 32])).0, 403, "a context of its own choice");
    let context = first.attest_node().unwrap();
    assert_eq!(first.present(&context, &first.quote(&context)).0, 204, "the honest case, after a new challenge");
}

#[test]
fn requests_for_evidence_are_refused_when_malformed() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    let mut link = guest.dial(node.addr()).unwrap();
    let good = json!({
        "v": 2, "mode": "challenge", "leaf": BASE64URL.encode(sha256(&link.node_spki)),
        "context": BASE64URL.encode([5; 32]), "a field of tomorrow": true,
    });
    let cases: [(&str, Value, u16); 6] = [
        ("v", json!(2), 200),
        ("v", json!(1), 400),
        ("mode", json!("deterministic"), 400),
        ("leaf", json!(BASE64URL.encode([0; 32])), 404),
        ("context", json!(BASE64URL.encode([5; 31])), 400),
        ("context", json!(null), 400),
    ];
    for (field, value, want) in cases {
        let mut request = good.clone();
        request[field] = value;
        assert_eq!(link.attest(&request).unwrap().0, want, "{request}");
    }
    assert_eq!(link.post("/__privasys/attest", b"{", None).unwrap().0, 400);
    assert_eq!(link.post("/elsewhere", b"{}", None).unwrap().0, 404);
}

#[test]
fn collateral_is_stapled_unless_switched_off() {
    let world = World::new();
    let guest = Guest::new(&world);
    for staple in [true, false] {
        let node = Node::start(NodeConfig { staple, ..world.config("vault") }).unwrap();
        let (_, evidence) = guest.dial(node.addr()).unwrap().challenge(&[1; 32]).unwrap();
        assert_eq!(evidence.get("collateral").is_some(), staple);
        assert_eq!(evidence["quote_time"].as_str().unwrap().len(), 17);
    }
}

#[test]
fn the_same_client_key_has_a_share_before_the_latch_and_none_behind_it() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut guest = Guest::new(&world);
    assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
    // PID 1's last event, into a register that was zero: the same key, leaf and machine from here on.
    let digest = ring::digest::digest(&ring::digest::SHA384, br#"{"cvm-init":"leave-initrd"}"#);
    let extended = ring::digest::digest(&ring::digest::SHA384, &[&[0; 48][..], digest.as_ref()].concat());
    guest.td.rtmr[3] = extended.as_ref().try_into().unwrap();
    let answer = guest.unlock(node.addr()).unwrap().export(HANDLE);
    assert!(answer["Error"].as_str().unwrap().contains("not in policy.principals"), "{answer}");
}
