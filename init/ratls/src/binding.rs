//! The report data that binds a quote to one end of one TLS session.
//!
//! report_data = SHA-512( SHA-256(SPKI DER) || context || hctx ), 64 bytes, where hctx is 32 bytes of TLS exporter (RFC 8446,
//! section 7.5). Each direction has its own label, so that a peer cannot reflect a quote to its sender.
//! Source: RA-TLS v2, key-server-protocol.md, section 2.3.

use ring::digest::{SHA256, SHA512, digest};

/// Exporter label of the node's evidence.
pub(crate) const LABEL_NODE: &[u8] = b"EXPORTER-privasys-ratls-attest-v2";
/// Exporter label of the client's evidence.
pub(crate) const LABEL_CLIENT: &[u8] = b"EXPORTER-privasys-ratls-attest-v2-client";

/// SHA-256 of a DER SubjectPublicKeyInfo.
pub(crate) fn spki_hash(spki: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, spki).as_ref());
    hash
}

/// The report data that the quote of the end with public key `spki` must contain.
pub(crate) fn report_data(spki: &[u8], context: &[u8; 32], hctx: &[u8; 32]) -> [u8; 64] {
    let mut data = [0; 64];
    data.copy_from_slice(digest(&SHA512, &[spki_hash(spki), *context, *hctx].concat()).as_ref());
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let bytes: Vec<u8> = (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }

    #[test]
    fn report_data_equals_the_public_vectors() {
        let text = include_str!("../../../tests/vectors/ratls-v2/report_data.json");
        let vectors: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        let challenge = vectors.iter().find(|v| v["name"] == "challenge").unwrap();
        let field = |name: &str| challenge[name].as_str().unwrap().to_owned();
        let computed = report_data(&hex::<91>(&field("spki_der")), &hex(&field("context")), &hex(&field("hctx")));
        assert_eq!(computed, hex::<64>(&field("report_data")));
    }

    #[test]
    fn labels_equal_the_public_vectors() {
        let text = include_str!("../../../tests/vectors/ratls-v2/exporter.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        for vector in vectors["vectors"].as_array().unwrap() {
            assert_eq!(vector["label"].as_str().unwrap().as_bytes(), LABEL_NODE);
            assert_eq!(vector["client_label"].as_str().unwrap().as_bytes(), LABEL_CLIENT);
        }
    }
}
