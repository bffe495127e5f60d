//! The platform that a quote names, before verification: used only to look up collateral.

use dcap_qvl::intel::{parse_pck_extension, pck_ca};
use dcap_qvl::quote::Quote;

use crate::{QuoteHeader, Tee};

/// Which collateral a quote needs. Not verified: false values lead to collateral that does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimedPlatform {
    /// Kind of TEE.
    pub tee: Tee,
    /// Family, model, stepping, platform type, custom SKU.
    pub fmspc: [u8; 6],
    /// Which CA signed the PCK leaf.
    pub authority: Authority,
}

/// One of Intel's two CAs for PCK leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authority {
    /// Single-socket client platforms.
    Processor,
    /// Platforms that are registered with Intel.
    Platform,
}

impl Authority {
    /// The value of a PCS's parameter `ca`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        }
    }
}

impl ClaimedPlatform {
    /// Parses the PCK leaf in `quote`; `None` if there is none or it is malformed.
    #[must_use]
    pub fn of(quote: &[u8]) -> Option<Self> {
        let header = QuoteHeader::parse(quote).ok()?;
        let parsed = Quote::parse(header.bytes()).ok()?;
        let chain = dcap_qvl::intel::extract_cert_chain(&parsed).ok()?;
        let leaf = chain.first()?;
        let authority = match pck_ca(leaf).ok()? {
            dcap_qvl::config::PckCa::Processor => Authority::Processor,
            dcap_qvl::config::PckCa::Platform => Authority::Platform,
        };
        Some(Self { tee: header.tee(), fmspc: parse_pck_extension(leaf).ok()?.fmspc, authority })
    }
}
