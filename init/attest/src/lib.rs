//! Appraisal: what a quote must be before anybody is believed. Offline, over bytes; no sockets, no clock.
//!
//! Threat model: every byte of quote and collateral comes from whoever answers the connection. What is trusted is the anchor
//! (Intel's root, from the measured initrd), the policy (from the measured command line and `floors.json`) and the report data
//! that the caller computed itself. dcap-qvl checks signatures, chains, CRLs and TCB levels; this crate adds what it lets pass,
//! says in words of its own which rule did not hold, and is the only way to an [`Appraisal`] or a [`VerifiedNode`].

mod appraisal;
mod bundle;
mod chain;
mod checks;
mod claimed_platform;
mod collateral;
mod diagnosis;
mod error;
mod node;
mod policy;
mod quote_header;
mod sgx;
mod shortfall;
mod signature;
mod td;

pub use appraisal::{Appraisal, Platform, Tcb, earliest, verify};
pub use checks::{Check, Checks};
pub use claimed_platform::{Authority, ClaimedPlatform};
pub use collateral::{Collateral, CollateralError, PcsParts};
pub use error::{Crl, Document, Role, Validity, VerifyError};
pub use node::{VerifiedNode, verify_node};
pub use policy::{Anchor, Floors, PlatformProperty, Policy, SgxPolicy, TcbDemand, TcbStatus, TdPolicy};
pub use quote_header::{QuoteHeader, QuoteHeaderError, Tee};
pub use shortfall::{TcbDetails, TcbShortfall};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
