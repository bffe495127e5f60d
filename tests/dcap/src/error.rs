//! What can go wrong while minting: almost nothing, and never anything a verifier should learn from.

use std::path::PathBuf;

/// Why something was not minted, saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The X.509 writer refused a certificate or a CRL (a window that ends before it begins, say).
    #[error("writing a certificate")]
    Certificate(#[from] rcgen::Error),
    /// ring refused to make, read or use a key.
    #[error("a P-256 key: {0}")]
    Key(&'static str),
    /// A time that no calendar has.
    #[error("{0} seconds is no date")]
    Time(u64),
    /// A structure that did not become JSON.
    #[error("writing JSON")]
    Json(#[from] serde_json::Error),
    /// A file of the saved chain.
    #[error("{path}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
