//! RA-TLS v2: a TLS 1.3 session with a node of a key server in which both ends prove what they are.
//!
//! Threat model: the host controls the network, so any machine may answer, and it may relay bytes to a real node. The node proves
//! itself first; until then this client sends nothing but the challenge. Evidence is bound to the exporter of this TLS session and to
//! the node's own key; both are computed here and never taken from the peer. Each step has a deadline and each length a bound, and an
//! answer at the wrong time ends the connection. The protocol is in `init/docs/key-server-protocol.md`, section 2.
//!
//! The crate knows no request: crate `vault` sends those of the Enclave Vault through [`Session::post`]. A client of another key server
//! would use the same [`Session`], or bring its own.

mod binding;
#[cfg(feature = "operator")]
mod client_key;
mod error;
mod expectation;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod identity;
mod message;
mod node_ca;
mod session;
mod time;
mod tls;
mod transport;

pub use error::{Error, Step};
pub use expectation::{Clock, CollateralSource, Expectation};
pub use http::Reply;
pub use identity::Identity;
pub use node_ca::NodeCa;
pub use session::{Challenged, Handshaken, OwnEvidence, Session};
pub use time::QuoteTime;
pub use tls::LeafError;
pub use transport::{Timed, Transport};
