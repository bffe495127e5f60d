//! An Enclave Vault node for tests and the demo: RA-TLS v2 and the vault's requests over a simulated SGX quote.
//!
//! It behaves as a real node does, mistakes included, so that no test passes at this node only: see texts.rs for the sources.
//! [`Misbehaviour`] makes it fail or lie in one chosen way; [`Extensions`] switches on what real nodes cannot do. Its keys protect
//! nothing: the quotes come from `dcap`.

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
