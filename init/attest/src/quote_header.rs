//! The header and the structure of a DCAP quote: version, TEE, and where its parts and the quote itself end.
//!
//! Source: Intel TDX DCAP Quoting Library API, appendix A (versions 4 and 5); SGX DCAP ECDSA Quote Generation (version 3).

/// The longest zero padding that is cut off, in bytes: real version 4 quotes carry 70, a cloud's sample 3,065.
const PADDING_MAX: usize = 4096;
/// Bytes of the header that every version begins with.
const HEADER_BYTES: usize = 48;
/// ECDSA over P-256, the only attestation key type that a PCK chain certifies.
const KEY_TYPE_ECDSA_P256: u16 = 2;
/// Intel's quoting enclave vendor id, bytes 12..28 of the header.
const VENDOR_INTEL: [u8; 16] = [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// Bytes of the quoting enclave's authentication data, which is hashed together with the attestation key.
const AUTHENTICATION_BYTES: u16 = 32;
/// Certification data: a whole PCK chain in PEM.
const CERTIFICATION_PCK_CHAIN: u16 = 5;
/// Certification data of versions 4 and 5: the QE report with certification data of its own.
const CERTIFICATION_QE_REPORT: u16 = 6;

/// The TEE that a quote is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tee {
    /// An SGX enclave (quote version 3).
    Sgx,
    /// A TDX trust domain (quote versions 4 and 5).
    Tdx,
}

/// A quote without padding, and the offsets of its body and signature data. Nothing in it is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteHeader<'a> {
    bytes: &'a [u8],
    tee: Tee,
    body: usize,
    signature: usize,
}

/// The parts of a quote's signature data.
pub(crate) struct Signatures<'a> {
    /// `r || s` over header and body.
    pub(crate) signature: &'a [u8; 64],
    /// `x || y`, P-256.
    pub(crate) attestation_key: &'a [u8; 64],
    /// The report of the quoting enclave.
    pub(crate) qe_report: &'a [u8; 384],
    /// `r || s` over that report, by the PCK key.
    pub(crate) qe_signature: &'a [u8; 64],
    /// Hashed into that report after the attestation key.
    pub(crate) authentication: &'a [u8],
    /// The PCK chain, PEM.
    pub(crate) chain: &'a [u8],
}

/// The rule that the bytes of a quote break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuoteHeaderError {
    /// Shorter than its own lengths say.
    #[error("quote is shorter than its length fields say")]
    Short,
    /// Length fields that contradict each other.
    #[error("length fields in the quote contradict each other")]
    Length,
    /// Another version than 3, 4 or 5.
    #[error("expected quote version 3, 4 or 5, got {0}")]
    Version(u16),
    /// Another attestation key than ECDSA P-256.
    #[error("expected attestation key type 2 (ECDSA P-256), got {0}")]
    KeyType(u16),
    /// A TEE type that does not go with the version, or is unknown.
    #[error("TEE type {0:#x} is unknown or does not fit the quote version")]
    TeeType(u32),
    /// Not signed by a quoting enclave of Intel's.
    #[error("expected a quoting enclave of Intel, got another vendor id")]
    Vendor,
    /// A body type or size that is not a TD report.
    #[error("expected body type 2, 3 or 4 with its size, got type {0}")]
    BodyType(u16),
    /// No PCK chain in the quote.
    #[error("expected certification data with a PCK chain, got type {0}")]
    CertificationType(u16),
    /// Authentication data of another length than Intel's quoting enclave uses.
    #[error("expected 32 bytes of authentication data, got {0}")]
    AuthenticationData(u16),
    /// Nonzero bytes after the quote, or too many zeros.
    #[error("unexpected bytes after the quote")]
    Tail,
}

