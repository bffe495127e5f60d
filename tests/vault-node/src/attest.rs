//! `/__privasys/attest`: the node's evidence; the client's is in present.rs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap::sha256;
use ring::digest::{SHA512, digest};

use crate::connection::Session;
use crate::evidence::Minting;
use crate::http::Answer;
use crate::wire::{AttestRequest, Evidence};
use crate::{Error, EvidenceRule, Misbehaviour, clock, present, texts, tls};

/// Exporter label for the node's evidence.
pub const NODE_LABEL: &[u8] = b"EXPORTER-privasys-ratls-attest-v2";
/// Exporter label for the guest's evidence.
pub const CLIENT_LABEL: &[u8] = b"EXPORTER-privasys-ratls-attest-v2-client";

/// `SHA-512( SHA-256(spki) || context || hctx )`: the report data that binds a quote to one key, one nonce and one connection.
/// `spki` is the DER `SubjectPublicKeyInfo`, 91 bytes for P-256; `hctx` the exporter's output for `context`.
///
/// Source: key-server-protocol.md, section 2.3.
#[must_use]
pub fn binding(spki: &[u8], context: &[u8; 32], hctx: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    let input = [&sha256(spki), &context[..], &hctx[..]].concat();
    out.copy_from_slice(digest(&SHA512, &input).as_ref());
    out
}

/// Answers one evidence request. `export` is the connection's exporter: label and context to 32 bytes.
pub(crate) fn answer(session: &mut Session<'_>, body: &[u8], export: impl Fn(&[u8], &[u8; 32]) -> Option<[u8; 32]>) -> Answer {
    if session.misbehaviour == Misbehaviour::Unavailable {
        return Answer::refusal(texts::NO_QUOTE);
    }
    let Ok(request) = serde_json::from_slice::<AttestRequest>(body) else {
        return Answer::refusal(texts::MALFORMED);
    };
    match (request.v, request.mode.as_str()) {
        (2, "challenge") => challenge(session, &request, export),
        (2, "present") => present::answer(session, &request, export),
        _ => Answer::refusal(texts::VERSION_OR_MODE),
    }
}

fn challenge(
    session: &mut Session<'_>,
    request: &AttestRequest,
    export: impl Fn(&[u8], &[u8; 32]) -> Option<[u8; 32]>,
) -> Answer {
    let node = session.node;
    let Some(context) = request.context() else {
        return Answer::refusal(texts::CONTEXT);
    };
    let named = request.leaf.as_deref().and_then(|leaf| BASE64URL.decode(leaf).ok());
    let Some(spki) = named.and_then(|hash| node.leaf(&hash)) else {
        return Answer::refusal(texts::UNKNOWN_LEAF);
    };
    let Some(hctx) = export(NODE_LABEL, &context) else {
        return Answer::refusal(texts::NO_QUOTE);
    };
    node.count(|served| served.challenges += 1);
    let must_present = match node.config.evidence_rule {
        EvidenceRule::AppExtension => session.leaf.as_ref().is_some_and(|leaf| leaf.names_app),
        EvidenceRule::AnyCertificate => session.leaf.is_some(),
    };
    session.pending = must_present.then(|| tls::random().ok()).flatten();
    let minting = Minting { node, misbehaviour: session.misbehaviour, spki: &spki, context: &context, hctx: &hctx };
    evidence(session, &minting).map_or_else(|_| Answer::refusal(texts::NO_QUOTE), |evidence| Answer::json(200, &evidence))
}

fn evidence(session: &Session<'_>, minting: &Minting<'_>) -> Result<Evidence, Error> {
    let (quote, collateral) = minting.quote()?;
    // A node without trusted time sends the last time that it knew.
    let time = match session.misbehaviour {
        Misbehaviour::FrozenClock(seconds) => session.now().saturating_add_signed(seconds),
        _ => session.now(),
    };
    Ok(Evidence {
        v: 2,
        mode: "challenge",
        tee: "sgx",
        quote: BASE64URL.encode(quote),
        gpu_evidence: None,
        quote_time: clock::minute(time),
        client_evidence: if session.pending.is_some() { "required" } else { "none" },
        client_context: session.pending.map(|context| BASE64URL.encode(context)),
        collateral,
    })
}
