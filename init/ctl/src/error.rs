//! Why keys were not dealt or policies not changed, and what stands at the vaults now.

use std::fmt;
use std::io;

use failure::chain;

use crate::credentials::CredentialError;
use crate::dial::DialError;
use crate::policy::Problem;

/// The most parts of one error that are told. A guest names at most 16 vaults.
const LISTED_MAX: usize = 32;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No threshold: 2 <= t <= n <= 255.
    #[error("a threshold of {needed} of {dealt} vaults: expected 2 <= t <= n <= 255, for --threshold t and n times --vault")]
    Threshold {
        /// t.
        needed: usize,
        /// n.
        dealt: usize,
    },
    /// A guest would refuse the words that name this key.
    #[error("the guest's command line")]
    Words(#[source] cmdline::Error),
    /// A mistake that nodes accept and that costs the key. No vault was dialled.
    #[error("the key policy is refused before it is sent: {}", list(.0))]
    Policy(Vec<Problem>),
    /// Without an owner nobody could change or delete the key.
    #[error("the key policy names no owner (principals.owner.Oidc)")]
    NoOwner,
    /// A promotion that lets nobody in would lock every guest out. (Provisioning may: images are promoted when they are known.)
    #[error("the key policy names no guest (principals.tees)")]
    NoGuest,
    /// Not PKCS#8 of a P-256 key with its public half, in PEM or DER.
    #[error("issuer key: not a P-256 key in PKCS#8")]
    IssuerKey,
    /// Nothing that speaks for the owner, or something that will not do.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The operating system's generator.
    #[error("random numbers")]
    Random,
    /// Our own TLS key.
    #[error("client key")]
    Identity(#[source] ratls::Error),
    /// At least one vault is not as it must be, so none was sent a share.
    #[error("no share was sent to any vault: {}", list(.0))]
    NotReady(Vec<Failure>),
    /// A vault did not take its share after others may have.
    #[error("{failure}; {}", unfinished(deleted, left, undo))]
    Unfinished {
        /// The vault at which it ended.
        failure: Box<Failure>,
        /// Vaults at which the key was deleted again, or was not after all.
        deleted: Vec<String>,
        /// Vaults that hold or may hold a share still, and why it was not deleted.
        left: Vec<Failure>,
        /// The command that deletes it later.
        undo: String,
    },
    /// Staged profiles have numbers of their own at each node.
    #[error("a number names a profile at one node only: give one --vault, or the profile itself with --profile")]
    ProfileNumber,
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
        write!(f, "{}: {}", self.vault, self.reason())
    }
}

impl Failure {
    /// Why, and what to do about it.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{}{}", chain(&self.cause), self.cause.hint())
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
    /// Before the node was proved; texts of the peer are not in it.
    #[error(transparent)]
    Vault(#[from] ratls::Error),
    /// Its evidence was not verified, and caches of collateral failed.
    #[error("{}; collateral: {}", chain(why), caches.join("; "))]
    Unverified {
        /// What the verifier says.
        why: Box<Cause>,
        /// What each cache failed with.
        caches: Vec<String>,
    },
    /// After the node was proved. The node's own text is in it, escaped and bounded.
    #[error(transparent)]
    Server(vault::operator::Error),
    /// Nothing that speaks for the owner at this node.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The policy that the node evaluates is another than it was sent.
    #[error("the node does not have the policy that was sent: {}", list(.0))]
    PolicyDiffers(Vec<Problem>),
    /// What is staged would cost the key or let in more than was meant.
    #[error("the staged profile is not promoted: {}", list(.0))]
    Profile(Vec<Problem>),
    /// Somebody else changed the policy meanwhile.
    #[error("the node has policy version {found}; expected {expected}: someone changed it meanwhile")]
    Version {
        /// What followed from the node's own answer.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A key of this name that this command did not make. It is left alone.
    #[error(
        "a key of this name was created there before this dealing (at {0}, Unix seconds by the node's clock); it is left alone"
    )]
    Older(u64),
    /// Its clock ends a share before it is sent.
    #[error(
        "its clock is {seconds} s behind this machine's and the share lives {ttl} s by that clock, so it would be over already; have the \
         node's clock set, or this machine's if that one is wrong"
    )]
    ClockBehind {
        /// How far.
        seconds: u64,
        /// `lifecycle.ttl_seconds`.
        ttl: u64,
    },
    /// No profile like this one is staged.
    #[error("this profile is not staged there; stage it first (cvmctl profile stage)")]
    NotStaged,
    /// No profile like this one is staged, so none can be dropped.
    #[error("this profile is not staged there, nothing to revoke")]
    NothingToRevoke,
    /// The node says that it is promoted, and its policy does not have it.
    #[error("the node says that the profile is in force, and the policy that it answers does not have it")]
    NotInForce,
    /// Every vault that was asked has the key, or one gave it out or was told another policy.
    #[error(
        "not deleted: this may be the key of a disk in use, which could never be opened again. Every vault that answered has it, or one has \
         given it out or has another policy than the first. If that is meant, give --even-in-use"
    )]
    InUse,
    /// A vault that did not answer may have given the key out.
    #[error(
        "not deleted: {} did not answer, and may have given the key out, so nobody knows whether a disk in use needs it. Try again when every \
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
    /// Whether the vault may have done what it was asked, though we know of no success.
    pub(crate) fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Server(error) if error.leaves_doubt())
    }

    /// What to do about it, where that is not said already.
    fn hint(&self) -> String {
        match self {
            Self::Vault(ratls::Error::Node(attest::VerifyError::TcbStatus(shortfall))) => {
                format!("; --tcb {} would accept it", shortfall.status)
            }
            Self::Vault(ratls::Error::Collateral(None)) => {
                ": the node staples none, as real nodes do; give --collateral DIR|FILE|URL".to_owned()
            }
            _ => String::new(),
        }
    }
}

/// All of them, as far as a reader can use them: a node may have changed a thousand places.
fn list(parts: &[impl ToString]) -> String {
    let mut told: Vec<_> = parts.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if parts.len() > LISTED_MAX {
        told.push(format!("and {} more", parts.len() - LISTED_MAX));
    }
    told.join("; ")
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
    fn an_unfinished_dealing_says_what_is_left_and_how_to_undo_it() {
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
