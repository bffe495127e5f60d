//! Quotes and certificates in files, in their usual encodings.

use std::io::Read as _;
use std::path::Path;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine as _};
use encoding::hex;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::run::{Error, read};

/// The largest quote on stdin, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Reads a quote: raw, or hex or base64 if the file is text.
pub(crate) fn quote(file: &Path) -> Result<Vec<u8>, Error> {
    let bytes = if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().take(FILE_MAX).read_to_end(&mut bytes)?;
        bytes
    } else {
        read(file)?.to_vec()
    };
    let is_quote = matches!(bytes.as_slice(), [3..=5, 0, ..]);
    Ok(if is_quote { bytes } else { decoded(&bytes).unwrap_or(bytes) })
}

/// URL-safe base64, padded or not, as JSON tokens contain evidence.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes hex or either base64, ignoring white space.
pub(crate) fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text = text.strip_prefix(b"0x").unwrap_or(&text);
    let is_text = !text.is_empty() && text.is_ascii();
    is_text.then(|| hex::decode_any_case(text).or_else(|| base64(text))).flatten()
}

/// Decodes either base64.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().or_else(|| URL_SAFE.decode(text).ok())
}

/// A certificate in DER, converted from PEM if needed.
pub(crate) fn certificate(bytes: &[u8]) -> Vec<u8> {
    CertificateDer::from_pem_slice(bytes).map_or_else(|_| bytes.to_vec(), |der| der.to_vec())
}
