//! Errors of an operator's request.

use super::NodeText;
use crate::Refused;

/// Why a request failed. The message contains the node's text, escaped and bounded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The session failed before a complete answer.
    #[error(transparent)]
    Exchange(#[from] ratls::Error),
    /// The request cannot be written as JSON.
    #[error("the request cannot be encoded")]
    Encode,
    /// The node answered with another status than 200.
    #[error("expected HTTP status 200, got {status}{}; the node says: \"{text}\"", bearer_hint(*status))]
    Status {
        /// The status.
        status: u16,
        /// Its body.
        text: NodeText,
    },
    /// The node echoed the request.
    #[error("the node echoed the request: its build does not know this request, or not in this form")]
    Echo,
    /// The body is not an answer of this protocol.
    #[error("expected an answer of a vault, got something else at line {line} column {column}")]
    NoAnswer {
        /// Line of the JSON, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The answer is to another request.
    #[error("the node answered another request, or for another key")]
    Another,
    /// The vault refused.
    #[error("{kind}; the node says: \"{text}\"{}", hint(*kind))]
    Refused {
        /// Kind of refusal.
        kind: Refusal,
        /// The node's text.
        text: NodeText,
    },
}

/// Kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A refusal that ExportKey has too.
    #[error(transparent)]
    Key(#[from] Refused),
    /// A key of that name exists.
    #[error("key already exists")]
    Exists,
    /// The grant is not signed by a key of the node's issuer.
    #[error("grant refused: signature")]
    GrantSignature,
    /// The node has no issuer.
    #[error("grant refused: the node has no issuer")]
    NoIssuer,
    /// `iss` is not the node's issuer.
    #[error("grant refused: issuer")]
    GrantIssuer,
    /// `aud` is wrong.
    #[error("grant refused: audience")]
    GrantAudience,
    /// `exp` is past, by the node's clock.
    #[error("grant refused: expired")]
    GrantExpired,
    /// `cnf` is not of this client key.
    #[error("grant refused: client key")]
    GrantHolder,
    /// `scope` does not contain the handle.
    #[error("grant refused: scope")]
    GrantScope,
    /// `sub` is not the policy's owner.
    #[error("grant refused: owner")]
    GrantOwner,
    /// The handle is not a valid name.
    #[error("handle refused")]
    Handle,
    /// The request needs a bearer token.
    #[error("no bearer token")]
    NoBearer,
    /// This client may not change the field.
    #[error("policy change refused")]
    Immutable,
    /// `required_oids` can only be extended.
    #[error("policy change refused: required OID")]
    RequiredOid,
    /// No staged profile has that number.
    #[error("no such pending profile")]
    NotPending,
    /// The limit of 16 staged profiles is reached.
    #[error("too many pending profiles")]
    TooManyPending,
}

impl Error {
    /// Whether the node may have executed the request although it reported no success. Refusals with known texts happen before anything
    /// is stored; an unknown one may happen after.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Refused { kind, .. } => *kind == Refusal::Key(Refused::Unknown),
            Self::Encode => false,
            Self::Status { status, .. } => *status >= 500,
            Self::Exchange(_) | Self::Echo | Self::NoAnswer { .. } | Self::Another => true,
        }
    }

    /// Removes the node's text if it quotes one of `secrets`.
    pub(super) fn without(self, secrets: &[&[u8]]) -> Self {
        match self {
            Self::Refused { kind, text } => Self::Refused { kind, text: text.without(secrets) },
            other => other,
        }
    }

    /// The kind of refusal, if the vault refused.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// Whether the node has no such key.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.refusal() == Some(Refusal::Key(Refused::Absent))
    }
}

fn bearer_hint(status: u16) -> &'static str {
    if status == 401 {
        " (the bearer: compare its issuer, audience, key id and times with the node's configuration, and sign with the key of the node's issuer)"
    } else {
        ""
    }
}

/// What to do about it.
fn hint(kind: Refusal) -> &'static str {
    match kind {
        Refusal::Key(Refused::Denied) => ". The bearer must be the owner's, and a rule of the policy must let the owner do this",
        Refusal::Key(Refused::Expired) => {
            ". An expired key cannot be used again: provision a new one under another handle and rotate"
        }
        Refusal::Exists => ". See it with `cvmctl key info`; choose another handle, or delete the key if nothing needs it",
        Refusal::GrantSignature => ". The node must know the issuer's key: compare --kid with the issuer's JWKS",
        Refusal::NoIssuer => ". Its operator must configure an OIDC issuer",
        Refusal::GrantIssuer => ". The owner's issuer in the policy must be the node's",
        Refusal::GrantExpired => ". Grants are judged by the node's clock: have a new one issued",
        Refusal::GrantHolder => ". The grant's cnf must be what `cvmctl client-key` prints for the same --client-key",
        Refusal::GrantScope => ". The grant's scope must be the handle or what it begins with before a slash",
        Refusal::GrantOwner => ". The grant's sub must be principals.owner of the policy in it",
        Refusal::RequiredOid => ". Required OIDs are append-only: keep every one that the present policy has",
        Refusal::Immutable => ". See `cvmctl key policy` for what mutability allows",
        Refusal::NotPending => ". See `cvmctl profile list`: each node numbers its profiles itself",
        Refusal::TooManyPending => ". Promote or revoke some first",
        Refusal::NoBearer => ". Give --issuer-key or --bearer-fd",
        Refusal::Key(_) | Refusal::GrantAudience | Refusal::Handle => "",
    }
}
