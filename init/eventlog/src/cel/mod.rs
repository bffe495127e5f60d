//! The log of measurements by user space: TCG's Canonical Event Log in JSON, in the form of systemd's
//! `/run/log/systemd/tpm2-measure.log`, which systemd-pcrlock reads. Each record is JSON between a byte 0x1e and a newline (RFC 7464).
//! The array that `systemd-pcrlock cel` prints, which has firmware's events as well, is read too.
//!
//! Records of cvm-init may have `rtmr` instead of `pcr`; they are in a file of their own, since pcrlock refuses a log with such a record.
//! Later versions of systemd have a file of their own for them too (`cc-measure.log`).
//!
//! Source: TCG Canonical Event Log Format 1.0, section 5; systemd, src/shared/tpm2-util.c (`tpm2_userspace_log`), src/shared/tdx-rtmr.c
//! (`tdx_rtmr_extend_digest`), src/pcrlock/pcrlock.c (`event_log_record_to_cel`).

mod parse;
#[cfg(test)]
mod tests;

use encoding::hex;
use serde::{Deserialize, Serialize};

use crate::register::Hash;
pub use parse::parse;

/// The byte before each record.
const RECORD_SEPARATOR: char = '\x1e';
/// The `content_type` of systemd: `string` in `content` is the hashed text.
pub const SYSTEMD: &str = "systemd";

/// The text of the cap, PID 1's last event, which it extends into RTMR2 as well.
pub const CAP: &str = r#"{"cvm-init":"leave-initrd"}"#;

/// `eventType` of systemd's records whose digest is keyed by a secret, so that it is never that of their text.
const KEYED: [&str; 2] = ["volume-key", "nvpcr-init"];

/// Why a log is refused. Numbers count records from 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not UTF-8.
    #[error("event log is not text")]
    Text,
    /// Not JSON, or not the fields of a record.
    #[error("record {0}")]
    Json(usize, #[source] serde_json::Error),
    /// More than one of `pcr`, `rtmr` and `nv_index`.
    #[error("record {0} must have one of pcr, rtmr and nv_index")]
    Register(usize),
    /// A register that no machine has.
    #[error("record {0}: {1} {2}, expected 0 to {3}")]
    Number(usize, &'static str, u32, u32),
    /// More records than [`parse::RECORDS_MAX`].
    #[error("event log with more than {} records", parse::RECORDS_MAX)]
    Records,
    /// `content` does not have the form of its type.
    #[error("record {0}: content does not have the form of its content_type")]
    Content(usize),
    /// A digest that is not hexadecimal, or has a wrong length.
    #[error("record {0}: the {1} digest is malformed")]
    Digest(usize, &'static str),
}

/// A register that user space extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Register {
    /// A PCR of a TPM.
    Pcr(u32),
    /// An RTMR of a TD.
    Rtmr(u32),
    /// An NV index of a TPM, which systemd extends as an additional register (NvPCR). Quotes do not contain it.
    NvIndex(u32),
    /// The record names no register.
    Unnamed,
}

/// An event of firmware in this form of log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareEvent {
    /// The number of its type, if the name is known.
    pub kind: Option<u32>,
    /// The name of its type.
    pub name: String,
    /// The data of the event. Only for some event types it is what was hashed.
    pub data: Vec<u8>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The extended register.
    pub register: Register,
    /// The extended digests. Unknown hash functions are left out.
    pub digests: Vec<(Hash, Vec<u8>)>,
    /// The hashed text, where the record has systemd's form.
    pub string: Option<String>,
    /// systemd's type of the event: `phase`, `machine-id`, ...
    pub event_type: Option<String>,
    /// The boot ID: 32 hexadecimal digits.
    pub boot_id: Option<String>,
    /// The time in microseconds since the kernel started.
    pub timestamp: Option<u64>,
    /// The event, where firmware or a boot loader measured it.
    pub firmware: Option<FirmwareEvent>,
}

#[derive(Serialize)]
struct RecordJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pcr: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmr: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nv_index: Option<u32>,
    digests: Vec<DigestJson>,
    content_type: &'static str,
    content: Systemd,
}

#[derive(Serialize, Deserialize)]
struct DigestJson {
    #[serde(rename = "hashAlg")]
    hash: String,
    digest: String,
}

/// `content` in systemd's form.
#[derive(Serialize, Deserialize)]
struct Systemd {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    string: Option<String>,
    #[serde(rename = "bootId", default, skip_serializing_if = "Option::is_none")]
    boot_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(rename = "eventType", default, skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
}

impl Record {
    /// Encodes the record, with separator and newline, without [`Record::firmware`].
    ///
    /// # Errors
    /// As `serde_json`; none is known.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let (pcr, rtmr, nv_index) = match self.register {
            Register::Pcr(number) => (Some(number), None, None),
            Register::Rtmr(number) => (None, Some(number), None),
            Register::NvIndex(number) => (None, None, Some(number)),
            Register::Unnamed => (None, None, None),
        };
        let digests =
            self.digests.iter().map(|(hash, digest)| DigestJson { hash: hash.name().to_owned(), digest: hex::encode(digest) });
        let content = Systemd {
            string: self.string.clone(),
            boot_id: self.boot_id.clone(),
            timestamp: self.timestamp,
            event_type: self.event_type.clone(),
        };
        let json = RecordJson { pcr, rtmr, nv_index, digests: digests.collect(), content_type: SYSTEMD, content };
        Ok(format!("{RECORD_SEPARATOR}{}\n", serde_json::to_string(&json)?))
    }

    /// Returns the digest in this hash function.
    #[must_use]
    pub fn digest(&self, hash: Hash) -> Option<&[u8]> {
        self.digests.iter().find(|(known, _)| *known == hash).map(|(_, digest)| digest.as_slice())
    }

    /// Whether there is a digest, and all digests are those of `string`. A record without a text, or with keyed digests, is accepted.
    #[must_use]
    pub fn content_matches_digests(&self) -> bool {
        let is_of = |text: &String| self.digests.iter().all(|(hash, digest)| hash.digest(text.as_bytes()) == *digest);
        self.is_keyed() || self.string.as_ref().is_none_or(|text| !self.digests.is_empty() && is_of(text))
    }

    /// Whether systemd keys the digests of such records by a secret, so that nobody without it can compare them with the text.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.event_type.as_deref().is_some_and(|kind| KEYED.contains(&kind))
    }
}
