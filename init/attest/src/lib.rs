//! Evidence: what a quote must be before a node is believed. Offline, over bytes; no sockets, no clock.
//!
//! Threat model: every byte of quote and collateral comes from whoever answers the connection. What is trusted is the anchor
//! (Intel's root, from the measured initrd), the policy (from the measured command line and `floors.json`) and the report data
//! that the caller computed itself. dcap-qvl checks signatures, chains, CRLs and TCB levels; this crate adds what it lets pass
//! and is the only way to a [`VerifiedNode`].

mod chain;
mod collateral;
mod frame;
mod node;
mod policy;

pub use collateral::{Collateral, CollateralError};
pub use frame::{Frame, FrameError, Tee};
pub use node::{Refusal, VerifiedNode, verify_node};
pub use policy::{Anchor, Floors, Policy, TcbStatus};
