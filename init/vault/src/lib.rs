//! RA-TLS v2 to an Enclave Vault node, and the node's requests. What a node must prove before it is told anything.
//!
//! Threat model: whoever answers may be anyone, and may pass our bytes on. The node proves itself first; until then nothing but
//! the challenge is sent. Evidence is bound to the exporter of this very TLS session and to the node's own key, computed here,
//! never taken from the peer. Every step has a deadline, every length a bound, and a reply in the wrong place ends the
//! connection. The wire is in shared design text `wire.md`: RA-TLS v2 of Privasys.

mod answer;
mod binding;
mod error;
mod expectation;
mod fleet;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod identity;
mod message;
mod pccs;
mod session;
mod time;
mod tls;
mod transport;

pub use answer::{Answer, KeyMaterial, Refused};
pub use error::{Error, Step};
pub use expectation::{Clock, CollateralSource, Expectation};
pub use fleet::Fleet;
pub use identity::Identity;
pub use pccs::{Pccs, PccsError};
pub use session::{Challenged, Handshaken, OwnEvidence, Session};
pub use time::QuoteTime;
pub use transport::Transport;
