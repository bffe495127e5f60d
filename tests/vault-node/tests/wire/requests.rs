//! The vault's requests beyond CreateKey and ExportKey: owners, policies, and keys that survive a restart of the node.

use std::time::Duration;

use serde_json::{Value, json};
use vault_node::{Issuer, Misbehaviour, Node, NodeConfig, texts};

use crate::guest::{Guest, HANDLE, OWNER, World, now};
use crate::link::material;

const DAY: u64 = 86_400;
const APP: &str = "1.3.6.1.4.1.65230.4.1";

fn update(policy: &Value) -> Value {
    json!({ "UpdatePolicy": { "handle": HANDLE, "new_policy": policy, "approvals": [] } })
}

fn error(text: impl Into<String>) -> Value {
    json!({ "Error": text.into() })
}

#[test]
fn keys_live_as_long_as_policy_and_cap_allow() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    let guest = Guest::new(&world);
    for (ttl, days) in [(86_400, 1), (0, 30), (86_400 * 400, 90)] {
        let mut policy = world.policy();
        policy["lifecycle"]["ttl_seconds"] = json!(ttl);
        node.put_key(HANDLE, vec![7; 49], policy).unwrap();
        let answer = guest.unlock(node.addr()).unwrap().export(HANDLE);
        let left = answer["KeyMaterial"]["expires_at"].as_u64().unwrap() - now();
        assert_eq!(left.div_ceil(DAY), days);
    }
}

#[test]
fn expired_key_is_known_but_not_exported() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    let mut policy = world.policy();
    policy["lifecycle"]["ttl_seconds"] = json!(600);
    node.put_key(HANDLE, vec![7; 49], policy.clone()).unwrap();
    node.advance_clock(Duration::from_secs(601));
    let bearer = world.issuer.bearer(OWNER, &[], now() + 1200).unwrap();
    let mut link = guest.unlock(node.addr()).unwrap();
    assert_eq!(link.export(HANDLE), error(texts::EXPIRED));
    assert_eq!(link.data(&update(&policy), Some(&bearer)), error(texts::EXPIRED));
    let info = link.data(&json!({ "GetKeyInfo": { "handle": HANDLE } }), Some(&bearer));
    assert!(info["KeyInfo"]["expires_at"].as_u64().unwrap() < now() + 601, "{info}");
    assert_eq!(link.data(&json!({ "DeleteKey": { "handle": HANDLE } }), Some(&bearer)), json!("KeyDeleted"));
}

#[test]
fn owners_read_change_list_and_delete_their_keys() {
    let world = World::new();
    let (node, operator) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let bearer = world.bearer();
    let mut link = operator.dial(node.addr()).unwrap();
    let mut ask = |request: Value| link.data(&request, Some(&bearer));

    let info = ask(json!({ "GetKeyInfo": { "handle": HANDLE } }));
    let (info, expires_at) = (&info["KeyInfo"], info["KeyInfo"]["expires_at"].clone());
    assert_eq!((&info["key_type"], &info["exportable"], &info["policy_version"]), (&json!("RawShare"), &json!(true), &json!(1)));
    assert_eq!(ask(json!({ "GetPolicy": { "handle": HANDLE } }))["Policy"]["policy"], world.policy());
    let entry = json!({ "handle": HANDLE, "key_type": "RawShare", "expires_at": expires_at });
    assert_eq!(ask(json!("ListKeys")), json!({ "KeyList": { "keys": [entry] } }));

    let mut next = world.policy();
    next["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"]["mrtd"] = json!("bb".repeat(48));
    assert_eq!(ask(update(&next)), json!({ "PolicyUpdated": { "policy_version": 2 } }));
    assert_eq!(ask(json!({ "GetKeyInfo": { "handle": HANDLE } }))["KeyInfo"]["expires_at"], expires_at);

    let mut coup = next.clone();
    coup["principals"]["owner"]["Oidc"]["sub"] = json!("owner-2");
    assert_eq!(ask(update(&coup)), error(texts::immutable("Owner")));
    let mut longer = next.clone();
    longer["lifecycle"]["ttl_seconds"] = json!(60);
    assert_eq!(ask(update(&longer)), error(texts::not_allowed_to_change("Owner", "Lifecycle")));

    assert_eq!(ask(json!({ "ExportKey": { "handle": HANDLE, "approvals": [] } })), error(texts::no_rule("ExportKey")));
    assert_eq!(ask(json!({ "DeleteKey": { "handle": HANDLE } })), json!("KeyDeleted"));
    assert_eq!(ask(json!({ "GetKeyInfo": { "handle": HANDLE } })), error(texts::NOT_FOUND));
}

#[test]
fn a_policy_read_back_shows_what_the_node_dropped() {
    let world = World::new();
    let (node, operator) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut link = operator.dial(node.addr()).unwrap();
    let mut given = world.policy();
    let tdx = &mut given["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"];
    (tdx["rtmr0"], tdx["rtmr3"]) = (json!("00".repeat(48)), json!("00".repeat(48)));
    assert_eq!(
        link.data(&update(&given), Some(&world.bearer()))["PolicyUpdated"]["policy_version"],
        2,
        "no error tells the owner"
    );
    let kept = link.data(&json!({ "GetPolicy": { "handle": HANDLE } }), Some(&world.bearer()));
    assert_eq!(kept["Policy"]["policy"], world.policy());
}

