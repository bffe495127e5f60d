//! What an operator does to vaults: deals a fresh disk key to them, and says which images may have it.
//!
//! Threat model: the operator's machine is trusted while it runs, the network and whoever answers on it are not. A node proves
//! itself here by the same rules as to a guest, before it is sent a share, a grant or a bearer; nothing is created anywhere until
//! every node has. Key and shares exist only in memory that is wiped: never in a file, an argument, the environment or a log.

pub mod collateral;
mod credentials;
mod dial;
mod error;
pub mod keys;
mod nodes;
pub mod policy;
pub mod profiles;
pub mod promote;
pub mod provision;
mod token;
mod words;

pub use attest::{Floors, TcbStatus};
pub use credentials::{CredentialError, Credentials, TokenMistake};
pub use error::{Cause, Error, Failure};
pub use nodes::{Node, Nodes};
pub use ratls::Identity;
pub use vault::operator::{NodeText, Token, escape};

/// The client key that was given, or a fresh one.
fn identity(kept: Option<&Identity>) -> Result<Identity, Error> {
    kept.map_or_else(|| Identity::operator().map_err(Error::Identity), |kept| Ok(kept.clone()))
}
