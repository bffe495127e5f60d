//! A simulated Intel root, and everything that is signed under it for real quotes.
//!
//! The formats are those of SGX and TDX (quotes version 3, 4 and 5, PCK certificates, CRLs, TCB info version 3, QE identities),
//! so the product verifies simulated platforms with the code that verifies real ones. Only the trust anchor differs. Nothing of
//! this crate belongs in a production initrd, and its keys protect nothing.
//!
//! Every structure is a plain value with public fields and honest defaults: a hostile case is an honest one with one field
//! changed. Times are Unix seconds.

mod cert;
mod collateral;
mod crl;
mod der;
mod error;
mod key;
mod pck;
mod pki;
mod platform;
mod report;
mod sgx;
mod signature;
mod snp;
mod tcb;
mod tdx;

pub use cert::{CertSpec, Identity, pem};
pub use collateral::{Collateral, SignedCollateral};
pub use crl::CrlSpec;
pub use error::Error;
pub use key::{Key, sha256};
pub use pck::PckExtension;
pub use pki::Pki;
pub use platform::{Platform, PlatformSpec};
pub use report::EnclaveReport;
pub use sgx::SgxQuote;
pub use signature::SignatureData;
pub use snp::{SnpChip, SnpReport};
pub use tcb::{Level, ModuleIdentity, ModuleLevel, QeIdentity, QeLevel, Svn, Tcb, TcbInfo, TdxModule};
pub use tdx::{TdLayout, TdQuote};

/// Intel's vendor id in every quote header.
///
/// Source: `sgx_quote_3.h`, 939a7233-f79c-4ca9-940a-0db3957f0607.
pub const INTEL_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// One day in seconds.
pub const DAY: u64 = 86_400;
