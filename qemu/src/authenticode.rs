//! The Authenticode digest of a PE image: what firmware measures when it loads a kernel, a boot loader or a UKI.
//!
//! Never checks a signature.
//!
//! Source: Microsoft, "Windows Authenticode Portable Executable Signature Format", "Calculating the PE Image Hash";
//! edk2 `MeasurePeImageAndExtend`, which firmware for TDX uses. Checked once against Debian's signed vmlinuz 6.12.117-1: with SHA-256,
//! these spans give the digest inside its signature.

use ring::digest::{Context, SHA384};

use crate::measurement::Register;

const DOS_SIGNATURE: &[u8] = b"MZ";
const PE_SIGNATURE: &[u8] = b"PE\0\0";
const MAGIC_PE32: u16 = 0x10b;
const MAGIC_PE32_PLUS: u16 = 0x20b;
const SECTION_HEADER_LEN: usize = 40;
/// The certificate table is the fifth data directory, 8 bytes each.
const CERTIFICATE_DIRECTORY: usize = 4;

/// Why bytes are no PE image that firmware would measure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A header, section or certificate table lies outside the file.
    #[error("PE image ends before byte {0}")]
    Short(usize),
    /// No `MZ`, no `PE\0\0`, or an optional header of a kind nobody boots.
    #[error("not a PE image")]
    NotPe,
}

/// Hashes a PE image with SHA-384 as Authenticode does.
pub fn digest(image: &[u8]) -> Result<Register, Error> {
    let mut context = Context::new(&SHA384);
    for span in spans(image)? {
        context.update(span);
    }
    Ok(Register::from_digest(&context.finish()))
}

/// The parts of an image that Authenticode hashes, in its order: everything but the checksum, the entry of the certificate table, and
/// the certificates, with sections sorted by their place in the file.
pub fn spans(image: &[u8]) -> Result<Vec<&[u8]>, Error> {
    if !image.starts_with(DOS_SIGNATURE) {
        return Err(Error::NotPe);
    }
    let pe = size(u32_at(image, 0x3c)?);
    if slice(image, pe, pe + PE_SIGNATURE.len())? != PE_SIGNATURE {
        return Err(Error::NotPe);
    }
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
    for (start, len) in sections(image, pe)? {
        spans.push(slice(image, start, start + len)?);
        hashed += len;
    }
    // What follows the sections is hashed too, save the certificates at the very end.
    let tail_end = image.len().checked_sub(certificates_len).ok_or(Error::Short(certificates_len))?;
    if tail_end > hashed {
        spans.push(slice(image, hashed, tail_end)?);
    }
    Ok(spans)
}

/// Start and length in bytes of each section that has any, by start.
fn sections(image: &[u8], pe: usize) -> Result<Vec<(usize, usize)>, Error> {
    let count = usize::from(u16_at(image, pe + 6)?);
    let table = pe + 24 + usize::from(u16_at(image, pe + 20)?);
    let mut sections = Vec::new();
    for header in (0..count).map(|n| table + n * SECTION_HEADER_LEN) {
        let len = size(u32_at(image, header + 16)?);
        if len > 0 {
            sections.push((size(u32_at(image, header + 20)?), len));
        }
    }
    sections.sort_unstable();
    Ok(sections)
}

fn slice(image: &[u8], start: usize, end: usize) -> Result<&[u8], Error> {
    image.get(start..end).ok_or(Error::Short(end))
}

fn u16_at(image: &[u8], at: usize) -> Result<u16, Error> {
    let bytes = image.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error::Short(at + 2))?;
    Ok(u16::from_le_bytes(*bytes))
}

fn u32_at(image: &[u8], at: usize) -> Result<u32, Error> {
    let bytes = image.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error::Short(at + 4))?;
    Ok(u32::from_le_bytes(*bytes))
}

/// A 32-bit field as a size: this crate runs on 64-bit hosts only, where no sum of a few of these overflows.
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

    /// Two sections, the second first in the file; then 8 bytes nobody maps, then 16 bytes of certificates.
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
        assert_eq!(digest(&signed), digest(&image()));
    }

    #[test]
    fn digest_changes_with_a_byte_of_a_section() {
        let mut other = image();
        put(&mut other, HEADERS, b"S");
        assert_ne!(digest(&other), digest(&image()));
    }

    #[test]
    fn no_prefix_of_an_image_panics() {
        let image = image();
        for end in 2..HEADERS + 12 {
            assert!(matches!(digest(&image[..end]), Err(Error::Short(_))), "{end}");
        }
        assert_eq!(digest(&[0; 0x100]), Err(Error::NotPe));
    }
}
