//! PE images: the Authenticode digest, by which firmware measures a kernel, a boot loader or a UKI, and the sections of a UKI.
//!
//! Signatures are not verified.
//!
//! Source: Microsoft, "Windows Authenticode Portable Executable Signature Format", "Calculating the PE Image Hash";
//! edk2 `MeasurePeImageAndExtend`, which firmware for TDX uses. The digest was compared once, in SHA-256, with the one in the signature of
//! Debian's vmlinuz 6.12.117-1: they are equal.

use crate::register::Hash;
use encoding::fields::{le_u16, le_u32};

const DOS_SIGNATURE: &[u8] = b"MZ";
const PE_SIGNATURE: &[u8] = b"PE\0\0";
const MAGIC_PE32: u16 = 0x10b;
const MAGIC_PE32_PLUS: u16 = 0x20b;
const SECTION_HEADER_LEN: usize = 40;
const SYMBOL_LEN: usize = 18;
/// The index of the certificate table among the data directories, which have 8 bytes each.
const CERTIFICATE_DIRECTORY: usize = 4;

/// Why a PE image is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A header, section or certificate table exceeds the file.
    #[error("PE image is truncated: byte {0} is missing")]
    Truncated(usize),
    /// The sections together are longer than the file, so some share bytes.
    #[error("PE image with overlapping sections")]
    Overlap,
    /// No `MZ`, no `PE\0\0`, or an optional header that is neither PE32 nor PE32+.
    #[error("not a PE image")]
    NotPe,
}

/// A section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// The name without padding; one of more than 8 bytes comes from the string table.
    pub name: &'a [u8],
    /// The bytes of the file that are loaded, at most [`Section::bytes`].
    pub data: &'a [u8],
    /// The length in memory; bytes that are not in the file are zero.
    pub bytes: usize,
}

/// Computes the Authenticode digest of a PE image.
///
/// # Errors
/// When `image` is not a PE image.
pub fn digest(hash: Hash, image: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(hash.digest(&spans(image)?.concat()))
}

/// Returns the sections in the order of the section table.
///
/// # Errors
/// When `image` is not a PE image.
pub fn sections(image: &[u8]) -> Result<Vec<Section<'_>>, Error> {
    let pe = pe_header(image)?;
    let strings = string_table(image, pe)?;
    let named = |header: usize| {
        let short = slice(image, header, header + 8)?.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = long_name(short, strings).unwrap_or(short);
        let (bytes, len) = (size(u32_at(image, header + 8)?), size(u32_at(image, header + 16)?));
        let start = size(u32_at(image, header + 20)?);
        let data = slice(image, start, start + len.min(bytes))?;
        Ok(Section { name, data, bytes })
    };
    section_headers(image, pe)?.map(named).collect()
}

/// Returns the parts of an image that Authenticode hashes, in order: everything but the checksum, the directory entry of the certificate
/// table, and the certificates, with sections sorted by their offset in the file.
pub fn spans(image: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let pe = pe_header(image)?;
    let optional = pe + 24;
    let directories = match u16_at(image, optional)? {
        MAGIC_PE32 => optional + 96,
        MAGIC_PE32_PLUS => optional + 112,
        _ => return Err(Error::NotPe),
    };
    let checksum = optional + 64;
    let headers_end = size(u32_at(image, optional + 60)?);
    let has_certificates = size(u32_at(image, directories - 4)?) > CERTIFICATE_DIRECTORY;
    let certificates = directories + 8 * CERTIFICATE_DIRECTORY;

    let mut spans = vec![slice(image, 0, checksum)?];
    let mut certificates_len = 0;
    if has_certificates {
        spans.push(slice(image, checksum + 4, certificates)?);
        spans.push(slice(image, certificates + 8, headers_end)?);
        certificates_len = size(u32_at(image, certificates + 4)?);
    } else {
        spans.push(slice(image, checksum + 4, headers_end)?);
    }

    let mut hashed = headers_end;
    for (start, len) in section_ranges(image, pe)? {
        if hashed.saturating_add(len) > image.len().saturating_add(headers_end) {
            return Err(Error::Overlap);
        }
        spans.push(slice(image, start, start + len)?);
        hashed += len;
    }
    // Bytes after the sections are hashed, except for the certificates at the end.
    let tail_end = image.len().checked_sub(certificates_len).ok_or(Error::Truncated(certificates_len))?;
    if tail_end > hashed {
        spans.push(slice(image, hashed, tail_end)?);
    }
    Ok(spans)
}

/// Returns the offset of the PE header.
fn pe_header(image: &[u8]) -> Result<usize, Error> {
    if !image.starts_with(DOS_SIGNATURE) {
        return Err(Error::NotPe);
    }
    let pe = size(u32_at(image, 0x3c)?);
    if slice(image, pe, pe + PE_SIGNATURE.len())? == PE_SIGNATURE { Ok(pe) } else { Err(Error::NotPe) }
}

/// Returns the string table, which follows the symbols; empty without symbols.
fn string_table(image: &[u8], pe: usize) -> Result<&[u8], Error> {
    let (symbols, count) = (size(u32_at(image, pe + 12)?), size(u32_at(image, pe + 16)?));
    let start = if symbols == 0 { image.len() } else { symbols.saturating_add(count.saturating_mul(SYMBOL_LEN)) };
    Ok(image.get(start..).unwrap_or_default())
}

