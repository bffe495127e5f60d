//! Errors of a session with a node.

use std::io;

use rustls::{CertificateError, OtherError};

use crate::tls::LeafError;

/// The step of the exchange at which an error occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// TCP connection and TLS handshake.
    Handshake,
    /// Challenge of the node and its evidence.
    Challenge,
    /// The client's evidence.
    Present,
    /// A request of the key server's protocol.
    Request,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handshake => "handshake",
            Self::Challenge => "challenge",
            Self::Present => "present",
            Self::Request => "request",
        })
    }
}

/// Why a session failed. Messages contain no text of the peer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Key generation or encoding failed.
    #[error("generating the client key")]
    Identity,
    /// The connection was closed or broke.
    #[error("{0}: connection: {1}")]
    Stream(Step, io::ErrorKind),
    /// The deadline of the step passed.
    #[error("{0}: deadline passed")]
    Deadline(Step),
    /// TLS failed.
    #[error("tls")]
    Tls(#[source] rustls::Error),
    /// The peer's certificate breaks a rule.
    #[error("handshake: certificate refused")]
    Leaf(#[source] LeafError),
    /// The node answered with an HTTP status that is not a success.
    #[error("{0}: http status {1}")]
    Status(Step, u16),
    /// The peer broke the protocol.
    #[error("{0}: {1}")]
    Protocol(Step, &'static str),
    /// The node staples no collateral (`None`), or malformed collateral.
    #[error("challenge: collateral")]
    Collateral(#[source] Option<attest::CollateralError>),
    /// Verification of the node's evidence failed.
    #[error("challenge: node not verified")]
    Node(#[from] attest::VerifyError),
    /// The client's own quote could not be made.
    #[error("present: own quote: {0}")]
    OwnQuote(String),
    /// Status 403, which nodes use only for a quote that was made for another connection.
    #[error("present: http status 403: for the node, our quote was made for another connection")]
    EvidenceRefused,
    /// Status 400: the node could not use our evidence. It did not compare any measurement, so this is not a denial.
    #[error(
        "present: http status 400: the node cannot use our evidence; its clock changed meanwhile, or it does not support this kind of quote"
    )]
    EvidenceMalformed,
}

impl Error {
    /// A failure of TLS, or the rule of [`LeafError`] that made it fail.
    pub(crate) fn tls(error: rustls::Error) -> Self {
        if let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = &error
            && let Some(rule) = cause.downcast_ref::<LeafError>()
        {
            return Self::Leaf(*rule);
        }
        Self::Tls(error)
    }

    pub(crate) fn stream(step: Step, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::Deadline(step);
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Self::tls(tls.clone()),
            None => Self::Stream(step, error.kind()),
        }
    }
}
