//! Why a vault did not serve.

use std::io;

/// Where in the exchange it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// TCP connection and TLS handshake.
    Handshake,
    /// The node's evidence.
    Challenge,
    /// Our evidence.
    Present,
    /// A request.
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

/// What went wrong with one vault. Texts that came from the peer are not in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our own key could not be made.
    #[error("making the client key")]
    Identity,
    /// The stream ended or broke.
    #[error("{0}: connection: {1}")]
    Stream(Step, io::ErrorKind),
    /// The deadline of the step passed.
    #[error("{0}: deadline")]
    Deadline(Step),
    /// TLS.
    #[error("tls")]
    Tls(#[source] rustls::Error),
    /// An HTTP status that is no success.
    #[error("{0}: http status {1}")]
    Status(Step, u16),
    /// The answer is not what belongs here.
    #[error("{0}: {1}")]
    Protocol(Step, &'static str),
    /// The node staples no collateral, or what is no collateral.
    #[error("challenge: collateral")]
    Collateral(#[source] Option<attest::CollateralError>),
    /// The node is not believed.
    #[error("challenge: node not believed")]
    Node(#[from] attest::VerifyError),
    /// Our own quote could not be had.
    #[error("present: own quote: {0}")]
    OwnQuote(String),
    /// The node says that our quote is not of this connection: status 403, and nothing else is.
    #[error("present: our quote is not of this connection, says the node (http status 403)")]
    EvidenceRefused,
    /// The node does not take our evidence as it stands: status 400. No denial, since nobody looked at what is measured.
    #[error(
        "present: our evidence is not taken (http status 400): the node's clock changed meanwhile, or it does not know this kind of quote"
    )]
    EvidenceMalformed,
}

impl Error {
    pub(crate) fn stream(step: Step, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::Deadline(step);
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Self::Tls(tls.clone()),
            None => Self::Stream(step, error.kind()),
        }
    }
}
