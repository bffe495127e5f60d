//! What can go wrong with the node itself. What goes wrong with a caller is an answer, not an error.

use std::path::PathBuf;

/// Why a node did not start, or a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Minting under the simulated root.
    #[error("simulated quotes")]
    Mint(#[from] dcap::Error),
    /// The certificate of the node.
    #[error("the node's certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// The listening socket.
    #[error("listening")]
    Listen(#[source] std::io::Error),
    /// A file or directory.
    #[error("{path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Saved keys, or a token, that are not the JSON they should be.
    #[error("JSON")]
    Json(#[from] serde_json::Error),
    /// A policy no node would store.
    #[error("policy: {0}")]
    Policy(String),
    /// A misbehaviour nobody has.
    #[error("no misbehaviour is called {0:?}; expected one of: {names}", names = crate::misbehaviour::names())]
    UnknownMisbehaviour(String),
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
