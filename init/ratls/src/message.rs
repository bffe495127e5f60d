//! Messages of the evidence exchange, in JSON. Bytes are base64url without padding.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Error, QuoteTime, Step};

/// Asks a node for evidence over a fresh context.
#[derive(Serialize)]
struct Challenge {
    v: u8,
    mode: &'static str,
    leaf: String,
    context: String,
}

/// Presents the client's evidence.
#[derive(Serialize)]
struct Present<'a> {
    v: u8,
    mode: &'static str,
    context: String,
    tee: &'a str,
    quote: String,
    gpu_evidence: Option<()>,
    quote_time: &'a str,
}

/// A node's answer to a challenge. Unknown fields are ignored, as the protocol demands.
#[derive(Deserialize)]
struct RawEvidence<'a> {
    v: u64,
    mode: &'a str,
    tee: &'a str,
    quote: String,
    #[serde(default, borrow)]
    gpu_evidence: Option<&'a RawValue>,
    quote_time: &'a str,
    client_evidence: Option<&'a str>,
    client_context: Option<&'a str>,
    #[serde(default, borrow)]
    collateral: Option<&'a RawValue>,
}

/// The evidence that a node demands of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientEvidence {
    /// None: the client's certificate has no app UUID.
    None,
    /// A quote over this context.
    Required([u8; 32]),
}

/// A node's evidence, parsed and not yet verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) quote: Vec<u8>,
    pub(crate) quote_time: QuoteTime,
    pub(crate) client: ClientEvidence,
    pub(crate) collateral: Option<Vec<u8>>,
}

pub(crate) fn challenge(leaf_hash: &[u8; 32], context: &[u8; 32]) -> Result<Vec<u8>, Error> {
    encode(Step::Challenge, &Challenge { v: 2, mode: "challenge", leaf: base64(leaf_hash), context: base64(context) })
}

pub(crate) fn present(context: &[u8; 32], tee: &str, quote: &[u8], quote_time: &str) -> Result<Vec<u8>, Error> {
    let message =
        Present { v: 2, mode: "present", context: base64(context), tee, quote: base64(quote), gpu_evidence: None, quote_time };
    encode(Step::Present, &message)
}

fn encode(step: Step, message: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(message).map_err(|_| Error::Protocol(step, "message not encodable"))
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Parses a node's answer to a challenge. Every field that the client uses must be valid.
pub(crate) fn evidence(body: &[u8]) -> Result<Evidence, Error> {
    let refused = |what| Error::Protocol(Step::Challenge, what);
    let raw: RawEvidence<'_> = serde_json::from_slice(body).map_err(|_| refused("answer is not evidence"))?;
    if raw.v != 2 {
        return Err(refused("expected version 2"));
    }
    if raw.mode != "challenge" {
        return Err(refused("expected mode challenge"));
    }
    if raw.tee != "sgx" {
        return Err(refused("expected TEE sgx"));
    }
    if raw.gpu_evidence.is_some_and(|value| value.get() != "null") {
        return Err(refused("unexpected GPU evidence"));
    }
    let quote = URL_SAFE_NO_PAD.decode(&raw.quote).map_err(|_| refused("quote is not base64url"))?;
    if quote.is_empty() {
        return Err(refused("empty quote"));
    }
    let client = match (raw.client_evidence, raw.client_context) {
        (Some("required"), Some(context)) => {
            ClientEvidence::Required(context_bytes(context).ok_or(refused("client context is not 32 bytes of base64url"))?)
        }
        (Some("none") | None, _) => ClientEvidence::None,
        _ => return Err(refused("unknown demand for client evidence")),
    };
    Ok(Evidence {
        quote,
        quote_time: QuoteTime::parse(raw.quote_time).ok_or(refused("quote time is malformed"))?,
        client,
        collateral: raw.collateral.map(|value| value.get().as_bytes().to_vec()).filter(|json| json != b"null"),
    })
}

fn context_bytes(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(change: impl FnOnce(&mut serde_json::Value)) -> Result<Evidence, String> {
        let mut value = serde_json::json!({
            "v": 2, "mode": "challenge", "tee": "sgx", "quote": "AQI", "gpu_evidence": null, "quote_time": "2026-09-04T10:15Z",
            "client_evidence": "required", "client_context": "A".repeat(43), "later": {"field": 1},
        });
        change(&mut value);
        evidence(&serde_json::to_vec(&value).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn good_evidence_is_parsed() {
        let read = answer(|_| ()).unwrap();
        assert_eq!((read.quote.as_slice(), read.client, read.collateral), (&[1, 2][..], ClientEvidence::Required([0; 32]), None));
    }

    #[test]
    fn each_wrong_field_has_its_own_error() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(&str, Change, &str); 12] = [
            ("v1", |a| a["v"] = 1.into(), "expected version 2"),
            ("deterministic", |a| a["mode"] = "deterministic".into(), "expected mode challenge"),
            ("another tee", |a| a["tee"] = "tdx".into(), "expected TEE sgx"),
            ("gpu", |a| a["gpu_evidence"] = "AA".into(), "unexpected GPU evidence"),
            ("empty quote", |a| a["quote"] = "".into(), "empty quote"),
            ("padded", |a| a["quote"] = "AQI=".into(), "quote is not base64url"),
            ("short context", |a| a["client_context"] = "AAAA".into(), "client context is not 32 bytes of base64url"),
            ("context missing", |a| a["client_context"] = serde_json::Value::Null, "unknown demand for client evidence"),
            ("unknown demand", |a| a["client_evidence"] = "maybe".into(), "unknown demand for client evidence"),
            ("time", |a| a["quote_time"] = "now".into(), "quote time is malformed"),
            ("no quote", |a| drop(a.as_object_mut().unwrap().remove("quote")), "answer is not evidence"),
            ("not an object", |a| *a = 3.into(), "answer is not evidence"),
        ];
        for (name, change, want) in cases {
            assert_eq!(answer(change), Err(format!("challenge: {want}")), "{name}");
        }
    }
}
