//! Requests to an Enclave Vault node, over a [`ratls::Session`] in which the node has proved itself.
//!
//! This crate is the interface between the project and one kind of key server: PID 1 and `cvmctl` know the key server's requests,
//! answers, texts and share format through this crate only. A guest calls [`export_key`] and [`ShareMaterial::parse`]. An operator creates and
//! deletes keys and manages their policies (`operator::KeyServer`, behind a feature that PID 1 is built without). The protocol is in
//! `init/docs/key-server-protocol.md`. To support another key server, write a crate like this one.

mod answer;
mod export;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(feature = "operator")]
pub mod operator;
mod share;
mod texts;

pub use answer::{KeyMaterial, Refused};
pub use export::{Error, export_key};
pub use share::{ShareError, ShareMaterial};

/// Where a node takes requests.
const PATH: &str = "/data";
