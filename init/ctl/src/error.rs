//! Errors of commands that connect to vaults, with the state in which they leave the vaults.

use std::fmt;
use std::io;

use failure::chain;

use crate::credentials::CredentialError;
use crate::dial::DialError;
use crate::policy::Problem;

/// The most parts of one error that are printed. A guest's command line names at most 16 vaults.
const LISTED_MAX: usize = 32;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No threshold: 2 <= t <= n <= 255.
    #[error("threshold {needed} of {dealt} vaults: expected 2 <= t <= n <= 255, for --threshold t and n times --vault")]
    Threshold {
        /// t.
        needed: usize,
        /// n.
        dealt: usize,
    },
    /// A guest would refuse the arguments for this key.
    #[error("the guest's command line")]
    Parameters(#[source] cmdline::Error),
    /// The policy has a mistake that nodes would accept. No vault was contacted.
    #[error("the key policy is refused before it is sent: {}", list(.0))]
    Policy(Vec<Problem>),
    /// Without an owner the key could not be changed or deleted.
    #[error("the key policy names no owner: expected principals.owner.Oidc")]
    NoOwner,
    /// The new policy would exclude every guest. Only `provision` allows this, since images can be promoted later.
    #[error("the key policy names no guest: expected at least one in principals.tees")]
    NoGuest,
    /// Not PKCS#8 of a P-256 key with its public half, in PEM or DER.
    #[error("issuer key: expected a P-256 key in PKCS#8")]
    IssuerKey,
    /// No credential of the owner, or an unsuitable one.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The operating system's random number generator failed.
    #[error("random numbers")]
    Random,
    /// The TLS client key could not be generated.
    #[error("client key")]
    Identity(#[source] ratls::Error),
    /// At least one vault is not ready, so no share was sent.
    #[error("no share was sent to any vault: {}", list(.0))]
    NotReady(Vec<Failure>),
    /// A vault did not store its share after others may have stored theirs.
    #[error("{failure}; {}", unfinished(deleted, left, undo))]
    Unfinished {
        /// The vault that failed.
        failure: Box<Failure>,
        /// Vaults at which the key was deleted again, or was never stored.
        deleted: Vec<String>,
        /// Vaults that may still hold a share, and why it was not deleted.
        left: Vec<Failure>,
        /// The command that deletes it later.
        undo: String,
    },
    /// Each node numbers its staged profiles separately.
    #[error("a number names a profile at one node only: give one --vault, or the profile itself with --profile")]
    ProfileNumber,
}

/// The failure of one vault.
#[derive(Debug)]
pub struct Failure {
    /// Its address, as on the command line.
    pub vault: String,
    /// The reason.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.vault, self.reason())
    }
}

impl Failure {
    /// The reason, and what to do about it.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{}{}", chain(&self.cause), self.cause.hint())
    }
}

/// Why a vault failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The name did not resolve.
    #[error("resolving the address: {0}")]
    Resolve(io::ErrorKind),
    /// The connection failed.
    #[error("connecting: {0}")]
    Connect(io::ErrorKind),
    /// The operating system's random number generator failed.
    #[error("random numbers")]
    Random,
    /// A key of this name exists; it is never overwritten.
    #[error("key already exists")]
    Exists,
    /// The session failed before the node was verified. The message contains no text of the peer.
    #[error(transparent)]
    Vault(#[from] ratls::Error),
    /// Verification failed, and caches of collateral failed.
    #[error("{}; collateral: {}", chain(why), caches.join("; "))]
    Unverified {
        /// The error of verification.
        why: Box<Cause>,
        /// The error of each cache.
        caches: Vec<String>,
    },
    /// A request failed. The message contains the node's text, escaped and bounded.
    #[error(transparent)]
    Server(vault::operator::Error),
    /// No credential of the owner for this node.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The node's policy differs from the one that was sent.
    #[error("the node does not have the policy that was sent: {}", list(.0))]
    PolicyDiffers(Vec<Problem>),
    /// The staged profile has a mistake.
    #[error("the staged profile is not promoted: {}", list(.0))]
    Profile(Vec<Problem>),
    /// Another client changed the policy meanwhile.
    #[error("expected policy version {expected}, the node has {found}: another client changed the policy meanwhile")]
    Version {
        /// The version that the node reported for the change.
        expected: u64,
        /// The present version.
        found: u64,
    },
    /// A key of this name that this command did not create. It is not deleted.
    #[error(
        "a key of this name was created there before this command (at {0}, Unix seconds by the node's clock); it is not deleted"
    )]
    Older(u64),
    /// By the node's clock the share would already be expired.
    #[error(
        "its clock is {seconds} s behind this machine's, and the share expires after {ttl} s by that clock, so it would already be expired; \
         correct the node's clock, or this machine's if that one is wrong"
    )]
    ClockBehind {
        /// Difference of the clocks.
        seconds: u64,
        /// `lifecycle.ttl_seconds`.
        ttl: u64,
    },
    /// No profile like this one is staged.
    #[error("this profile is not staged there: stage it first (cvmctl profile stage)")]
    NotStaged,
    /// No profile like this one is staged, so none can be revoked.
    #[error("this profile is not staged there, nothing to revoke")]
    NothingToRevoke,
    /// The node reported the profile as promoted, but its policy does not contain it.
    #[error("the node reports the profile as promoted, but its policy does not contain it")]
    NotInForce,
    /// Every vault that answered has the key, or one exported it or has another policy than the first.
    #[error(
        "not deleted: this may be the key of a disk in use, which could never be opened again. Every vault that answered has it, or one has \
         exported it or has another policy than the first. To delete it all the same, give --even-in-use"
    )]
    InUse,
    /// A vault that did not answer may have exported the key.
    #[error(
        "not deleted: {} did not answer, and may have exported the key, so a disk in use may need it. Try again when every \
         vault answers, or give --even-in-use",
        .0.join(", ")
    )]
    Unanswered(Vec<String>),
}

