//! Errors of the node itself. Errors of a caller are answers.

use std::path::PathBuf;

/// Why a node did not start, or a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making simulated quotes failed.
    #[error("simulated quotes")]
    Mint(#[from] dcap::Error),
    /// The node's certificate cannot be made.
    #[error("the node's certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// The node cannot listen.
    #[error("listening")]
    Listen(#[source] std::io::Error),
    /// A file or folder cannot be read or written.
    #[error("{path}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Saved keys or a token are not valid JSON.
    #[error("JSON")]
    Json(#[from] serde_json::Error),
    /// A policy that no node would store.
    #[error("policy: {0}")]
    Policy(String),
    /// An unknown name of a misbehaviour.
    #[error("no misbehaviour is called {0:?}; expected one of: {names}", names = crate::misbehaviour::names())]
    UnknownMisbehaviour(String),
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
