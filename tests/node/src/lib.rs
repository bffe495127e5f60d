//! An Enclave Vault node for tests and the demo: RA-TLS v2 and the vault's requests over a simulated SGX quote.
//!
//! Towards an honest guest it behaves as a real node does, policy and all; [`Misbehaviour`] makes it lie in one chosen
//! way. It is never the guest that is told to look away. Its keys protect nothing: the quotes come from `sim-dcap`.

mod attest;
mod clock;
mod connection;
mod data;
mod error;
mod guest;
mod http;
mod issuer;
mod jwt;
mod misbehaviour;
mod node;
mod policy;
mod store;
mod tls;
mod wire;

pub use attest::{CLIENT_LABEL, NODE_LABEL, binding};
pub use error::Error;
pub use guest::Measurements;
pub use issuer::{GRANT_AUDIENCE, Grant, Issuer, OWNER_AUDIENCE};
pub use misbehaviour::Misbehaviour;
pub use node::{Node, NodeConfig, NodeHandle, Served};
pub use policy::Policy;
pub use tls::APP_EXTENSION;
