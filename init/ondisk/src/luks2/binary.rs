//! The binary part of a header copy: the 4096 bytes before the JSON area.

use super::Error;
use encoding::fields;
use ring::digest::{Context, SHA256};
use std::fmt;
use std::ops::Range;
use uuid::Uuid;

/// Size of the binary part, in bytes; the JSON area is the rest of a copy.
pub(super) const BINARY_LEN: u64 = 4096;

/// The allowed sizes of a copy, in bytes: 16 KiB to 4 MiB.
const SIZES: [u64; 9] = [1 << 14, 1 << 15, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22];

// Byte ranges of fields: `struct luks2_hdr_disk` in cryptsetup's lib/luks2/luks2.h. Numbers are big-endian. The salt (104..168) is random
// and differs between the copies; its only purpose is that their checksums differ.
const MAGIC: Range<usize> = 0..6;
const VERSION: usize = 6;
const SIZE: usize = 8;
const SEQID: usize = 16;
const LABEL: Range<usize> = 24..72;
const ALGORITHM: Range<usize> = 72..104;
const UUID: Range<usize> = 168..208;
const SUBSYSTEM: Range<usize> = 208..256;
const OFFSET: Range<usize> = 256..264;
const PADDING: Range<usize> = 264..448;
const CHECKSUM: Range<usize> = 448..512;
const MORE_PADDING: Range<usize> = 512..4096;

/// One of the two copies of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// The copy at the start of the disk.
    Primary,
    /// The copy after it.
    Secondary,
}

impl Copy {
    const fn magic(self) -> &'static [u8; 6] {
        match self {
            Self::Primary => b"LUKS\xba\xbe",
            Self::Secondary => b"SKUL\xba\xbe",
        }
    }
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}

/// The content of one copy. The two copies of a valid header are equal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binary<'a> {
    pub(super) size: u64,
    pub(super) seqid: u64,
    pub(super) label: &'a str,
    pub(super) subsystem: &'a str,
    pub(super) uuid: Uuid,
    pub(super) json: &'a str,
}

impl<'a> Binary<'a> {
    /// Parses the copy at the offset `at`, in bytes.
    pub(super) fn parse(image: &'a [u8], at: u64, copy: Copy) -> Result<Self, Error> {
        let start = usize::try_from(at).map_err(|_| Error::Truncated)?;
        let image = image.get(start..).ok_or(Error::Truncated)?;
        let field = |range: Range<usize>| image.get(range).ok_or(Error::Truncated);
        let number = |at| fields::array(image, at).map(u64::from_be_bytes).ok_or(Error::Truncated);
        if field(MAGIC)? != copy.magic() {
            return Err(Error::Magic(copy));
        }
        if fields::array(image, VERSION).map(u16::from_be_bytes) != Some(2) {
            return Err(Error::Version(copy));
        }
        let size = number(SIZE)?;
        if !SIZES.contains(&size) {
            return Err(Error::Size(copy));
        }
        // The secondary header starts where the primary one ends, so its offset is its size.
        if number(OFFSET.start)? != at || (copy == Copy::Secondary && at != size) {
            return Err(Error::Offset(copy));
        }
        let whole = usize::try_from(size).ok().and_then(|size| image.get(..size)).ok_or(Error::Truncated)?;
        let text = |range| field(range).map(text_of)?.ok_or(Error::Text(copy));
        if text(ALGORITHM) != Ok("sha256") {
            return Err(Error::Algorithm(copy));
        }
        if checksum(whole)? != field(CHECKSUM)? {
            return Err(Error::Checksum(copy));
        }
        if !fields::is_zero(field(PADDING)?) || !fields::is_zero(field(MORE_PADDING)?) {
            return Err(Error::Padding(copy));
        }
        Ok(Self {
            size,
            seqid: number(SEQID)?,
            label: text(LABEL)?,
            subsystem: text(SUBSYSTEM)?,
            uuid: encoding::text::uuid(text(UUID)?).ok_or(Error::Text(copy))?,
            json: whole.get(MORE_PADDING.end..).and_then(json_of).ok_or(Error::JsonArea(copy))?,
        })
    }
}

impl Binary<'_> {
    /// Returns the UUID of a copy at `at` that may be damaged: only its magic and this field must be valid. A LUKS1 header has the field
    /// at the same offset.
    pub(super) fn identifier(image: &[u8], at: u64) -> Option<Uuid> {
        let image = image.get(usize::try_from(at).ok()?..)?;
        let magic = image.get(MAGIC)?;
        let is_header = [Copy::Primary, Copy::Secondary].iter().any(|copy| magic == copy.magic());
        is_header.then(|| image.get(UUID).and_then(text_of).and_then(encoding::text::uuid))?
    }
}

/// Returns the possible offsets of a copy, in bytes.
pub(super) fn places() -> impl Iterator<Item = u64> {
    std::iter::once(0).chain(SIZES)
}

