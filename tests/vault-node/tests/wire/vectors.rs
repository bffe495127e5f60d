//! Public test vectors of RA-TLS v2, and the shares of one secret through three nodes.

use encoding::hex;
use ring::digest::{SHA256, SHA384, digest};
use ring::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use serde_json::Value;
use vault_node::{CLIENT_LABEL, Misbehaviour, NODE_LABEL, binding};

use crate::guest::{Guest, HANDLE, World};
use crate::link::material;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode_any_case(value.as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn binding_is_the_challenge_vector() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/ratls-v2/report_data.json")).unwrap();
    let vector = vectors.as_array().unwrap().iter().find(|vector| vector["name"] == "challenge").unwrap();
    let context = bytes(&vector["context"]).try_into().unwrap();
    let hctx = bytes(&vector["hctx"]).try_into().unwrap();
    assert_eq!(binding(&bytes(&vector["spki_der"]), &context, &hctx).to_vec(), bytes(&vector["report_data"]));
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// `HKDF-Expand-Label(secret, label, context, length)`.
///
/// Source: RFC 8446, section 7.1.
fn expand_label(sha384: bool, secret: &[u8], label: &[u8], context: &[u8], length: usize) -> Vec<u8> {
    let label = [b"tls13 ", label].concat();
    let length_bytes = u16::try_from(length).unwrap().to_be_bytes();
    let label_length = [u8::try_from(label.len()).unwrap()];
    let context_length = [u8::try_from(context.len()).unwrap()];
    let prk = Prk::new_less_safe(if sha384 { HKDF_SHA384 } else { HKDF_SHA256 }, secret);
    let mut out = vec![0; length];
    prk.expand(&[&length_bytes, &label_length, &label, &context_length, context], Length(length))
        .unwrap()
        .fill(&mut out)
        .unwrap();
    out
}

#[test]
fn labels_are_those_of_the_exporter_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/ratls-v2/exporter.json")).unwrap();
    for vector in vectors["vectors"].as_array().unwrap() {
        let sha384 = vector["hash"] == "sha384";
        let hash = |data: &[u8]| digest(if sha384 { &SHA384 } else { &SHA256 }, data).as_ref().to_vec();
        let master = bytes(&vector["exporter_master_secret"]);
        for (label, want) in [(NODE_LABEL, "hctx"), (CLIENT_LABEL, "client_hctx")] {
            let derived = expand_label(sha384, &master, label, &hash(b""), master.len());
            let hctx = expand_label(sha384, &derived, b"exporter", &hash(&bytes(&vector["context"])), 32);
            assert_eq!(hctx, bytes(&vector[want]), "{}: {want}", vector["name"]);
        }
    }
}

fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = (a << 1) ^ if a & 0x80 > 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    product
}

/// The value at 0 of the line through two shares, in GF(2^8)/0x11b.
fn combine(one: &[u8], two: &[u8]) -> Vec<u8> {
    let (x1, x2) = (one[0], two[0]);
    let inverse = (1..=255).find(|guess| multiply(*guess, x1 ^ x2) == 1).unwrap();
    let (weight1, weight2) = (multiply(x2, inverse), multiply(x1, inverse));
    one[1..].iter().zip(&two[1..]).map(|(a, b)| multiply(*a, weight1) ^ multiply(*b, weight2)).collect()
}

#[test]
fn any_two_of_three_nodes_give_the_secret_of_the_vector() {
    let vector: Value = serde_json::from_str(include_str!("../vectors/shamir-11b.json")).unwrap();
    let world = World::new();
    let guest = Guest::new(&world);
    let shares: Vec<Vec<u8>> = vector["shares"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| {
            let node = world.node(Misbehaviour::None);
            node.put_key(HANDLE, [vec![0xaa; 16], bytes(share)].concat(), world.policy()).unwrap();
            material(&guest.unlock(node.addr()).unwrap().export(HANDLE))[16..].to_vec()
        })
        .collect();
    for (one, two) in [(0, 1), (1, 2), (2, 0)] {
        assert_eq!(combine(&shares[one], &shares[two]), bytes(&vector["secret"]), "shares {one} and {two}");
    }
}
