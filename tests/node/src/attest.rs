//! `/__privasys/attest`: the node's evidence, and then the guest's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::digest::{SHA512, digest};
use sim_dcap::{Collateral, DAY, EnclaveReport, Key, Pki, Platform, SgxQuote, SignedCollateral, TdQuote, sha256};

use crate::connection::Session;
use crate::http::Answer;
use crate::node::Shared;
use crate::wire::{AttestRequest, Evidence};
use crate::{Error, Misbehaviour, clock, guest, tls};

/// Exporter label of the node's leg.
pub const NODE_LABEL: &[u8] = b"EXPORTER-privasys-ratls-attest-v2";
/// Exporter label of the guest's leg.
pub const CLIENT_LABEL: &[u8] = b"EXPORTER-privasys-ratls-attest-v2-client";

/// `SHA-512( SHA-256(spki) || context || hctx )`: the report data that ties a quote to one key, one nonce and one
/// connection. `spki` is the DER `SubjectPublicKeyInfo`, 91 bytes for P-256; `hctx` the exporter's output for `context`.
///
/// Source: RA-TLS v2, docs/ratls-v2.md; wire.md section 2.
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
        return Answer::refusal(503, "quote provider unavailable");
    }
    let Ok(request) = serde_json::from_slice::<AttestRequest>(body) else {
        return Answer::refusal(400, "malformed");
    };
    let Some(context) = request.context.as_deref().and_then(decode_context) else {
        return Answer::refusal(400, "context is not 32 bytes");
    };
    match (request.v, request.mode.as_str()) {
        (2, "challenge") => challenge(session, &request, &context, export),
        (2, "present") => present(session, &request, &context, export),
        _ => Answer::refusal(400, "version or mode"),
    }
}

fn challenge(
    session: &mut Session<'_>,
    request: &AttestRequest,
    context: &[u8; 32],
    export: impl Fn(&[u8], &[u8; 32]) -> Option<[u8; 32]>,
) -> Answer {
    let node = session.node;
    let spki = node.key.spki();
    if request.leaf.as_deref() != Some(BASE64URL.encode(sha256(&spki)).as_str()) {
        return Answer::refusal(404, "no such leaf");
    }
    let Some(hctx) = export(NODE_LABEL, context) else {
        return Answer::refusal(400, "no exporter");
    };
    node.count(|served| served.challenges += 1);
    session.asked = session.leaf.as_ref().filter(|leaf| leaf.names_app).and_then(|_| tls::random().ok());
    match evidence(node, session.misbehaviour, context, &hctx, session.asked) {
        Ok(evidence) => Answer::json(200, &evidence),
        Err(_) => Answer::refusal(503, "quote provider unavailable"),
    }
}

fn evidence(
    node: &Shared,
    misbehaviour: Misbehaviour,
    context: &[u8; 32],
    hctx: &[u8; 32],
    asked: Option<[u8; 32]>,
) -> Result<Evidence, Error> {
    let now = clock::now(node.config.clock_offset);
    let report_data = report_data(node, misbehaviour, context, hctx)?;
    let (quote, collateral) = if misbehaviour == Misbehaviour::Reflection {
        let seen = node.guest_quotes().pop();
        let quote = match seen {
            Some(quote) => quote,
            None => TdQuote::new(report_data).sign(&node.config.platform)?,
        };
        (quote, Some(Collateral::tdx(&node.config.platform, now).sign(&node.config.pki)?))
    } else {
        sgx_evidence(node, misbehaviour, report_data, now)?
    };
    Ok(Evidence {
        v: 2,
        mode: "challenge",
        tee: "sgx",
        quote: BASE64URL.encode(quote),
        gpu_evidence: None,
        quote_time: clock::minute(told(misbehaviour, now)),
        client_evidence: if asked.is_some() { "required" } else { "none" },
        client_context: asked.map(|context| BASE64URL.encode(context)),
        collateral: collateral.filter(|_| node.config.staple),
    })
}

/// What a node that misbehaves so says that its clock says.
fn told(misbehaviour: Misbehaviour, now: u64) -> u64 {
    match misbehaviour {
        Misbehaviour::WrongClock(seconds) | Misbehaviour::FrozenClock(seconds) => now.saturating_add_signed(seconds),
        _ => now,
    }
}

