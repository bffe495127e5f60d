//! The operator's actions at vaults: deal a new disk key, and manage which images get it.
//!
//! Threat model: the operator's machine is trusted while it runs; the network is not. A node proves itself by the same rules as to a
//! guest before it is sent a share, a grant or a bearer token, and no key is created until all nodes have proved themselves. Key and
//! shares exist only in memory that is wiped: never in a file, an argument, the environment or a log.

pub mod collateral;
mod credentials;
mod dial;
mod error;
pub mod keys;
mod nodes;
mod parameters;
pub mod policy;
pub mod profiles;
pub mod promote;
pub mod provision;
mod token;

pub use attest::{Floors, TcbStatus};
pub use credentials::{CredentialError, Credentials, TokenMistake};
pub use error::{Cause, Error, Failure};
pub use nodes::{Node, Nodes};
pub use ratls::Identity;
pub use vault::operator::{NodeText, Token, escape};

/// The stored client key, or a new one.
fn identity(kept: Option<&Identity>) -> Result<Identity, Error> {
    kept.map_or_else(|| Identity::operator().map_err(Error::Identity), |kept| Ok(kept.clone()))
}
