//! Why keys were not dealt or policies not changed, and what stands at the vaults now.

use std::fmt;
use std::io;

use crate::dial::DialError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No threshold: 2 <= t <= n <= 255.
    #[error("a threshold of {needed} of {dealt} vaults")]
    Threshold {
        /// t.
        needed: usize,
        /// n.
        dealt: usize,
    },
    /// A guest would refuse the words that name this key.
    #[error("the guest's command line")]
    Words(#[source] ondisk::cmdline::Error),
    /// Without an owner nobody could change or delete the key.
    #[error("the key policy names no owner (principals.owner.Oidc)")]
    NoOwner,
    /// A promotion that lets nobody in would lock every guest out. (Provisioning may: images are promoted when they are known.)
    #[error("the key policy names no guest (principals.tees)")]
    NoGuest,
    /// Not PKCS#8 of a P-256 key with its public half, in PEM or DER.
    #[error("issuer key: not a P-256 key in PKCS#8")]
    IssuerKey,
    /// The operating system's generator.
    #[error("random numbers")]
    Random,
    /// Our own TLS key.
    #[error("client key")]
    Identity(#[source] vault::Error),
    /// At least one vault is not as it must be, so none was sent a share.
    #[error("no share was sent to any vault: {}", list(.0))]
    NotReady(Vec<Failure>),
    /// A vault did not take its share after others may have.
    #[error("{failure}; shares under this handle now exist at: {}{}", places(created), perhaps(failure, *unknown))]
    Unfinished {
        /// The vault at which it ended.
        failure: Failure,
        /// The vaults that took a share.
        created: Vec<String>,
        /// Whether the vault at which it ended may have taken its share all the same.
        unknown: bool,
    },
}

/// One vault that did not do its part.
#[derive(Debug)]
pub struct Failure {
    /// Its address as it was given.
    pub vault: String,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.vault, chain(&self.cause))
    }
}

/// Why a vault did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Neither an address nor a name that resolves.
    #[error("resolving the address: {0}")]
    Resolve(io::ErrorKind),
    /// No connection.
    #[error("connecting: {0}")]
    Connect(io::ErrorKind),
    /// The operating system's generator.
    #[error("random numbers")]
    Random,
    /// A key of this name is there: it is never overwritten.
    #[error("key already exists")]
    Exists,
    /// An answer to another request.
    #[error("answer to another request")]
    Answer,
    /// The exchange; texts of the peer are not in it.
    #[error(transparent)]
    Vault(vault::Error),
}

impl From<DialError> for Cause {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Resolve(kind) => Self::Resolve(kind),
            DialError::Connect(kind) => Self::Connect(kind),
        }
    }
}

impl From<vault::Error> for Cause {
    fn from(error: vault::Error) -> Self {
        match error {
            vault::Error::Refused(vault::Refused::Exists) => Self::Exists,
            other => Self::Vault(other),
        }
    }
}

impl Cause {
    /// Whether the vault may have done what it was asked, though we know of no success.
    pub(crate) fn leaves_doubt(&self) -> bool {
        !matches!(self, Self::Exists | Self::Vault(vault::Error::Refused(_)))
    }
}

/// An error and its sources, one line; a source that its error already says is not said again.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

fn list(failures: &[Failure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn places(created: &[String]) -> String {
    if created.is_empty() { "none".to_owned() } else { created.join(", ") }
}

fn perhaps(failure: &Failure, unknown: bool) -> String {
    if unknown { format!(", and perhaps at {}", failure.vault) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_dealing_says_where_shares_are() {
        let failure = |cause| Failure { vault: "c:1".to_owned(), cause };
        let says = |created: &[&str], cause: Cause| {
            let unknown = cause.leaves_doubt();
            let created = created.iter().map(ToString::to_string).collect();
            Error::Unfinished { failure: failure(cause), created, unknown }.to_string()
        };
        let deadline = || Cause::Vault(vault::Error::Deadline(vault::Step::Request));
        let cases = [
            (says(&["a:1"], Cause::Exists), "c:1: key already exists; shares under this handle now exist at: a:1"),
            (
                says(&["a:1", "b:1"], Cause::Vault(vault::Error::Refused(vault::Refused::Grant))),
                "c:1: request: grant refused; shares under this handle now exist at: a:1, b:1",
            ),
            (says(&[], deadline()), "c:1: request: deadline; shares under this handle now exist at: none, and perhaps at c:1"),
        ];
        for (text, want) in cases {
            assert_eq!(text, want);
        }
    }
}
