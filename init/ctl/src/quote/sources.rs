//! Where quotes, certificates and collateral come from: files in the forms that people keep them in, or a PCCS.

use std::fs;
use std::io::Read as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::{Duration, Instant};

use attest::{Claimed, Collateral};
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use vault::Pccs;

use crate::run::{Error, read};

/// The longest that a PCCS may take over all of its answers.
const PCCS: Duration = Duration::from_secs(20);
/// The largest file of collateral, and of a quote on stdin, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// A quote as bytes; as hex or base64 if the file is text and cannot be a quote.
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

/// Base64 for addresses, as JSON tokens carry evidence: padded or not.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a text stands for in hex or either base64, with any white space in it.
pub(crate) fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text = text.strip_prefix(b"0x").unwrap_or(&text);
    let is_text = !text.is_empty() && text.is_ascii();
    is_text
        .then(|| hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok()).or_else(|| URL_SAFE.decode(text).ok()))
        .flatten()
}

/// A certificate in DER, whatever it came in.
pub(super) fn certificate(bytes: &[u8]) -> Vec<u8> {
    CertificateDer::from_pem_slice(bytes).map_or_else(|_| bytes.to_vec(), |der| der.to_vec())
}

/// Collateral from a folder, a file in dcap-qvl's form, or a PCCS; the likeliest first.
pub(super) fn collateral(from: &str, quote: &[u8]) -> Result<Vec<Collateral>, Error> {
    if let Some(rest) = from.strip_prefix("http://") {
        let claimed = Claimed::of(quote).ok_or(Error::NoPlatform)?;
        let host = rest.trim_end_matches('/');
        let address = host.to_socket_addrs()?.next().ok_or(Error::NoAddress)?;
        let connect = |deadline: Instant| {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            TcpStream::connect_timeout(&address, left)
        };
        return Ok(vec![Pccs::at(host).fetch(&claimed, connect, Instant::now() + PCCS)?]);
    }
    let path = Path::new(from);
    let failed = |source| Error::File { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![Collateral::from_json(&read(path)?).map_err(Error::Collateral)?]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        if metadata.is_file() && metadata.len() <= FILE_MAX {
            files.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).map_err(failed)?));
        }
    }
    files.sort();
    let found = Collateral::from_files(&files);
    if found.is_empty() { Err(Error::NoCollateral(path.to_owned())) } else { Ok(found) }
}
