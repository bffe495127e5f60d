//! The client's evidence: checks that its quote is bound to this connection. `/data` verifies the quote.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use crate::attest::{CLIENT_LABEL, binding};
use crate::connection::Session;
use crate::guest::GuestEvidence;
use crate::http::Answer;
use crate::texts::{self, HttpError};
use crate::wire::AttestRequest;
use crate::{Misbehaviour, clock};

/// Answers 204 when the quote is bound to this connection, else another status (texts.rs).
pub(crate) fn answer(
    session: &mut Session<'_>,
    request: &AttestRequest,
    export: impl Fn(&[u8], &[u8; 32]) -> Option<[u8; 32]>,
) -> Answer {
    let node = session.node;
    node.count(|served| served.presents += 1);
    match session.misbehaviour {
        Misbehaviour::FrozenClock(_) => return Answer::refusal(texts::NO_TRUSTED_TIME),
        Misbehaviour::PresentStatus(status) => return Answer::refusal(HttpError { status, text: "as configured" }),
        _ => {}
    }
    match accept(session, request, export) {
        Ok(evidence) => {
            session.evidence = Some(evidence);
            Answer::empty(204)
        }
        Err(error) => {
            node.refused(error.text);
            Answer::refusal(error)
        }
    }
}

fn accept(
    session: &mut Session<'_>,
    request: &AttestRequest,
    export: impl Fn(&[u8], &[u8; 32]) -> Option<[u8; 32]>,
) -> Result<GuestEvidence, HttpError> {
    // Removed before the checks: a challenge is answered once. Evidence that was accepted before stays.
    let pending = session.pending.take().ok_or(texts::NOT_PENDING)?;
    let leaf = session.leaf.as_ref().ok_or(texts::NOT_PENDING)?;
    if request.context() != Some(pending) {
        return Err(texts::NOT_PENDING);
    }
    if !request.quote_time.as_deref().is_some_and(|text| clock::is_recent(text, session.now())) {
        return Err(texts::STALE);
    }
    let quote = request.quote.as_deref().and_then(|quote| BASE64URL.decode(quote).ok()).ok_or(texts::MALFORMED)?;
    session.node.keep_guest_quote(&quote);
    let is_snp = request.tee.as_deref() == Some("sev-snp") && session.node.config.extensions.snp_chip.is_some();
    let (evidence, report_data) = GuestEvidence::read(quote, is_snp).ok_or(texts::NO_REPORT_DATA)?;
    let hctx = export(CLIENT_LABEL, &pending).ok_or(texts::NO_QUOTE)?;
    if report_data == binding(&leaf.spki, &pending, &hctx) { Ok(evidence) } else { Err(texts::REPORT_DATA) }
}
