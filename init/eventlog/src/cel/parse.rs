//! The parser. PID 1 does not link it.

use encoding::hex;
use serde::Deserialize;
use serde_json::Value;

use super::{DigestJson, Error, FirmwareEvent, RECORD_SEPARATOR, Record, Register, SYSTEMD, Systemd};
use crate::ccel::{REGISTER_MAX, event_type};
use crate::register::Hash;

/// The most records: real logs have some hundred.
pub(super) const RECORDS_MAX: usize = 16 << 10;
/// The highest RTMR.
const RTMR_MAX: u32 = 3;
/// The `content_type` of firmware's events.
const FIRMWARE: &str = "pcclient_std";

#[derive(Deserialize)]
struct RecordJson {
    pcr: Option<u32>,
    rtmr: Option<u32>,
    nv_index: Option<u32>,
    digests: Vec<DigestJson>,
    content_type: Option<Value>,
    content: Option<Value>,
}

/// `content` of firmware's events.
#[derive(Deserialize)]
struct FirmwareJson {
    event_type: TypeJson,
    /// Hexadecimal.
    event_data: String,
}

/// An event type: a name, or a number, also as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum TypeJson {
    Number(u32),
    Name(String),
}

/// An event in the JSON log of dstack: SHA-384 alone, and numbers of RTMRs.
///
/// Source: Dstack-TEE/dstack, `cc-eventlog` (`TdxEvent`, `RuntimeEvent::digest`).
#[derive(Deserialize)]
struct DstackJson {
    imr: u32,
    event_type: u32,
    /// Hexadecimal; newer versions leave out that of dstack's own events, which [`of_dstack`] computes.
    digest: String,
    /// The name of an event of dstack; empty in events of firmware.
    #[serde(default)]
    event: String,
    /// Hexadecimal; newer versions leave out that of firmware's events.
    #[serde(default)]
    event_payload: String,
}

/// Parses a log: records behind a byte 0x1e, records one after the other, or an array of records; those of dstack
/// as well. Unknown fields are ignored.
///
/// # Errors
/// The first malformed record.
pub fn parse(text: &[u8]) -> Result<Vec<Record>, Error> {
    let text = std::str::from_utf8(text).map_err(|_| Error::Text)?;
    let mut records = Vec::new();
    for part in text.split(RECORD_SEPARATOR) {
        for value in serde_json::Deserializer::from_str(part).into_iter::<Value>() {
            let value = value.map_err(|error| Error::Json(records.len() + 1, error))?;
            let values = if let Value::Array(values) = value { values } else { vec![value] };
            for value in values {
                if records.len() == RECORDS_MAX {
                    return Err(Error::Records);
                }
                let number = records.len() + 1;
                let of_dstack = value.get("imr").is_some();
                records.push(if of_dstack { dstack(number, value)? } else { record(number, value)? });
            }
        }
    }
    Ok(records)
}

fn record(number: usize, value: Value) -> Result<Record, Error> {
    let json: RecordJson = serde_json::from_value(value).map_err(|error| Error::Json(number, error))?;
    let register = match (json.pcr, json.rtmr, json.nv_index) {
        (Some(pcr), None, None) if pcr > REGISTER_MAX => return Err(Error::Number(number, "pcr", pcr, REGISTER_MAX)),
        (None, Some(rtmr), None) if rtmr > RTMR_MAX => return Err(Error::Number(number, "rtmr", rtmr, RTMR_MAX)),
        (Some(pcr), None, None) => Register::Pcr(pcr),
        (None, Some(rtmr), None) => Register::Rtmr(rtmr),
        (None, None, Some(index)) => Register::NvIndex(index),
        (None, None, None) => Register::Unnamed,
        _ => return Err(Error::Register(number)),
    };
    let (digests, malformed) = (digests(number, json.digests)?, || Error::Content(number));
    let mut record = Record { register, digests, string: None, event_type: None, boot_id: None, timestamp: None, firmware: None };
    match json.content_type.as_ref().and_then(Value::as_str) {
        Some(SYSTEMD) => {
            let content: Option<Systemd> = serde_json::from_value(json.content.unwrap_or_default()).map_err(|_| malformed())?;
            if let Some(Systemd { string, boot_id, timestamp, event_type }) = content {
                record = Record { string, event_type, boot_id, timestamp, ..record };
            }
        }
        Some(FIRMWARE) => record.firmware = Some(json.content.and_then(firmware).ok_or_else(malformed)?),
        _ => {}
    }
    Ok(record)
}

fn dstack(number: usize, value: Value) -> Result<Record, Error> {
    let json: DstackJson = serde_json::from_value(value).map_err(|error| Error::Json(number, error))?;
    if json.imr > RTMR_MAX {
        return Err(Error::Number(number, "imr", json.imr, RTMR_MAX));
    }
    let payload = hex::decode_any_case(json.event_payload.as_bytes()).ok_or(Error::Content(number))?;
    let is_left_out = json.digest.is_empty() && !json.event.is_empty();
    let digest = if is_left_out { hex::encode(&of_dstack(json.event_type, &json.event, &payload)) } else { json.digest };
    let digest = DigestJson { hash: Hash::Sha384.name().to_owned(), digest };
    let data = if json.event.is_empty() { payload } else { json.event.into_bytes() };
    let firmware = FirmwareEvent { kind: Some(json.event_type), name: json.event_type.to_string(), data };
    Ok(Record {
        register: Register::Rtmr(json.imr),
        digests: digests(number, vec![digest])?,
        string: None,
        event_type: None,
        boot_id: None,
        timestamp: None,
        firmware: Some(firmware),
    })
}

/// The digest of dstack's own events: `SHA-384(type || ":" || name || ":" || payload)`, the type as 4 bytes, little-endian.
fn of_dstack(kind: u32, name: &str, payload: &[u8]) -> Vec<u8> {
    Hash::Sha384.digest(&[&kind.to_le_bytes()[..], b":", name.as_bytes(), b":", payload].concat())
}

/// Leaves out unknown hash functions.
fn digests(number: usize, digests: Vec<DigestJson>) -> Result<Vec<(Hash, Vec<u8>)>, Error> {
    let mut known: Vec<(Hash, Vec<u8>)> = Vec::new();
    for DigestJson { hash, digest } in digests {
        let Some(hash) = Hash::from_name(&hash) else { continue };
        let bytes = hex::decode_any_case(digest.as_bytes()).filter(|bytes| bytes.len() == hash.bytes());
        let bytes = bytes.ok_or(Error::Digest(number, hash.name()))?;
        if known.iter().any(|(seen, _)| *seen == hash) {
            return Err(Error::Digest(number, hash.name()));
        }
        known.push((hash, bytes));
    }
    Ok(known)
}

fn firmware(content: Value) -> Option<FirmwareEvent> {
    let FirmwareJson { event_type: kind, event_data } = serde_json::from_value(content).ok()?;
    let (kind, name) = match kind {
        TypeJson::Number(kind) => (Some(kind), kind.to_string()),
        TypeJson::Name(name) => (event_type::number(&name), name),
    };
    Some(FirmwareEvent { kind, name, data: hex::decode_any_case(event_data.as_bytes())? })
}
