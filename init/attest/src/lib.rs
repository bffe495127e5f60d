//! Evidence: what a quote must be before anybody is believed. Offline, over bytes; no sockets, no clock.
//!
//! Threat model: every byte of quote and collateral comes from whoever answers the connection. What is trusted is the anchor
//! (Intel's root, from the measured initrd), the policy (from the measured command line and `floors.json`) and the report data
//! that the caller computed itself. dcap-qvl checks signatures, chains, CRLs and TCB levels; this crate adds what it lets pass,
//! says in words of its own which rule did not hold, and is the only way to an [`Evidence`] or a [`VerifiedNode`].

mod bundle;
mod chain;
mod checks;
mod claimed;
mod collateral;
mod diagnosis;
mod domain;
mod enclave;
mod frame;
mod node;
mod policy;
mod refusal;
mod shortfall;
mod signature;
mod verdict;

pub use checks::{Check, Checks};
pub use claimed::{Authority, Claimed};
pub use collateral::{Collateral, CollateralError, PcsParts};
pub use frame::{Frame, FrameError, Tee};
pub use node::{VerifiedNode, verify_node};
pub use policy::{Anchor, DomainPolicy, EnclavePolicy, Floors, PlatformProperty, Policy, TcbDemand, TcbStatus};
pub use refusal::{Crl, Dated, Document, Refusal, Role};
pub use shortfall::{TcbDetails, TcbRefusal};
pub use verdict::{Evidence, Platform, Tcb, earliest, verify};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