/// What the quote is made over: the right binding, or a lie about one part of it.
fn report_data(node: &Shared, misbehaviour: Misbehaviour, context: &[u8; 32], hctx: &[u8; 32]) -> Result<[u8; 64], Error> {
    let spki = node.key.spki();
    let honest = binding(&spki, context, hctx);
    Ok(match misbehaviour {
        Misbehaviour::StaleQuote => match node.first_report_data(honest) {
            first if first != honest => first,
            _ => binding(&spki, &tls::random()?, &tls::random()?),
        },
        Misbehaviour::OtherConnection => binding(&spki, context, &tls::random()?),
        Misbehaviour::WrongSpki => binding(&Key::generate()?.spki(), context, hctx),
        Misbehaviour::HalfReportData => {
            let mut half = honest;
            half.iter_mut().skip(32).for_each(|byte| *byte = !*byte);
            half
        }
        _ => {
            node.first_report_data(honest);
            honest
        }
    })
}

fn sgx_evidence(
    node: &Shared,
    misbehaviour: Misbehaviour,
    report_data: [u8; 64],
    now: u64,
) -> Result<(Vec<u8>, Option<SignedCollateral>), Error> {
    let mut quote = SgxQuote::new(node.config.mrenclave, report_data);
    match misbehaviour {
        Misbehaviour::WrongMrenclave => quote.report.mrenclave = node.config.mrenclave.map(|byte| !byte),
        Misbehaviour::DebugEnclave => quote.report.flags |= EnclaveReport::DEBUG,
        _ => {}
    }
    let (pki, platform) = (&node.config.pki, &node.config.platform);
    if misbehaviour == Misbehaviour::ForeignRoot {
        let (pki, platform) = foreign(now)?;
        return Ok((quote.sign(&platform)?, Some(Collateral::sgx(&platform, now).sign(&pki)?)));
    }
    let mut collateral = Collateral::sgx(platform, now);
    match misbehaviour {
        Misbehaviour::NoCollateral => return Ok((quote.sign(platform)?, None)),
        Misbehaviour::ExpiredCollateral => collateral = Collateral::sgx(platform, now.saturating_sub(60 * DAY)),
        Misbehaviour::RevokedPck => collateral.pck_crl.revoked.push(platform.pck.serial()),
        Misbehaviour::OutOfDate => {
            collateral.tcb_info.tcb_levels.iter_mut().for_each(|level| level.tcb_status.replace_range(.., "OutOfDate"));
        }
        Misbehaviour::ForeignCollateral => return Ok((quote.sign(platform)?, Some(collateral.sign(&foreign(now)?.0)?))),
        _ => {}
    }
    Ok((quote.sign(platform)?, Some(collateral.sign(pki)?)))
}

/// Another root with the same names, and a machine under it.
fn foreign(now: u64) -> Result<(Pki, Platform), Error> {
    let pki = Pki::mint(now)?;
    let platform = pki.platform("foreign")?;
    Ok((pki, platform))
}

fn present(
    session: &mut Session<'_>,
    request: &AttestRequest,
    context: &[u8; 32],
    export: impl Fn(&[u8], &[u8; 32]) -> Option<[u8; 32]>,
) -> Answer {
    let node = session.node;
    node.count(|served| served.presents += 1);
    let now = clock::now(node.config.clock_offset);
    if matches!(session.misbehaviour, Misbehaviour::FrozenClock(_)) {
        return Answer::refusal(503, "no trusted time");
    }
    if !request.quote_time.as_deref().is_some_and(|text| clock::is_recent(text, told(session.misbehaviour, now))) {
        node.refused("quote_time is not of the last day");
        return Answer::refusal(400, "stale quote_time");
    }
    // Taken, so that one challenge is answered once.
    let result = match (session.asked.take(), &session.leaf, export(CLIENT_LABEL, context)) {
        (Some(asked), Some(leaf), Some(hctx)) if asked == *context => {
            let quote = request.quote.as_deref().and_then(|quote| BASE64URL.decode(quote).ok()).unwrap_or_default();
            let expected = binding(&leaf.spki, context, &hctx);
            node.keep_guest_quote(&quote);
            match request.tee.as_deref() {
                Some("tdx") => guest::verify(&quote, &expected, &node.config.pki, &node.config.platform, now),
                Some("sev-snp") => guest::verify_snp(&quote, &expected, node.config.snp_chip.as_deref()),
                _ => Err("evidence of a kind that is not known".to_owned()),
            }
        }
        _ => Err("nothing was asked, or something else was".to_owned()),
    };
    match result {
        Ok(measurements) => {
            session.tee = Some(measurements);
            Answer::empty(204)
        }
        Err(why) => {
            node.refused(&why);
            Answer::refusal(403, "client evidence refused")
        }
    }
}

fn decode_context(text: &str) -> Option<[u8; 32]> {
    BASE64URL.decode(text).ok()?.try_into().ok()
}
