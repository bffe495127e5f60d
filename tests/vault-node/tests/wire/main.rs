//! The node as guests and owners see it: over TLS, on the loopback, with quotes verified on both sides.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what the guest's side expects, it says by unwrapping"
)]

mod command;
mod connection;
mod evidence;
mod grants;
mod guest;
mod link;
mod misbehaviour;
mod pending;
mod present;
mod requests;
mod vectors;
