//! Names and descriptions of events for operators. A description is not measured unless the digest of the event covers it.

use std::fmt::Write as _;

use super::{EV_NO_ACTION, Event, event_type};
use crate::register::Hash;
use encoding::fields::{le_u16, le_u64};

/// The longest description, in characters.
const TEXT_MAX: usize = 120;
/// The shortest text that is accepted in data of unknown form: fewer printable characters may be chance.
const TEXT_MIN: usize = 3;
/// `UEFI_VARIABLE_DATA`: a GUID, then two lengths of 8 bytes, the name's in UTF-16 units, the name, and the value.
const NAME_UNITS_AT: usize = 16;
const NAME_AT: usize = 32;
/// `UEFI_IMAGE_LOAD_EVENT`: address, length, link address and the device path's length, 8 bytes each, then that path.
const DEVICE_PATH_AT: usize = 32;
/// Type and subtype of a device path node that names a file.
const FILE_PATH: [u8; 2] = [4, 4];
/// `TCG_PCClientTaggedEvent`: a number and a length of 4 bytes each, then its data.
const TAGGED_AT: usize = 8;
/// Prefixes of texts that GRUB logs but does not hash; those without a colon are of older versions.
const GRUB_PREFIXES: [&str; 6] =
    ["grub_cmd: ", "kernel_cmdline: ", "module_cmdline: ", "grub_cmd ", "grub_kernel_cmdline ", "grub_module_cmdline "];
/// Length of the signature of an `EV_NO_ACTION` event; other data may follow.
const SIGNATURE_LEN: usize = 16;

/// Returns the event type as the specification spells it, or its number.
#[must_use]
pub fn kind(kind: u32) -> String {
    event_type::name(kind).map_or_else(|| format!("event type {kind:#x}"), str::to_owned)
}

/// Describes an event's data in one line: the name of a variable, a file or a blob, a text of either width, or the length. Whether the
/// text was measured is what [`hashed`] returns.
#[must_use]
pub fn text(event: &Event<'_>) -> String {
    let data = event.data;
    let text = match event.kind {
        kind if is_variable(kind) => variable(data),
        0x8000_0003..=0x8000_0005 => file(data),
        0x8000_0008 => le_u64(data, 0).zip(le_u64(data, 8)).map(|(base, length)| format!("{base:#x}, {length} bytes")),
        0x8000_000a | 0x8000_000b => blob(data),
        0x0000_0006 => data.get(TAGGED_AT..).and_then(free),
        EV_NO_ACTION => data.get(..SIGNATURE_LEN).and_then(free),
        _ => free(data),
    };
    let mut line = String::new();
    match text {
        Some(text) => line.extend(text.chars().take(TEXT_MAX)),
        None => drop(write!(line, "({} bytes)", data.len())),
    }
    line
}

/// The part of [`text`] that the digests of an event cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// None of it is proved: the digests are of other bytes, or too weak.
    Nothing,
    /// The text.
    Whole,
    /// The text behind this prefix of GRUB. The prefix is a claim of the log's writer.
    Behind(&'static str),
}

/// Returns which part of the text all digests of the event cover, at least one of them stronger than SHA-1. Events of many types hash other
/// bytes: then the log's writer chooses the text, and a correct replay does not prove it. The event type is never hashed.
#[must_use]
pub fn hashed(event: &Event<'_>) -> Hashed {
    let digests: Vec<_> = Hash::ALL.into_iter().filter_map(|hash| Some((hash, event.digest(hash)?))).collect();
    if !event.is_extended() || digests.iter().all(|(hash, _)| *hash == Hash::Sha1) {
        return Hashed::Nothing;
    }
    let covers = |form: &[u8]| digests.iter().all(|(hash, digest)| hash.digest(form) == *digest);
    // Texts are hashed with or without their NUL; systemd-stub logs a name in UTF-16 and hashes it in ASCII.
    let covers_text = |text: &[u8]| covers(text) || text.strip_suffix(&[0]).is_some_and(covers);
    if is_variable(event.kind) {
        return if covers(event.data) { Hashed::Whole } else { Hashed::Nothing };
    }
    if covers_text(event.data) || wide(event.data, TEXT_MIN).is_some_and(|text| covers(&[text.as_bytes(), &[0]].concat())) {
        return Hashed::Whole;
    }
    let mut prefixes = GRUB_PREFIXES.into_iter();
    let prefix = prefixes.find(|prefix| event.data.strip_prefix(prefix.as_bytes()).is_some_and(covers_text));
    prefix.map_or(Hashed::Nothing, Hashed::Behind)
}

/// Whether events of this type contain an EFI variable (`UEFI_VARIABLE_DATA`).
const fn is_variable(kind: u32) -> bool {
    matches!(kind, 0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e0 | 0x8000_00e3 | 0x8000_00e4)
}

/// Reads the name of an EFI variable.
fn variable(data: &[u8]) -> Option<String> {
    let units = usize::try_from(le_u64(data, NAME_UNITS_AT)?).ok()?;
    wide(data.get(NAME_AT..)?.get(..units.checked_mul(2)?)?, 1)
}

/// Concatenates the file names of a device path.
fn file(data: &[u8]) -> Option<String> {
    let (mut path, mut rest) = (String::new(), data.get(DEVICE_PATH_AT..)?);
    while let Some(length) = le_u16(rest, 2).map(usize::from).filter(|length| *length >= 4) {
        let node = rest.get(..length)?;
        if node.starts_with(&FILE_PATH) {
            path.push_str(&wide(node.get(4..)?, 1)?);
        }
        rest = rest.get(length..)?;
    }
    (!path.is_empty()).then_some(path)
}

/// Reads the name of a blob, which its length precedes.
fn blob(data: &[u8]) -> Option<String> {
    let (length, rest) = data.split_first()?;
    narrow(rest.get(..usize::from(*length))?, 1)
}

/// Reads a text of unknown width.
fn free(data: &[u8]) -> Option<String> {
    wide(data, TEXT_MIN).or_else(|| narrow(data, TEXT_MIN))
}

/// Reads printable ASCII up to a NUL, at least `least` characters; newlines and tabs become spaces.
fn narrow(data: &[u8], least: usize) -> Option<String> {
    let text = data.split(|byte| *byte == 0).next()?;
    let printable = text.len() >= least && text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t'));
    printable.then(|| text.iter().map(|byte| if byte.is_ascii_control() { ' ' } else { char::from(*byte) }).collect())
}

/// Reads the same in little-endian UTF-16.
fn wide(data: &[u8], least: usize) -> Option<String> {
    let units = data.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let text: Vec<u8> = units.map_while(|unit| u8::try_from(unit).ok().filter(|byte| matches!(byte, b' '..=b'~'))).collect();
    narrow(&text, least)
}
