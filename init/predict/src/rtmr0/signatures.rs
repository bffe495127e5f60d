//! Lists of certificates and hashes in PK, KEK, db, dbx and shim's lists, described for operators.
//!
//! Source: UEFI 2.10, section 32.4.1 (`EFI_SIGNATURE_LIST`).

use eventlog::register::Hash;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use encoding::fields::{array, le_u32};
use encoding::hex;

/// `EFI_CERT_X509_GUID` and `EFI_CERT_SHA256_GUID`.
const X509: [u8; 16] = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
const SHA256: [u8; 16] = [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];
const LIST_HEADER_LEN: usize = 28;
/// The length of the owner's GUID before the data of an entry.
const OWNER_LEN: usize = 16;
/// The longest subject that is shown, in characters.
const SUBJECT_MAX: usize = 100;
/// The most entries, certificates that are named, and the longest lists, in bytes.
const ENTRIES_MAX: usize = 1 << 16;
const NAMED_MAX: usize = 16;
const LISTS_MAX: usize = 1 << 20;

/// Splits signature lists into entries: the kind of the list, and the entry with its owner's GUID. `None` when the bytes are not lists.
fn entries(lists: &[u8]) -> Option<Vec<([u8; 16], &[u8])>> {
    let (mut found, mut rest) = (Vec::new(), lists);
    if lists.len() > LISTS_MAX {
        return None;
    }
    while !rest.is_empty() {
        let kind: [u8; 16] = array(rest, 0)?;
        let length = |at: usize| le_u32(rest, at).and_then(|length| usize::try_from(length).ok());
        let (whole, header, entry) = (length(16)?, length(20)?, length(24)?);
        let (list, after) = rest.split_at_checked(whole)?;
        let data = list.get(LIST_HEADER_LEN.checked_add(header)?..)?;
        if entry <= OWNER_LEN || !data.len().is_multiple_of(entry) || found.len() + data.len() / entry > ENTRIES_MAX {
            return None;
        }
        found.extend(data.chunks(entry).map(|entry| (kind, entry)));
        rest = after;
    }
    Some(found)
}

/// Finds the entry of a certificate in DER, with its owner's GUID.
#[must_use]
pub fn entry_of<'a>(lists: &'a [u8], certificate: &[u8]) -> Option<&'a [u8]> {
    let is_it = |(kind, entry): &([u8; 16], &[u8])| *kind == X509 && entry.get(OWNER_LEN..) == Some(certificate);
    entries(lists)?.into_iter().find(is_it).map(|(_, entry)| entry)
}

/// Describes signature lists: the certificates by subject and SHA-256, and the number of hashes. `None` when the bytes are not lists.
#[must_use]
pub fn describe(lists: &[u8]) -> Option<String> {
    let entries = entries(lists)?;
    let count = |wanted: [u8; 16]| entries.iter().filter(|(kind, _)| *kind == wanted).count();
    let (certificates, hashes) = (count(X509), count(SHA256));
    let others = entries.len() - certificates - hashes;
    let mut parts = Vec::new();
    if certificates > 0 {
        let ders = entries.iter().filter(|(kind, _)| *kind == X509).filter_map(|(_, entry)| entry.get(OWNER_LEN..));
        let named: Vec<String> = ders.take(NAMED_MAX).map(certificate).collect();
        let more = if certificates > NAMED_MAX { ", and more" } else { "" };
        parts.push(format!("{}: {}{more}", counted(certificates, "certificate"), named.join(", ")));
    }
    parts.extend((hashes > 0).then(|| counted(hashes, "SHA-256 hash")));
    parts.extend((others > 0).then(|| counted(others, "entry of another kind")));
    Some(if parts.is_empty() { "empty".to_owned() } else { parts.join("; ") })
}

/// Describes one entry: the owner's GUID, and a certificate or a hash. `None` when it is neither.
#[must_use]
pub fn describe_entry(entry: &[u8]) -> Option<String> {
    let data = entry.get(OWNER_LEN..)?;
    match data.len() {
        32 => Some(format!("hash {}", hex::encode(data))),
        _ => Certificate::from_der(data).is_ok().then(|| format!("certificate {}", certificate(data))),
    }
}

/// The subject and SHA-256 of a certificate.
fn certificate(der: &[u8]) -> String {
    let digest = hex::encode(&Hash::Sha256.digest(der));
    let subject = match Certificate::from_der(der) {
        Ok(certificate) => certificate.tbs_certificate().subject().to_string(),
        Err(_) => return format!("not a certificate (SHA-256 {digest})"),
    };
    // The text is the certificate's: it may contain control characters and have any length.
    let shown: String = subject.chars().take(SUBJECT_MAX).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    format!("{shown} (SHA-256 {digest})")
}

fn counted(count: usize, what: &str) -> String {
    match (count, what) {
        (1, what) => format!("1 {what}"),
        (count, "SHA-256 hash") => format!("{count} SHA-256 hashes"),
        (count, "entry of another kind") => format!("{count} entries of other kinds"),
        (count, what) => format!("{count} {what}s"),
    }
}
