//! Why a request of an operator was not served.

use super::NodeText;
use crate::Refused;

/// Why a node did not do what an operator asked. What the node itself said is in it, escaped and bounded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No whole answer came.
    #[error(transparent)]
    Exchange(#[from] ratls::Error),
    /// The request cannot be written as JSON.
    #[error("the request cannot be encoded")]
    Encode,
    /// An HTTP status that is no success.
    #[error("expected HTTP status 200, got {status}{}; the node says: \"{text}\"", bearer_hint(*status))]
    Status {
        /// The status.
        status: u16,
        /// Its body.
        text: NodeText,
    },
    /// The request came back as it was sent.
    #[error("the node echoed the request: its build does not know this request, or not in this form")]
    Echo,
    /// Not an answer of this protocol.
    #[error("expected an answer of a vault, got something else at line {line} column {column}")]
    NoAnswer {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// An answer, but not to what was asked.
    #[error("the node answered another request, or for another key")]
    Another,
    /// The vault refused.
    #[error("{kind}; the node says: \"{text}\"{}", hint(*kind))]
    Refused {
        /// What kind of refusal it is.
        kind: Refusal,
        /// The node's text.
        text: NodeText,
    },
}

/// What kind of refusal a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One that ExportKey knows as well.
    #[error(transparent)]
    Key(#[from] Refused),
    /// A key of that name is there already.
    #[error("key already exists")]
    Exists,
    /// Not signed by a key of the node's issuer.
    #[error("grant refused: signature")]
    GrantSignature,
    /// The node knows no issuer.
    #[error("grant refused: the node has no issuer")]
    NoIssuer,
    /// `iss`.
    #[error("grant refused: issuer")]
    GrantIssuer,
    /// `aud`.
    #[error("grant refused: audience")]
    GrantAudience,
    /// `exp`, by the node's clock.
    #[error("grant refused: expired")]
    GrantExpired,
    /// `cnf` is not of this client key.
    #[error("grant refused: client key")]
    GrantHolder,
    /// `scope`.
    #[error("grant refused: scope")]
    GrantScope,
    /// `sub` is not the policy's owner.
    #[error("grant refused: owner")]
    GrantOwner,
    /// No name of a key.
    #[error("handle refused")]
    Handle,
    /// A request that needs a bearer came without a usable one.
    #[error("no bearer")]
    NoBearer,
    /// A field that this caller may not change.
    #[error("policy change refused")]
    Immutable,
    /// `required_oids` only grow.
    #[error("policy change refused: required OID")]
    RequiredOid,
    /// No staged profile of that number.
    #[error("no such pending profile")]
    NotPending,
    /// 16 are staged.
    #[error("too many pending profiles")]
    TooManyPending,
}

impl Error {
    /// Whether the node may have done what it was asked, though it did not say so. A refusal whose text is known comes before anything is
    /// stored; an unknown one may come after.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Refused { kind, .. } => *kind == Refusal::Key(Refused::Unknown),
            Self::Encode => false,
            Self::Status { status, .. } => *status >= 500,
            Self::Exchange(_) | Self::Echo | Self::NoAnswer { .. } | Self::Another => true,
        }
    }

    /// The same without a text of the node that quotes one of `secrets`.
    pub(super) fn without(self, secrets: &[&[u8]]) -> Self {
        match self {
            Self::Refused { kind, text } => Self::Refused { kind, text: text.without(secrets) },
            other => other,
        }
    }

    /// The kind of refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// Whether the node says that it has no such key.
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
