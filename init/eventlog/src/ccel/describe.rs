//! Names and descriptions of events for operators. A description is not measured unless the digest of the event covers it.

use std::fmt::Write as _;

use super::{EV_NO_ACTION, Event};
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
/// Prefixes of texts that GRUB logs but does not hash.
const GRUB_PREFIXES: [&str; 3] = ["grub_cmd: ", "kernel_cmdline: ", "module_cmdline: "];
/// Length of the signature of an `EV_NO_ACTION` event; other data may follow.
const SIGNATURE_LEN: usize = 16;

/// Returns the event type as the specification spells it.
#[must_use]
pub fn kind(kind: u32) -> String {
    let name = match kind {
        0x0000_0001 => "EV_POST_CODE",
        EV_NO_ACTION => "EV_NO_ACTION",
        0x0000_0004 => "EV_SEPARATOR",
        0x0000_0005 => "EV_ACTION",
        0x0000_0006 => "EV_EVENT_TAG",
        0x0000_0007 => "EV_S_CRTM_CONTENTS",
        0x0000_0008 => "EV_S_CRTM_VERSION",
        0x0000_0009 => "EV_CPU_MICROCODE",
        0x0000_000a => "EV_PLATFORM_CONFIG_FLAGS",
        0x0000_000b => "EV_TABLE_OF_DEVICES",
        0x0000_000c => "EV_COMPACT_HASH",
        0x0000_000d => "EV_IPL",
        0x0000_000e => "EV_IPL_PARTITION_DATA",
        0x0000_000f => "EV_NONHOST_CODE",
        0x0000_0010 => "EV_NONHOST_CONFIG",
        0x0000_0011 => "EV_NONHOST_INFO",
        0x0000_0012 => "EV_OMIT_BOOT_DEVICE_EVENTS",
        0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
        0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
        0x8000_0005 => "EV_EFI_RUNTIME_SERVICES_DRIVER",
        0x8000_0006 => "EV_EFI_GPT_EVENT",
        0x8000_0007 => "EV_EFI_ACTION",
        0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
        0x8000_000c => "EV_EFI_VARIABLE_BOOT2",
        0x8000_00e0 => "EV_EFI_VARIABLE_AUTHORITY",
        0x8000_00e1 => "EV_EFI_SPDM_FIRMWARE_BLOB",
        other => return format!("event type {other:#x}"),
    };
    name.to_owned()
}

/// Describes an event's data in one line: the name of a variable, a file or a blob, a text of either width, or the length. Whether the
/// text was measured is what [`is_measured`] returns.
#[must_use]
pub fn text(event: &Event<'_>) -> String {
    let data = event.data;
    let text = match event.kind {
        0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e0 => variable(data),
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

/// Whether all digests of the event, at least one of them stronger than SHA-1, are digests of the data that [`text`] describes. Events of
/// many types hash other bytes: then the log's writer chooses the text, and a correct replay does not prove it.
#[must_use]
pub fn is_measured(event: &Event<'_>) -> bool {
    let is_variable = matches!(event.kind, 0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e0);
    // Texts are hashed with or without their NUL; systemd-stub logs a name in UTF-16 and hashes it in ASCII.
    let without_nul = |data: &[u8]| data.strip_suffix(&[0]).unwrap_or(data).to_vec();
    let mut forms = vec![event.data.to_vec()];
    if !is_variable {
        forms.push(without_nul(event.data));
        for text in GRUB_PREFIXES.iter().filter_map(|word| event.data.strip_prefix(word.as_bytes())) {
            forms.extend([text.to_vec(), without_nul(text)]);
        }
        forms.extend(wide(event.data, TEXT_MIN).map(|text| [text.as_bytes(), &[0]].concat()));
    }
    let digests: Vec<_> = Hash::ALL.into_iter().filter_map(|hash| Some((hash, event.digest(hash)?))).collect();
    let is_strong = digests.iter().any(|(hash, _)| *hash != Hash::Sha1);
    event.is_extended() && is_strong && forms.iter().any(|form| digests.iter().all(|(hash, digest)| hash.digest(form) == *digest))
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
