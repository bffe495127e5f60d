//! Errors while minting.

use std::path::PathBuf;

/// Why something was not minted, saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The X.509 writer refused a certificate or a CRL, for example because its validity ends before it begins.
    #[error("writing a certificate")]
    Certificate(#[from] rcgen::Error),
    /// ring cannot make, read or use a key.
    #[error("a P-256 key: {0}")]
    Key(&'static str),
    /// A time is out of range.
    #[error("{0} seconds is no date")]
    Time(u64),
    /// A structure cannot be written as JSON.
    #[error("writing JSON")]
    Json(#[from] serde_json::Error),
    /// A file of the saved chain cannot be read or written.
    #[error("{path}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
