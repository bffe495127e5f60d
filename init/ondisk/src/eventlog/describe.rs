//! What an event is called and what its writer says of it, for people. None of it was measured unless its digest says so.

use std::fmt::Write as _;

use super::{EV_NO_ACTION, Event};

/// As much of an event's text as a line holds.
const TEXT_MAX: usize = 120;
/// `EV_EFI_VARIABLE_*`: a GUID, two lengths of 8 bytes, the name in UTF-16, then the value.
const VARIABLE_NAME_AT: usize = 32;

/// The event's type as the specification spells it.
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
        0x0000_000a => "EV_PLATFORM_CONFIG_FLAGS",
        0x0000_000b => "EV_TABLE_OF_DEVICES",
        0x0000_000c => "EV_COMPACT_HASH",
        0x0000_000d => "EV_IPL",
        0x0000_000e => "EV_IPL_PARTITION_DATA",
        0x0000_0011 => "EV_NONHOST_INFO",
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

/// One line of what can be printed of an event's data: the name of a variable, a text of either width, or its length.
#[must_use]
pub fn text(event: &Event<'_>) -> String {
    let data = event.data;
    let text = match event.kind {
        0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e0 => data.get(VARIABLE_NAME_AT..).and_then(wide),
        _ => wide(data).or_else(|| narrow(data)).or_else(|| data.get(8..).and_then(narrow)),
    };
    let mut line = String::new();
    match text {
        Some(text) => line.extend(text.chars().take(TEXT_MAX)),
        None => drop(write!(line, "({} bytes)", data.len())),
    }
    line
}

/// Printable ASCII up to a NUL, at least three of it.
fn narrow(data: &[u8]) -> Option<String> {
    let text = data.split(|byte| *byte == 0).next()?;
    let printable = text.len() > 2 && text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    printable.then(|| text.iter().map(|byte| char::from(*byte)).collect())
}

/// The same in UTF-16, little endian.
fn wide(data: &[u8]) -> Option<String> {
    let units = data.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let text: Vec<u8> = units.map_while(|unit| u8::try_from(unit).ok().filter(|byte| matches!(byte, b' '..=b'~'))).collect();
    narrow(&text)
}