/// Looks up a name like `/12` in the string table.
fn long_name<'a>(short: &[u8], strings: &'a [u8]) -> Option<&'a [u8]> {
    let offset: usize = std::str::from_utf8(short.strip_prefix(b"/")?).ok()?.parse().ok()?;
    strings.get(offset..)?.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())
}

/// Returns the offset of each section header.
fn section_headers(image: &[u8], pe: usize) -> Result<impl Iterator<Item = usize> + use<>, Error> {
    let count = usize::from(u16_at(image, pe + 6)?);
    let table = pe + 24 + usize::from(u16_at(image, pe + 20)?);
    Ok((0..count).map(move |number| table + number * SECTION_HEADER_LEN))
}

/// Returns offset and length of each section with bytes in the file, sorted by offset.
fn section_ranges(image: &[u8], pe: usize) -> Result<Vec<(usize, usize)>, Error> {
    let mut places = Vec::new();
    for header in section_headers(image, pe)? {
        let len = size(u32_at(image, header + 16)?);
        if len > 0 {
            places.push((size(u32_at(image, header + 20)?), len));
        }
    }
    places.sort_unstable();
    Ok(places)
}

fn slice(image: &[u8], start: usize, end: usize) -> Result<&[u8], Error> {
    image.get(start..end).ok_or(Error::Truncated(end))
}

fn u16_at(image: &[u8], at: usize) -> Result<u16, Error> {
    le_u16(image, at).ok_or(Error::Truncated(at + 2))
}

fn u32_at(image: &[u8], at: usize) -> Result<u32, Error> {
    le_u32(image, at).ok_or(Error::Truncated(at + 4))
}

/// Converts a 32-bit field to a size: on the supported 64-bit machines, no sum of a few of these overflows.
fn size(field: u32) -> usize {
    usize::try_from(field).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PE: usize = 0x40;
    const OPTIONAL: usize = PE + 24;
    const TABLE: usize = OPTIONAL + 112 + 5 * 8;
    const HEADERS: usize = TABLE + 2 * SECTION_HEADER_LEN;

    fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Two sections, the second one first in the file; then bytes outside of sections, then 16 bytes of certificates.
    fn image() -> Vec<u8> {
        let mut image = vec![0u8; HEADERS];
        put(&mut image, 0, b"MZ");
        put(&mut image, 0x3c, &u32::try_from(PE).unwrap().to_le_bytes());
        put(&mut image, PE, b"PE\0\0");
        put(&mut image, PE + 6, &2u16.to_le_bytes());
        put(&mut image, PE + 20, &(112u16 + 40).to_le_bytes());
        put(&mut image, OPTIONAL, &MAGIC_PE32_PLUS.to_le_bytes());
        put(&mut image, OPTIONAL + 60, &u32::try_from(HEADERS).unwrap().to_le_bytes());
        put(&mut image, OPTIONAL + 64, b"SUM!");
        put(&mut image, OPTIONAL + 108, &5u32.to_le_bytes());
        put(&mut image, OPTIONAL + 112 + 32 + 4, &16u32.to_le_bytes());
        for (n, (len, start)) in [(4u32, HEADERS + 8), (8, HEADERS)].into_iter().enumerate() {
            put(&mut image, TABLE + n * 40 + 16, &len.to_le_bytes());
            put(&mut image, TABLE + n * 40 + 20, &u32::try_from(start).unwrap().to_le_bytes());
        }
        image.extend(b"secondAAfirstail-certificates!!!!");
        image.truncate(HEADERS + 8 + 4 + 4 + 16);
        image
    }

    #[test]
    fn spans_leave_out_checksum_certificate_entry_and_certificates() {
        let image = image();
        let spans = spans(&image).unwrap();
        assert_eq!(spans[0], &image[..OPTIONAL + 64]);
        assert_eq!(spans[1], &image[OPTIONAL + 68..OPTIONAL + 144]);
        assert_eq!(spans[2], &image[OPTIONAL + 152..HEADERS]);
        assert_eq!(spans[3..], [&b"secondAA"[..], b"firs", b"tail"]);
    }

    #[test]
    fn digest_ignores_what_signing_changes() {
        let mut signed = image();
        put(&mut signed, OPTIONAL + 64, b"\xff\xff\xff\xff");
        let end = signed.len();
        put(&mut signed, end - 4, b"SIGN");
        assert_eq!(digest(Hash::Sha384, &signed), digest(Hash::Sha384, &image()));
    }

    #[test]
    fn digest_changes_with_a_byte_of_a_section() {
        let mut other = image();
        put(&mut other, HEADERS, b"S");
        assert_ne!(digest(Hash::Sha384, &other), digest(Hash::Sha384, &image()));
    }

    #[test]
    fn no_prefix_of_an_image_panics() {
        let image = image();
        for end in 2..HEADERS + 12 {
            assert!(matches!(digest(Hash::Sha384, &image[..end]), Err(Error::Truncated(_))), "{end}");
        }
        assert_eq!(digest(Hash::Sha384, &[0; 0x100]), Err(Error::NotPe));
    }
}