impl From<DialError> for Cause {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Resolve(kind) => Self::Resolve(kind),
            DialError::Connect(kind) => Self::Connect(kind),
        }
    }
}

impl From<vault::operator::Error> for Cause {
    fn from(error: vault::operator::Error) -> Self {
        Self::Server(error)
    }
}

impl Cause {
    /// Whether the vault may have executed the request although no success was reported.
    pub(crate) fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Server(error) if error.leaves_doubt())
    }

    /// What to do about it, if the message does not contain it.
    fn hint(&self) -> String {
        match self {
            Self::Vault(ratls::Error::Node(attest::VerifyError::TcbStatus(shortfall))) => {
                format!("; --tcb {} would accept it", shortfall.status)
            }
            Self::Vault(ratls::Error::Collateral(None)) => {
                ": the node sent none, as is usual; give --collateral DIR|FILE|URL".to_owned()
            }
            _ => String::new(),
        }
    }
}

/// The parts, separated by semicolons, at most [`LISTED_MAX`] of them.
fn list(parts: &[impl ToString]) -> String {
    let mut texts: Vec<_> = parts.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if parts.len() > LISTED_MAX {
        texts.push(format!("and {} more", parts.len() - LISTED_MAX));
    }
    texts.join("; ")
}

fn unfinished(deleted: &[String], left: &[Failure], undo: &str) -> String {
    let places =
        if deleted.is_empty() { "no vault took a share".to_owned() } else { format!("deleted again at: {}", deleted.join(", ")) };
    if left.is_empty() {
        return format!("the dealing was undone ({places}), and the handle is free");
    }
    format!("{places}; NOT undone, may still hold a share under this handle: {}. Undo it later with: {undo}", list(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_dealing_names_what_is_left_and_how_to_undo_it() {
        let failure = |vault: &str, cause| Failure { vault: vault.to_owned(), cause };
        let says = |deleted: &[&str], left: Vec<Failure>| {
            let deleted = deleted.iter().map(ToString::to_string).collect();
            let failure = Box::new(failure("c:1", Cause::Exists));
            Error::Unfinished { failure, deleted, left, undo: "cvmctl key delete".to_owned() }.to_string()
        };
        assert_eq!(
            says(&[], Vec::new()),
            "c:1: key already exists; the dealing was undone (no vault took a share), and the handle is free"
        );
        assert_eq!(
            says(&["a:1", "b:1"], Vec::new()),
            "c:1: key already exists; the dealing was undone (deleted again at: a:1, b:1), and the handle is free"
        );
        assert_eq!(
            says(&["a:1"], vec![failure("b:1", Cause::Connect(io::ErrorKind::ConnectionRefused))]),
            "c:1: key already exists; deleted again at: a:1; NOT undone, may still hold a share under this handle: \
             b:1: connecting: connection refused. Undo it later with: cvmctl key delete"
        );
    }
}
