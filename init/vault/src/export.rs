//! ExportKey, the one request of a guest.

use std::time::Instant;

use ratls::{Session, Step, Transport};
use serde_json::json;

use crate::{KeyMaterial, PATH, Refused, answer};

/// The longest answer, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// Why a vault gave no key. The message contains no text of the peer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The session failed, or what came through it is not an answer to ExportKey.
    #[error(transparent)]
    Session(#[from] ratls::Error),
    /// The vault refused the request.
    #[error("request")]
    Refused(#[source] Refused),
}

/// Asks for the key named `handle`.
///
/// # Errors
/// [`Error::Refused`] with the kind of refusal; [`ratls::Error::Protocol`] when the answer is neither a key nor a refusal.
pub fn export_key<T: Transport>(session: &mut Session<T>, handle: &str, deadline: Instant) -> Result<KeyMaterial, Error> {
    let protocol = |what| ratls::Error::Protocol(Step::Request, what);
    let request = json!({ "ExportKey": { "handle": handle, "approvals": [] } });
    let body = serde_json::to_vec(&request).map_err(|_| protocol("request not encodable"))?;
    let reply = session.post(PATH, None, &body, ANSWER_MAX, deadline)?;
    if reply.status != 200 {
        return Err(ratls::Error::Status(Step::Request, reply.status).into());
    }
    answer::parse(&reply.body).ok_or(protocol("answer is not one of a vault"))?.map_err(Error::Refused)
}
