//! The node as a guest and an owner meet it: over TLS, on the loopback, quotes verified on both sides.
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
mod lies;
mod link;
mod pending;
mod present;
mod requests;
mod vectors;
