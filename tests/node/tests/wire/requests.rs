//! The vault's requests: grants, owners, policies, and keys that outlive the node.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use vault_node::{Grant, Issuer, Misbehaviour, Node, NodeConfig};

use crate::guest::{Guest, HANDLE, OWNER, World, material, now};

const DAY: u64 = 86_400;

fn create(material: &[u8], grant: &str) -> Value {
    json!({ "CreateKey": { "handle": HANDLE, "material_b64": BASE64URL.encode(material), "grant": grant } })
}

#[test]
fn grants_create_keys_when_every_claim_is_right() {
    let world = World::new();
    let (node, operator) = (world.node(Misbehaviour::None), Guest::new(&world));
    let policy = world.policy();
    let grant = Grant { sub: OWNER, scope: "apps.example", policy: &policy, exp: now() + 60, caller_leaf: &operator.leaf };
    let good = world.issuer.grant_claims(&grant);
    let mut link = operator.dial(node.addr()).unwrap();
    let cases = [
        ("/iss", json!("https://other.invalid"), "iss"),
        ("/aud", json!(["privasys-vault-keycreate"]), "aud"),
        ("/sub", json!(null), "sub"),
        ("/exp", json!(now() - 1), "exp"),
        ("/scope", json!("apps.exam"), "scope"),
        ("/scope", json!(""), "scope"),
        ("/key_type", json!("Aes256"), "key_type"),
        ("/exportable", json!("true"), "exportable"),
        ("/cnf/x5t#S256", json!(BASE64URL.encode([0; 32])), "cnf"),
    ];
    for (claim, value, want) in cases {
        let mut claims = good.clone();
        *claims.pointer_mut(claim).unwrap() = value;
        let answer = link.data(&create(&[7; 49], &world.issuer.sign(&claims).unwrap()), None);
        assert_eq!(answer, json!({ "Error": format!("grant refused: {want}") }), "{claim}");
    }
    let forged = Issuer::generate().unwrap().sign(&good).unwrap();
    assert_eq!(link.data(&create(&[7; 49], &forged), None), json!({ "Error": "grant refused: signature" }));

    let token = world.issuer.grant(&grant).unwrap();
    let created = link.data(&create(&[7; 49], &token), None);
    assert_eq!(created["KeyCreated"]["handle"], HANDLE);
    let days = (created["KeyCreated"]["expires_at"].as_u64().unwrap() - now()).div_ceil(DAY);
    assert_eq!(days, 90);
    assert_eq!(link.data(&create(&[8; 49], &token), None), json!({ "Error": "key already exists" }));

    let guest = Guest::new(&world);
    assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
    let stolen = guest.dial(node.addr()).unwrap().data(&create(&[7; 49], &token), None);
    assert_eq!(stolen, json!({ "Error": "grant refused: cnf" }));
}

#[test]
fn keys_live_as_long_as_policy_and_cap_allow() {
    let world = World::new();
    let node = world.node(Misbehaviour::None);
    let guest = Guest::new(&world);
    for (ttl, days) in [(json!(86_400), 1), (json!(null), 30), (json!(86_400 * 400), 90)] {
        let mut policy = world.policy();
        policy["lifecycle"]["ttl_seconds"] = ttl;
        node.put_key(HANDLE, vec![7; 49], policy).unwrap();
        let answer = guest.unlock(node.addr()).unwrap().export(HANDLE);
        let left = answer["KeyMaterial"]["expires_at"].as_u64().unwrap() - now();
        assert_eq!(left.div_ceil(DAY), days);
    }
    let mut policy = world.policy();
    policy["lifecycle"]["ttl_seconds"] = json!(0);
    node.put_key(HANDLE, vec![7; 49], policy).unwrap();
    assert_eq!(guest.unlock(node.addr()).unwrap().export(HANDLE), json!({ "Error": "key has expired" }));
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
    assert_eq!(ask(json!("ListKeys"))["KeyList"]["keys"][0]["handle"], HANDLE);

    let mut next = world.policy();
    next["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"]["mrtd"] = json!("bb".repeat(48));
    let updated = ask(json!({ "UpdatePolicy": { "handle": HANDLE, "new_policy": next, "approvals": [] } }));
    assert_eq!(updated, json!({ "PolicyUpdated": { "policy_version": 2 } }));
    assert_eq!(ask(json!({ "GetKeyInfo": { "handle": HANDLE } }))["KeyInfo"]["expires_at"], expires_at);

    let mut coup = next.clone();
    coup["principals"]["owner"]["Oidc"]["sub"] = json!("owner-2");
    let refused = ask(json!({ "UpdatePolicy": { "handle": HANDLE, "new_policy": coup, "approvals": [] } }));
    assert_eq!(refused, json!({ "Error": "policy section Owner may not be changed by this caller" }));

    let export = ask(json!({ "ExportKey": { "handle": HANDLE, "approvals": [] } }));
    assert!(export["Error"].as_str().unwrap().contains("no OperationRule"), "{export}");
    assert_eq!(ask(json!({ "DeleteKey": { "handle": HANDLE } }))["KeyDeleted"]["handle"], HANDLE);
    assert_eq!(ask(json!({ "GetKeyInfo": { "handle": HANDLE } })), json!({ "Error": "key not found" }));
}

#[test]
fn owners_are_known_by_a_bearer_of_the_nodes_issuer() {
    let world = World::new();
    let (node, operator) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut link = operator.dial(node.addr()).unwrap();
    let request = json!({ "GetPolicy": { "handle": HANDLE } });
    let denied = link.data(&request, None);
    assert!(denied["Error"].as_str().unwrap().contains("policy.principals"), "{denied}");
    let other = world.issuer.bearer("owner-2", &[], now() + 60).unwrap();
    assert!(link.data(&request, Some(&other))["Error"].is_string());
    let over = world.issuer.bearer(OWNER, &[], now() - 1).unwrap();
    let forged = Issuer::generate().unwrap().bearer(OWNER, &[], now() + 60).unwrap();
    for (name, token) in [("over", over.as_str()), ("forged", forged.as_str()), ("garbage", "x.y.z")] {
        assert_eq!(link.data(&request, Some(token)), json!(401), "{name}");
    }
    assert!(link.data(&request, Some(&world.bearer()))["Policy"].is_object());
}

#[test]
fn what_a_node_cannot_parse_it_echoes() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    let mut link = guest.dial(node.addr()).unwrap();
    for body in [&b"not JSON"[..], b"{\"Nonsense\":{}}", b"{\"ExportKey\":{}}", b""] {
        assert_eq!(link.post("/data", body, None).unwrap(), (200, body.to_vec()));
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
    assert_eq!(guest.unlock(start().addr()).unwrap().export(HANDLE), json!({ "Error": "key not found" }));
}
