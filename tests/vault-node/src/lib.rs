//! A simulated Enclave Vault node for tests and the demo: RA-TLS v2 and the vault's requests, with a simulated SGX quote.
//!
//! It behaves like a real node, including its defects, so that no test passes only with this node; texts.rs names the sources.
//! [`Misbehaviour`] makes it fail or send wrong data in one chosen way; [`Extensions`] enables features that real nodes lack. Its
//! keys protect nothing: the quotes come from `dcap`.

mod attest;
mod attestation_server;
mod audit;
mod clock;
mod config;
mod connection;
mod create;
mod data;
mod error;
mod evidence;
mod guest;
mod http;
mod issuer;
mod jwt;
mod leaf;
mod misbehaviour;
mod mutability;
mod node;
mod pending;
mod policy;
mod present;
mod principal;
mod profile;
mod store;
pub mod texts;
mod tls;
mod wire;

pub use attest::{CLIENT_LABEL, NODE_LABEL, binding};
pub use config::{EvidenceRule, Extensions, NodeConfig};
pub use error::Error;
pub use issuer::{GRANT_AUDIENCE, Grant, Issuer, OWNER_AUDIENCE};
pub use misbehaviour::Misbehaviour;
pub use node::{Node, NodeHandle, Served};
pub use tls::APP_EXTENSION;
