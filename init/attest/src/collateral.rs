//! What Intel signed about a platform: TCB info, QE identity, revocation lists. The transport is not trusted.

use dcap_qvl::QuoteCollateralV3;

/// The largest collateral that is parsed, in bytes of JSON; real sets are about 25 KiB.
const JSON_MAX: usize = 256 << 10;

/// One platform's collateral, as the node stapled it. Nothing in it is believed before a quote is verified with it.
#[derive(Debug, Clone)]
pub struct Collateral(pub(crate) QuoteCollateralV3);

/// Why collateral could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollateralError {
    /// More than 256 KiB.
    #[error("collateral larger than 256 KiB")]
    Long,
    /// Not the JSON of `QuoteCollateralV3`.
    #[error("collateral malformed at line {line} column {column}")]
    Malformed {
        /// Line of the JSON, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

impl Collateral {
    /// Parses the JSON form that dcap-qvl gives its collateral: PEM chains and JSON as strings, CRLs and signatures as hex.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > JSON_MAX {
            return Err(CollateralError::Long);
        }
        let malformed = |e: serde_json::Error| CollateralError::Malformed { line: e.line(), column: e.column() };
        let mut collateral: QuoteCollateralV3 = serde_json::from_slice(json).map_err(malformed)?;
        // dcap-qvl would take this chain in place of the quote's own, which is the one that is checked here.
        collateral.pck_certificate_chain = None;
        Ok(Self(collateral))
    }
}
