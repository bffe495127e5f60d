//! CreateKey: grants, each of their claims, and the created keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap::Key;
use serde_json::{Value, json};
use vault_node::{Grant, Issuer, Misbehaviour, Node, NodeConfig, texts};

use crate::guest::{Guest, HANDLE, OWNER, World, now};
use crate::link::material;

const DAY: u64 = 86_400;

fn create(handle: &str, material: &[u8], grant: &str) -> Value {
    json!({ "CreateKey": { "handle": handle, "material_b64": BASE64URL.encode(material), "grant": grant } })
}

fn claims(world: &World, operator: &Guest) -> Value {
    let policy = world.policy();
    let grant = Grant { sub: OWNER, scope: "apps.example", policy: &policy, exp: now() + 60, caller_leaf: &operator.leaf };
    world.issuer.grant_claims(&grant)
}

#[test]
fn grants_create_keys_when_every_claim_is_right() {
    let world = World::new();
    let (node, operator) = (world.node(Misbehaviour::None), Guest::new(&world));
    let good = claims(&world, &operator);
    let mut link = operator.dial(node.addr()).unwrap();
    let unverified = texts::grant_unverified("");
    let cases = [
        ("/iss", json!("https://other.invalid"), texts::grant_issuer("https://other.invalid")),
        ("/aud", json!("privasys-vault"), texts::grant_audience("privasys-vault")),
        ("/aud", json!(["privasys-vault-keycreate"]), unverified.clone()),
        ("/sub", json!(null), unverified.clone()),
        ("/sub", json!("owner-2"), texts::GRANT_OWNER.to_owned()),
        ("/exp", json!(now() - 1), texts::GRANT_EXPIRED.to_owned()),
        ("/scope", json!("apps.exam"), texts::outside_scope(HANDLE, "apps.exam")),
        ("/scope", json!(""), texts::outside_scope(HANDLE, "")),
        ("/key_type", json!("Plain"), unverified.clone()),
        ("/exportable", json!("true"), unverified.clone()),
        ("/policy/operations", json!("none"), unverified.clone()),
        ("/cnf", json!(null), texts::GRANT_UNBOUND.to_owned()),
        ("/cnf/x5t#S256", json!(BASE64URL.encode([0; 32])), texts::GRANT_CNF.to_owned()),
    ];
    for (claim, value, want) in cases {
        let mut claims = good.clone();
        *claims.pointer_mut(claim).unwrap() = value;
        let answer = link.data(&create(HANDLE, &[7; 49], &world.issuer.sign(&claims).unwrap()), None);
        let error = answer["Error"].as_str().unwrap();
        let is_expected = if want == unverified { error.starts_with(&want) } else { error == want };
        assert!(is_expected, "{claim}: {error}");
    }
    let foreign = Issuer::generate().unwrap().sign(&good).unwrap();
    assert_eq!(link.data(&create(HANDLE, &[7; 49], &foreign), None), json!({ "Error": texts::grant_unverified("signature") }));
    let token = world.issuer.sign(&good).unwrap();
    for (handle, material, want) in [
        ("", &[7; 49][..], texts::NO_HANDLE),
        ("__apps.example", &[7; 49], texts::RESERVED_HANDLE),
        (HANDLE, &[], texts::NO_MATERIAL),
    ] {
        assert_eq!(link.data(&create(handle, material, &token), None), json!({ "Error": want }));
    }
}

#[test]
fn a_created_key_is_exported_and_never_overwritten() {
    let world = World::new();
    let (node, operator) = (world.node(Misbehaviour::None), Guest::new(&world));
    let token = world.issuer.sign(&claims(&world, &operator)).unwrap();
    let mut link = operator.dial(node.addr()).unwrap();
    let created = link.data(&create(HANDLE, &[7; 49], &token), None);
    assert_eq!(created["KeyCreated"]["handle"], HANDLE);
    let days = (created["KeyCreated"]["expires_at"].as_u64().unwrap() - now()).div_ceil(DAY);
    assert_eq!(days, 90);
    assert_eq!(link.data(&create(HANDLE, &[8; 49], &token), None), json!({ "Error": texts::EXISTS }));

    let guest = Guest::new(&world);
    assert_eq!(material(&guest.unlock(node.addr()).unwrap().export(HANDLE)), [7; 49]);
    let stolen = guest.dial(node.addr()).unwrap().data(&create(HANDLE, &[7; 49], &token), None);
    assert_eq!(stolen, json!({ "Error": texts::GRANT_CNF }));

    let mut kept = claims(&world, &operator);
    kept["exportable"] = json!(false);
    let handle = format!("{HANDLE}-kept");
    link.data(&create(&handle, &[7; 49], &world.issuer.sign(&kept).unwrap()), None);
    let answer = guest.unlock(node.addr()).unwrap().export(&handle);
    assert_eq!(answer, json!({ "Error": texts::NOT_EXPORTABLE }));
}

#[test]
fn tokens_are_checked_against_the_nodes_clock() {
    let world = World::new();
    let operator = Guest::new(&world);
    let node = Node::start(NodeConfig { clock_offset: -10 * 86_400, ..world.config("vault") }).unwrap();
    let mut link = operator.dial(node.addr()).unwrap();
    let mut ends_then = claims(&world, &operator);
    ends_then["exp"] = json!(now() - 10 * DAY + 60);
    let answer = link.data(&create(HANDLE, &[7; 49], &world.issuer.sign(&ends_then).unwrap()), None);
    assert!(answer["KeyCreated"]["expires_at"].as_u64().unwrap() <= now() + 80 * DAY, "{answer}");
    let bearer = world.issuer.bearer(OWNER, &[], now() - 10 * DAY + 60).unwrap();
    assert!(link.data(&json!("ListKeys"), Some(&bearer))["KeyList"].is_object());

    let ahead = Node::start(NodeConfig { clock_offset: 3600, ..world.config("vault") }).unwrap();
    let mut link = operator.dial(ahead.addr()).unwrap();
    let token = world.issuer.sign(&claims(&world, &operator)).unwrap();
    assert_eq!(link.data(&create(HANDLE, &[7; 49], &token), None), json!({ "Error": texts::GRANT_EXPIRED }));
    assert_eq!(link.data(&json!("ListKeys"), Some(&world.bearer())), json!(texts::BEARER.status));
}

#[test]
fn kid_decides_the_key_of_grants_and_bearers() {
    let mut world = World::new();
    world.issuer.keys_before.push(("key-0".to_owned(), Key::generate().unwrap()));
    let (node, operator) = (world.node(Misbehaviour::None), Guest::new(&world));
    let mut link = operator.dial(node.addr()).unwrap();
    let good = claims(&world, &operator);
    let unnamed = link.data(&create(HANDLE, &[7; 49], &world.issuer.sign_without_kid(&good).unwrap()), None);
    assert_eq!(unnamed, json!({ "Error": texts::grant_unverified("signature") }), "the first key of the JWKS is another");
    let named = link.data(&create(HANDLE, &[7; 49], &world.issuer.sign(&good).unwrap()), None);
    assert!(named["KeyCreated"].is_object(), "{named}");
    assert!(link.data(&json!("ListKeys"), Some(&world.bearer()))["KeyList"].is_object());
}
