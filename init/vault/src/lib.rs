//! RA-TLS v2 to an Enclave Vault node, and the node's requests. What a node must prove before it is told anything.
//!
//! Threat model: whoever answers may be anyone, and may pass our bytes on. The node proves itself first; until then nothing but
//! the challenge is sent. Evidence is bound to the exporter of this very TLS session and to the node's own key, computed here,
//! never taken from the peer. Every step has a deadline, every length a bound, and a reply in the wrong place ends the
//! connection. The protocol is in `init/docs/key-server-protocol.md`.
//!
//! The seam: PID 1 and `cvmctl` know a key server through this crate only. A guest attests ([`Handshaken`], [`Challenged`]) and exports
//! ([`Session::export_key`]); an operator creates and deletes keys and manages their policies (`operator::KeyServer`, in a feature that
//! PID 1 is built without). Another kind of key server would attach here: with its own `KeyServer`, and with its own way to a `Session`.

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
#[cfg(feature = "operator")]
pub mod operator;
mod pccs;
mod session;
mod texts;
mod time;
mod tls;
mod transport;
#[cfg(feature = "unverified-tls")]
mod unverified_tls;

pub use answer::{KeyMaterial, Refused};
pub use error::{Error, Step};
pub use expectation::{Clock, CollateralSource, Expectation};
pub use fleet::Fleet;
pub use identity::Identity;
pub use pccs::{Pccs, PccsError};
pub use session::{Challenged, Handshaken, OwnEvidence, Session};
pub use time::QuoteTime;
pub use transport::Transport;
#[cfg(feature = "unverified-tls")]
pub use unverified_tls::UnverifiedTls;
