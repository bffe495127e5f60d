//! Verification of SGX and TDX quotes: bytes in, an [`Appraisal`] or an error out. No sockets, no clock.
//!
//! Threat model: an attacker chooses every byte of quote and collateral. Trusted are the anchor (Intel's root certificate, from the
//! measured initrd), the policy (from the measured command line and `floors.json`) and the report data, which the caller computes.
//! dcap-qvl checks signatures, chains, revocation lists and TCB levels. This crate checks what dcap-qvl does not, and reports which rule
//! a quote breaks. Only this crate can make an [`Appraisal`] or a [`VerifiedNode`].

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
