//! The node's evidence: what it proves, what it requests, and its certificates.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap::sha256;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{RootCertStore, client::danger::ServerCertVerifier as _};
use serde_json::{Value, json};
use vault_node::{EvidenceRule, Extensions, Misbehaviour, Node, NodeConfig, texts};
use x509_cert::der::Decode as _;

use crate::guest::{Guest, HANDLE, World};
use crate::link::material;

#[test]
fn guest_that_proves_itself_gets_its_share() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut link = guest.unlock(node.addr()).unwrap();
    let answer = link.export(HANDLE);
    assert_eq!(material(&answer), [7; 49]);
    assert_eq!(link.export("another"), json!({ "Error": texts::NOT_FOUND }));
    let served = node.served();
    assert_eq!((served.challenges, served.presents, served.exports, served.released), (1, 1, 2, 1));
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
        ("v", json!(1), texts::VERSION_OR_MODE.status),
        ("mode", json!("deterministic"), texts::VERSION_OR_MODE.status),
        ("leaf", json!(BASE64URL.encode([0; 32])), texts::UNKNOWN_LEAF.status),
        ("context", json!(BASE64URL.encode([5; 31])), texts::CONTEXT.status),
        ("context", json!(null), texts::CONTEXT.status),
    ];
    for (field, value, want) in cases {
        let mut request = good.clone();
        request[field] = value;
        assert_eq!(link.attest(&request).unwrap().0, want, "{request}");
    }
    assert_eq!(link.post("/__privasys/attest", b"{", None).unwrap().0, texts::MALFORMED.status);
    assert_eq!(link.post("/elsewhere", b"{}", None).unwrap().0, texts::NO_SUCH_PATH.status);
}

#[test]
fn collateral_is_stapled_only_if_configured() {
    let world = World::new();
    let guest = Guest::new(&world);
    for staple_collateral in [false, true] {
        let node = world.extended(Extensions { staple_collateral, ..Extensions::default() });
        let challenge = || guest.dial(node.addr()).unwrap().challenge(&[1; 32]).unwrap().1;
        let evidence = challenge();
        assert_eq!(evidence.get("collateral").is_some(), staple_collateral);
        assert_eq!(evidence["quote_time"].as_str().unwrap().len(), 17);
        node.set_misbehaviour(Misbehaviour::NoCollateral);
        assert_eq!(challenge().get("collateral"), None, "whatever is configured");
    }
}

#[test]
fn who_is_asked_for_evidence_depends_on_the_build() {
    let world = World::new();
    let (guest, operator) = (Guest::new(&world), Guest::with_app(&world, None));
    let cases = [(EvidenceRule::AppExtension, "none"), (EvidenceRule::AnyCertificate, "required")];
    for (evidence_rule, want) in cases {
        let node = Node::start(NodeConfig { evidence_rule, ..world.config("vault") }).unwrap();
        let asked = |guest: &Guest| guest.dial(node.addr()).unwrap().challenge(&[1; 32]).unwrap().1;
        assert_eq!(asked(&guest)["client_evidence"], "required", "{evidence_rule:?}");
        let evidence = asked(&operator);
        assert_eq!(evidence["client_evidence"], want, "{evidence_rule:?}");
        assert_eq!(evidence.get("client_context").is_some(), want == "required", "{evidence_rule:?}");
        // Requests that need no TEE principal are answered in both cases.
        let listed = operator.dial(node.addr()).unwrap().data(&json!("ListKeys"), Some(&world.bearer()));
        assert_eq!(listed, json!({ "KeyList": { "keys": [] } }), "{evidence_rule:?}");
    }
}

#[test]
fn a_leaf_comes_with_its_ca_and_the_hashes_of_the_nodes_configuration() {
    let world = World::new();
    let guest = Guest::new(&world);
    for workload_oid in [false, true] {
        let node = Node::start(NodeConfig { workload_oid, ..world.config("vault") }).unwrap();
        let chain = guest.dial(node.addr()).unwrap().chain;
        assert_eq!((chain.len(), &chain[1]), (2, &node.ca_der()));
        let leaf = x509_cert::Certificate::from_der(&chain[0]).unwrap();
        let oids: Vec<String> = leaf.tbs_certificate().extensions().unwrap().iter().map(|one| one.extn_id.to_string()).collect();
        for (last, want) in [("2.1", true), ("2.2", true), ("2.3", true), ("5.1", workload_oid), ("4.1", false)] {
            assert_eq!(oids.contains(&format!("1.3.6.1.4.1.65230.{last}")), want, "{last}");
        }
        assert!(is_signed_by(&chain[0], &chain[1]));
    }
}

/// Whether a TLS client that trusts the second certificate accepts this chain.
fn is_signed_by(leaf: &[u8], ca: &[u8]) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.to_vec())).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let name = rustls::pki_types::ServerName::try_from("vault").unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(crate::guest::now()));
    // The only error is the name, which is checked last.
    let result = verifier.verify_server_cert(&CertificateDer::from(leaf.to_vec()), &[], &name, &[], now);
    format!("{result:?}").contains("NotValidForName")
}

#[test]
fn leaf_is_rotated_and_the_previous_one_valid_for_fifteen_minutes() {
    let world = World::new();
    let (node, guest) = (world.node(Misbehaviour::None), Guest::new(&world));
    node.put_key(HANDLE, vec![7; 49], world.policy()).unwrap();
    let mut before = guest.dial(node.addr()).unwrap();
    node.rotate_leaf().unwrap();
    let mut after = guest.dial(node.addr()).unwrap();
    assert!(before.node_spki != after.node_spki && before.chain[1] == after.chain[1]);
    let context = before.attest_node().unwrap();
    assert_eq!(before.present(&context, &before.quote(&context)).0, 204);
    node.advance_clock(Duration::from_secs(15 * 60 + 1));
    let (status, body) = before.challenge(&[1; 32]).unwrap();
    assert_eq!((status, &body["error"]), (404, &json!("unknown leaf")));
    assert_eq!(material(&before.export(HANDLE)), [7; 49], "what was proved stays proved");
    assert_eq!(after.challenge(&[1; 32]).unwrap().0, 200);

    node.advance_clock(Duration::from_secs(86_400));
    assert_ne!(guest.dial(node.addr()).unwrap().node_spki, after.node_spki, "after a day by itself");
}
