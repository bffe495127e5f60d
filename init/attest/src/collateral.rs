//! Collateral, signed by Intel: TCB info, QE identity, revocation lists. The transport is not trusted.

use std::str::FromStr as _;

use dcap_qvl::QuoteCollateralV3;
use encoding::hex;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The largest collateral that is parsed, in bytes of JSON; real sets are about 25 KiB.
const JSON_MAX: usize = 256 << 10;

/// Collateral for one platform type. It is not verified until a quote is verified with it.
#[derive(Debug, Clone)]
pub struct Collateral(pub(crate) QuoteCollateralV3);

/// The parts of collateral, one for each answer of Intel's PCS or a PCCS.
#[derive(Debug, Clone, Default)]
pub struct PcsParts {
    /// Body of `/tcb`: `{"tcbInfo":...,"signature":"<hex>"}`.
    pub tcb_info: Vec<u8>,
    /// PEM, decoded from the header `TCB-Info-Issuer-Chain`.
    pub tcb_info_issuer_chain: String,
    /// Body of `/qe/identity`: `{"enclaveIdentity":...,"signature":"<hex>"}`.
    pub qe_identity: Vec<u8>,
    /// PEM, decoded from `SGX-Enclave-Identity-Issuer-Chain`.
    pub qe_identity_issuer_chain: String,
    /// Body of `/pckcrl`: DER, or hex of it, or PEM.
    pub pck_crl: Vec<u8>,
    /// PEM, decoded from `SGX-PCK-CRL-Issuer-Chain`.
    pub pck_crl_issuer_chain: String,
    /// Body of `/rootcacrl`: DER, or hex of it, or PEM.
    pub root_ca_crl: Vec<u8>,
}

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
    /// An answer of a PCS is malformed.
    #[error("collateral: {0} malformed")]
    Part(&'static str),
}

/// A signed document as served. The signature covers the exact bytes of the inner object.
#[derive(Deserialize)]
struct SignedTcbInfo<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    document: &'a RawValue,
    signature: &'a str,
}

#[derive(Deserialize)]
struct SignedQeIdentity<'a> {
    #[serde(borrow, rename = "enclaveIdentity")]
    document: &'a RawValue,
    signature: &'a str,
}

impl Collateral {
    /// Parses dcap-qvl's JSON format: PEM chains and JSON documents as strings, CRLs and signatures as hex.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > JSON_MAX {
            return Err(CollateralError::Long);
        }
        let malformed = |e: serde_json::Error| CollateralError::Malformed { line: e.line(), column: e.column() };
        let mut collateral: QuoteCollateralV3 = serde_json::from_slice(json).map_err(malformed)?;
        // dcap-qvl would use this chain instead of the quote's own, which this crate checks.
        collateral.pck_certificate_chain = None;
        Ok(Self(collateral))
    }

    /// Builds collateral from the answers of a PCS or PCCS.
    ///
    /// # Errors
    /// [`CollateralError::Part`] names the answer that is malformed.
    pub fn from_pcs(parts: &PcsParts) -> Result<Self, CollateralError> {
        let lengths = [&parts.tcb_info, &parts.qe_identity, &parts.pck_crl, &parts.root_ca_crl].map(Vec::len);
        if lengths.iter().sum::<usize>() > JSON_MAX {
            return Err(CollateralError::Long);
        }
        let part = CollateralError::Part;
        let info: SignedTcbInfo<'_> = serde_json::from_slice(&parts.tcb_info).map_err(|_| part("TCB info"))?;
        let identity: SignedQeIdentity<'_> = serde_json::from_slice(&parts.qe_identity).map_err(|_| part("QE identity"))?;
        Ok(Self(QuoteCollateralV3 {
            pck_crl_issuer_chain: parts.pck_crl_issuer_chain.clone(),
            root_ca_crl: crl_der(&parts.root_ca_crl).ok_or(part("root CRL"))?,
            pck_crl: crl_der(&parts.pck_crl).ok_or(part("PCK CRL"))?,
            tcb_info_issuer_chain: parts.tcb_info_issuer_chain.clone(),
            tcb_info: info.document.get().to_owned(),
            tcb_info_signature: bytes_of_hex(info.signature.as_bytes()).ok_or(part("TCB info signature"))?,
            qe_identity_issuer_chain: parts.qe_identity_issuer_chain.clone(),
            qe_identity: identity.document.get().to_owned(),
            qe_identity_signature: bytes_of_hex(identity.signature.as_bytes()).ok_or(part("QE identity signature"))?,
            pck_certificate_chain: None,
        }))
    }

    /// When the newest of its documents and lists was issued, Unix seconds. Not verified.
    #[must_use]
    pub fn issued(&self) -> Option<u64> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Dates {
            issue_date: String,
        }
        let issued = |json: &str| serde_json::from_str(json).ok().and_then(|dates: Dates| unix_seconds(&dates.issue_date));
        let lists = [&self.0.root_ca_crl, &self.0.pck_crl].map(|der| crate::appraisal::crl_this_update(der).unwrap_or(0));
        let documents = issued(&self.0.tcb_info)?.max(issued(&self.0.qe_identity)?);
        Some(lists.into_iter().fold(documents, u64::max))
    }
}

/// Decodes a revocation list: DER, hex of DER (as a PCCS sends it), or PEM.
fn crl_der(bytes: &[u8]) -> Option<Vec<u8>> {
    use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject};
    let trimmed = bytes.trim_ascii();
    if trimmed.starts_with(b"-----BEGIN") {
        return CertificateRevocationListDer::from_pem_slice(trimmed).ok().map(|list| list.to_vec());
    }
    if bytes.starts_with(&[0x30]) && bytes.get(1).is_some_and(|byte| *byte >= 0x80) {
        return Some(bytes.to_vec());
    }
    bytes_of_hex(trimmed)
}

/// Reads hexadecimal digits of either case, at least two.
fn bytes_of_hex(digits: &[u8]) -> Option<Vec<u8>> {
    hex::decode_any_case(digits).filter(|bytes| !bytes.is_empty())
}

/// `2025-06-19T10:56:11Z`, as Intel writes it.
fn unix_seconds(text: &str) -> Option<u64> {
    x509_cert::der::DateTime::from_str(text).ok().map(|time| time.unix_duration().as_secs())
}