#[test]
fn a_policy_without_a_server_over_https_is_taken_and_denies_every_guest() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut link = guest.unlock(node.addr()).unwrap();
    for servers in [json!([]), json!([{ "url": "http://as.example/verify", "pinned_spki_sha256_hex": null }])] {
        assert_eq!(material(&link.export(HANDLE)), [7; 49]);
        let mut policy = world.policy();
        policy["principals"]["tees"][0]["Tee"]["attestation_servers"] = servers.clone();
        assert!(link.data(&update(&policy), Some(&world.bearer()))["PolicyUpdated"].is_object(), "{servers}");
        assert_eq!(link.export(HANDLE), error(texts::DENIED), "{servers}");
        link.data(&update(&world.policy()), Some(&world.bearer()));
    }
}

#[test]
fn an_attestation_server_is_asked_once_for_each_entry() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    let entry = world.policy()["principals"]["tees"][0].clone();
    let mut other = entry.clone();
    other["Tee"]["measurements"][0]["Tdx"]["mrtd"] = json!("bb".repeat(48));
    let mut both = entry.clone();
    both["Tee"]["measurements"] = json!([other["Tee"]["measurements"][0], entry["Tee"]["measurements"][0]]);
    for (tees, calls) in [(json!([other, other, entry]), 3), (json!([both]), 1)] {
        let mut policy = world.policy();
        policy["principals"]["tees"] = tees;
        node.put_key(HANDLE, vec![7; 49], policy).unwrap();
        let before = node.served().attestation_calls;
        assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
        assert_eq!(node.served().attestation_calls - before, calls);
    }
}

#[test]
fn a_required_oid_is_on_the_guests_leaf_and_stays_required() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    let mut policy = world.policy();
    policy["principals"]["tees"][0]["Tee"]["required_oids"] = json!([{ "oid": APP, "value": "42".repeat(16) }]);
    node.put_key(HANDLE, vec![7; 49], policy).unwrap();
    let (guest, other) = (Guest::new(&world), Guest::with_app(&world, Some([0x43; 16])));
    assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
    assert_eq!(other.unlock(node.addr()).unwrap().export(HANDLE), error(texts::DENIED));
    let dropped = guest.dial(node.addr()).unwrap().data(&update(&world.policy()), Some(&world.bearer()));
    assert_eq!(dropped, error(texts::oid_dropped(APP)));
}

#[test]
fn owners_are_known_by_a_bearer_of_the_nodes_issuer() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    let operator = Guest::new(&world);
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut link = operator.dial(node.addr()).unwrap();
    for request in ["GetPolicy", "GetKeyInfo", "ListPendingProfiles", "ReadAuditLog"] {
        let request = json!({ request: { "handle": HANDLE } });
        assert_eq!(link.data(&request, None), error(texts::NOT_A_PRINCIPAL), "{request}");
    }
    let request = json!({ "GetPolicy": { "handle": HANDLE } });
    let other = world.issuer.bearer("owner-2", &[], now() + 60).unwrap();
    assert_eq!(link.data(&request, Some(&other)), error(texts::NOT_A_PRINCIPAL));
    assert_eq!(link.data(&json!("ListKeys"), Some(&other)), json!({ "KeyList": { "keys": [] } }));
    assert_eq!(link.data(&json!("ListKeys"), None), error(texts::LIST_NEEDS_OIDC));
    let over = world.issuer.bearer(OWNER, &[], now() - 1).unwrap();
    let foreign = Issuer::generate().unwrap().bearer(OWNER, &[], now() + 60).unwrap();
    for (name, token) in [("over", over.as_str()), ("foreign", foreign.as_str()), ("garbage", "x.y.z")] {
        assert_eq!(link.data(&request, Some(token)), json!(texts::BEARER.status), "{name}");
    }
    assert!(link.data(&request, Some(&world.bearer()))["Policy"].is_object());

    let bearer_audience = "privasys-platform".to_owned();
    let elsewhere = Node::start(NodeConfig { bearer_audience, ..world.config("vault") }).unwrap();
    let mut link = operator.dial(elsewhere.addr()).unwrap();
    assert_eq!(link.data(&json!("ListKeys"), Some(&world.bearer())), json!(texts::BEARER.status), "another audience");
    let claims = json!({ "iss": world.issuer.url, "aud": "privasys-platform", "sub": OWNER, "exp": now() + 60 });
    let bearer = world.issuer.sign(&claims).unwrap();
    assert!(link.data(&json!("ListKeys"), Some(&bearer))["KeyList"].is_object());
}

#[test]
fn requests_that_a_node_cannot_parse_are_echoed() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut link = guest.dial(node.addr()).unwrap();
    for body in [&b"not JSON"[..], b"{\"Nonsense\":{}}", b"{\"ExportKey\":{}}", b""] {
        assert_eq!(link.post("/data", body, None).unwrap(), (200, body.to_vec()));
    }
    let mut policy = world.policy();
    policy["operations"][0]["ops"] = json!(["Burn"]);
    let mut snp = world.policy();
    snp["principals"]["tees"][0]["Tee"]["measurements"] = json!([{ "SevSnp": { "measurement": "aa".repeat(48) } }]);
    for request in [update(&policy), update(&snp)] {
        assert_eq!(link.data(&request, Some(&world.bearer())), request);
    }
}

#[test]
fn keys_outlive_a_node_that_has_a_state_directory() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let start = || Node::start(NodeConfig { state: Some(dir.path().join("vault")), ..world.config("vault") }).unwrap();
    let node = start();
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    drop(node);
    let node = start();
    let guest = Guest::new(&world);
    assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
    node.drop_key(HANDLE).unwrap();
    drop(node);
    assert_eq!(guest.unlock(start().addr()).unwrap().export(HANDLE), error(texts::NOT_FOUND));
}