/// Returns the valid copies in `image`, the primary first.
pub(super) fn whole_copies(image: &[u8]) -> Vec<(Copy, Binary<'_>)> {
    let primary = Binary::parse(image, 0, Copy::Primary).ok();
    let secondary = match &primary {
        Some(primary) => Binary::parse(image, primary.size, Copy::Secondary).ok(),
        None => SIZES.iter().find_map(|size| Binary::parse(image, *size, Copy::Secondary).ok()),
    };
    let copies = [(Copy::Primary, primary), (Copy::Secondary, secondary)];
    copies.into_iter().filter_map(|(copy, binary)| Some((copy, binary?))).collect()
}

/// Sets the sequence number of both copies in `image`, of `size` bytes each.
pub(super) fn set_seqid(image: &mut [u8], size: u64, seqid: u64) -> Result<(), Error> {
    let size = usize::try_from(size).map_err(|_| Error::Truncated)?;
    let (primary, rest) = image.split_at_mut_checked(size).ok_or(Error::Truncated)?;
    for copy in [primary, rest.get_mut(..size).ok_or(Error::Truncated)?] {
        put(copy, SEQID..LABEL.start, &seqid.to_be_bytes())?;
        let checksum = checksum(copy)?;
        put(copy, CHECKSUM, &checksum)?;
    }
    Ok(())
}

/// Replaces one copy in `image` by the better one: the valid copy, or the one with the larger sequence number.
///
/// cryptsetup writes one copy after the other, so a power cut leaves one of them torn or out of date. cryptsetup would repair that by its
/// own rules; after this repair, both copies are equal and it has no choice. Only the image in memory is changed. The result is not
/// trusted: it must be parsed and checked.
///
/// # Errors
/// [`Error::CopiesDiffer`] when both copies are valid, differ, and have the same sequence number; the primary's error when neither is valid.
pub fn repair(image: &mut [u8]) -> Result<(), Error> {
    let primary = Binary::parse(image, 0, Copy::Primary);
    let second = |size: &u64| Binary::parse(image, *size, Copy::Secondary).ok();
    let secondary = match &primary {
        Ok(primary) => second(&primary.size),
        Err(_) => SIZES.iter().find_map(second),
    };
    let (size, from) = match (primary, secondary) {
        (Ok(primary), Some(secondary)) if primary == secondary => return Ok(()),
        (Ok(primary), Some(secondary)) if primary.seqid == secondary.seqid => return Err(Error::CopiesDiffer),
        (Ok(primary), Some(secondary)) if primary.seqid < secondary.seqid => (secondary.size, Copy::Secondary),
        (Ok(primary), _) => (primary.size, Copy::Primary),
        (Err(_), Some(secondary)) => (secondary.size, Copy::Secondary),
        (Err(error), None) => return Err(error),
    };
    let length = usize::try_from(size).map_err(|_| Error::Truncated)?;
    let (front, back) = image.split_at_mut_checked(length).ok_or(Error::Truncated)?;
    let back = back.get_mut(..length).ok_or(Error::Truncated)?;
    match from {
        Copy::Primary => overwrite(back, front, Copy::Secondary, size),
        Copy::Secondary => overwrite(front, back, Copy::Primary, 0),
    }
}

/// Overwrites `bad` with `good`, as the copy at the offset `at`.
fn overwrite(bad: &mut [u8], good: &[u8], copy: Copy, at: u64) -> Result<(), Error> {
    bad.copy_from_slice(good);
    put(bad, MAGIC, copy.magic())?;
    put(bad, OFFSET, &at.to_be_bytes())?;
    let checksum = checksum(bad)?;
    put(bad, CHECKSUM, &checksum)
}

fn put(header: &mut [u8], field: Range<usize>, value: &[u8]) -> Result<(), Error> {
    header.get_mut(field).filter(|field| field.len() == value.len()).ok_or(Error::Truncated)?.copy_from_slice(value);
    Ok(())
}

/// Computes SHA-256 over a copy with zeros as checksum, padded with zeros to the 64 bytes of the field.
pub(super) fn checksum(copy: &[u8]) -> Result<[u8; 64], Error> {
    let mut context = Context::new(&SHA256);
    context.update(copy.get(..CHECKSUM.start).ok_or(Error::Truncated)?);
    context.update(&[0; 64]);
    context.update(copy.get(CHECKSUM.end..).ok_or(Error::Truncated)?);
    let mut field = [0; 64];
    field.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    Ok(field)
}

/// Parses NUL-terminated text with only NULs after it.
fn text_of(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0)?;
    let (text, rest) = field.split_at_checked(end)?;
    if fields::is_zero(rest) { std::str::from_utf8(text).ok() } else { None }
}

/// Parses one JSON object without white space around it: serde would accept that, cryptsetup does not.
fn json_of(area: &[u8]) -> Option<&str> {
    text_of(area).filter(|text| text.starts_with('{') && text.ends_with('}'))
}