impl<'a> QuoteHeader<'a> {
    /// Parses the header, finds the end of the quote in `bytes` and cuts off zero padding.
    ///
    /// # Errors
    /// [`QuoteHeaderError`] of the first rule that does not hold.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteHeaderError> {
        let version = u16_at(bytes, 0)?;
        let key_type = u16_at(bytes, 2)?;
        let tee_type = u32_at(bytes, 4)?;
        if !(3..=5).contains(&version) {
            return Err(QuoteHeaderError::Version(version));
        }
        if key_type != KEY_TYPE_ECDSA_P256 {
            return Err(QuoteHeaderError::KeyType(key_type));
        }
        let (tee, body, body_bytes) = match (version, tee_type) {
            (3, 0) => (Tee::Sgx, HEADER_BYTES, 384),
            (4, 0x81) => (Tee::Tdx, HEADER_BYTES, 584),
            (5, 0x81) => (Tee::Tdx, HEADER_BYTES + 6, td_body_bytes(bytes)?),
            (_, other) => return Err(QuoteHeaderError::TeeType(other)),
        };
        if bytes.get(12..28).ok_or(QuoteHeaderError::Short)? != VENDOR_INTEL {
            return Err(QuoteHeaderError::Vendor);
        }
        let signature = body + body_bytes;
        let length = usize_at(bytes, signature)?;
        let end = signature.checked_add(4).and_then(|start| start.checked_add(length)).ok_or(QuoteHeaderError::Short)?;
        let (quote, tail) = bytes.split_at_checked(end).ok_or(QuoteHeaderError::Short)?;
        if tail.len() > PADDING_MAX || tail.iter().any(|byte| *byte != 0) {
            return Err(QuoteHeaderError::Tail);
        }
        certification(quote, version, signature + 4)?;
        Ok(Self { bytes: quote, tee, body, signature: signature + 4 })
    }

    /// The quote without padding.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The TEE that the quote is of.
    #[must_use]
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// The part of the body that identifies a trust domain: TDATTRIBUTES, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to 3, 400 bytes in the
    /// order of a TDREPORT's TDINFO. `None` for enclaves. Not verified.
    #[must_use]
    pub fn td_info(&self) -> Option<&'a [u8]> {
        let start = self.body + 120;
        (self.tee == Tee::Tdx).then(|| self.bytes.get(start..start + 400)).flatten()
    }

    /// Header and body, which the attestation key signs.
    pub(crate) fn signed(&self) -> &'a [u8] {
        self.bytes.get(..self.signature - 4).unwrap_or_default()
    }

    /// The parts of the signature data.
    pub(crate) fn signatures(&self) -> Option<Signatures<'a>> {
        let nested = if self.tee == Tee::Tdx { 6 } else { 0 };
        let rest = self.bytes.get(self.signature..)?;
        let (signature, rest) = rest.split_first_chunk::<64>()?;
        let (attestation_key, rest) = rest.split_first_chunk::<64>()?;
        let (qe_report, rest) = rest.get(nested..)?.split_first_chunk::<384>()?;
        let (qe_signature, rest) = rest.split_first_chunk::<64>()?;
        let authentication = rest.get(2..2 + usize::from(AUTHENTICATION_BYTES))?;
        let chain = rest.get(2 + usize::from(AUTHENTICATION_BYTES) + 6..)?;
        Some(Signatures { signature, attestation_key, qe_report, qe_signature, authentication, chain })
    }

    /// The 64 bytes that the requester of the quote chose. Not verified.
    #[must_use]
    pub fn report_data(&self) -> &'a [u8] {
        let offset = match self.tee {
            Tee::Sgx => 320,
            Tee::Tdx => 520,
        };
        self.bytes.get(self.body + offset..).and_then(|rest| rest.get(..64)).unwrap_or_default()
    }
}

/// The size of the body in version 5, whose body begins with type and size: TD 1.0, TD 1.5 and TD 1.5 extended are known.
fn td_body_bytes(bytes: &[u8]) -> Result<usize, QuoteHeaderError> {
    let kind = u16_at(bytes, HEADER_BYTES)?;
    let size = usize_at(bytes, HEADER_BYTES + 2)?;
    match (kind, size) {
        (2, 584) | (3, 648) | (4, 885) => Ok(size),
        _ => Err(QuoteHeaderError::BodyType(kind)),
    }
}

/// Checks that the certification data is a PCK chain and ends where the quote ends.
fn certification(quote: &[u8], version: u16, signature: usize) -> Result<(), QuoteHeaderError> {
    let mut at = signature + 64 + 64; // signature, attestation key
    if version > 3 {
        let outer = u16_at(quote, at)?;
        if outer != CERTIFICATION_QE_REPORT {
            return Err(QuoteHeaderError::CertificationType(outer));
        }
        fills(quote, at)?;
        at += 6;
    }
    at += 384 + 64; // QE report, its signature
    let authentication = u16_at(quote, at)?;
    if authentication != AUTHENTICATION_BYTES {
        return Err(QuoteHeaderError::AuthenticationData(authentication));
    }
    at += 2 + usize::from(authentication);
    let inner = u16_at(quote, at)?;
    if inner != CERTIFICATION_PCK_CHAIN {
        return Err(QuoteHeaderError::CertificationType(inner));
    }
    fills(quote, at)
}

/// Checks that the field at `at` (type, 2 bytes; length, 4 bytes; data) ends where the quote ends.
fn fills(quote: &[u8], at: usize) -> Result<(), QuoteHeaderError> {
    let length = usize_at(quote, at + 2)?;
    if (at + 6).checked_add(length) == Some(quote.len()) { Ok(()) } else { Err(QuoteHeaderError::Length) }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, QuoteHeaderError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(QuoteHeaderError::Short)?;
    Ok(u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, QuoteHeaderError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(QuoteHeaderError::Short)?;
    Ok(u32::from_le_bytes(*field))
}

fn usize_at(bytes: &[u8], at: usize) -> Result<usize, QuoteHeaderError> {
    usize::try_from(u32_at(bytes, at)?).map_err(|_| QuoteHeaderError::Short)
}
