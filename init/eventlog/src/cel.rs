//! The log of measurements by user space: TCG's Canonical Event Log in JSON, in the form of systemd's
//! `/run/log/systemd/tpm2-measure.log`, which systemd-pcrlock reads. Each record is JSON between a byte 0x1e and a newline (RFC 7464).
//!
//! systemd supports PCRs only. Records of cvm-init may have `rtmr` instead of `pcr`; they are in a file of their own, since pcrlock
//! refuses a log with such a record.
//!
//! Source: TCG Canonical Event Log Format 1.0, section 5; systemd 257, src/shared/tpm2-util.c (`tpm2_userspace_log`).

use encoding::hex;
use serde::{Deserialize, Serialize};

use crate::register::Hash;

/// The byte before each record.
const RECORD_SEPARATOR: char = '\x1e';
/// The `content_type` of systemd: `string` in `content` is the hashed text.
pub const SYSTEMD: &str = "systemd";

/// The text of the cap, PID 1's last event, which it extends into RTMR2 as well.
pub const CAP: &str = r#"{"cvm-init":"leave-initrd"}"#;

/// Why a log is refused. Numbers count records from 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not UTF-8.
    #[error("event log is not text")]
    Text,
    /// Not JSON, or not the fields of a record.
    #[error("record {0}")]
    Json(usize, #[source] serde_json::Error),
    /// Neither `pcr` nor `rtmr`, or both.
    #[error("record {0} must have either pcr or rtmr")]
    Register(usize),
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
}

#[derive(Serialize, Deserialize)]
struct RecordJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pcr: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rtmr: Option<u32>,
    digests: Vec<DigestJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

#[derive(Serialize, Deserialize)]
struct DigestJson {
    #[serde(rename = "hashAlg")]
    hash: String,
    digest: String,
}

/// `content` in systemd's form, or that of another content type.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Systemd(Systemd),
    Other(serde_json::Value),
}

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
    /// Encodes the record, with separator and newline.
    ///
    /// # Errors
    /// As `serde_json`; none is known.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let (pcr, rtmr) = match self.register {
            Register::Pcr(number) => (Some(number), None),
            Register::Rtmr(number) => (None, Some(number)),
        };
        let digests =
            self.digests.iter().map(|(hash, digest)| DigestJson { hash: hash.name().to_owned(), digest: hex::encode(digest) });
        let content = Systemd {
            string: self.string.clone(),
            boot_id: self.boot_id.clone(),
            timestamp: self.timestamp,
            event_type: self.event_type.clone(),
        };
        let json = RecordJson {
            pcr,
            rtmr,
            digests: digests.collect(),
            content_type: Some(SYSTEMD.to_owned()),
            content: Some(Content::Systemd(content)),
        };
        Ok(format!("{RECORD_SEPARATOR}{}\n", serde_json::to_string(&json)?))
    }

    /// Returns the digest in this hash function.
    #[must_use]
    pub fn digest(&self, hash: Hash) -> Option<&[u8]> {
        self.digests.iter().find(|(known, _)| *known == hash).map(|(_, digest)| digest.as_slice())
    }

    /// Whether there is a digest, and all digests are those of `string`. A record without a text is accepted.
    #[must_use]
    pub fn content_matches_digests(&self) -> bool {
        let is_of = |text: &String| self.digests.iter().all(|(hash, digest)| hash.digest(text.as_bytes()) == *digest);
        self.string.as_ref().is_none_or(|text| !self.digests.is_empty() && is_of(text))
    }
}

/// Parses a log. Unknown fields are ignored.
///
/// # Errors
/// The first malformed record.
pub fn parse(text: &[u8]) -> Result<Vec<Record>, Error> {
    let text = std::str::from_utf8(text).map_err(|_| Error::Text)?;
    let records = text.split(RECORD_SEPARATOR).filter(|record| !record.trim().is_empty()).enumerate();
    records.map(|(index, text)| record(index + 1, text)).collect()
}

fn record(number: usize, text: &str) -> Result<Record, Error> {
    let json: RecordJson = serde_json::from_str(text).map_err(|error| Error::Json(number, error))?;
    let register = match (json.pcr, json.rtmr) {
        (Some(number), None) => Register::Pcr(number),
        (None, Some(number)) => Register::Rtmr(number),
        _ => return Err(Error::Register(number)),
    };
    let mut digests = Vec::with_capacity(json.digests.len());
    for DigestJson { hash, digest } in json.digests {
        if let Some(hash) = Hash::from_name(&hash) {
            let malformed = || Error::Digest(number, hash.name());
            let bytes =
                hex::decode_any_case(digest.as_bytes()).filter(|bytes| bytes.len() == hash.bytes()).ok_or_else(malformed)?;
            digests.push((hash, bytes));
        }
    }
    let content = match json.content {
        Some(Content::Systemd(content)) if json.content_type.as_deref() == Some(SYSTEMD) => content,
        Some(Content::Other(_)) if json.content_type.as_deref() == Some(SYSTEMD) => return Err(Error::Content(number)),
        _ => Systemd { string: None, boot_id: None, timestamp: None, event_type: None },
    };
    let Systemd { string, boot_id, timestamp, event_type } = content;
    Ok(Record { register, digests, string, event_type, boot_id, timestamp })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record of `systemd-pcrphase enter-initrd` by systemd 257, from the sources of `tpm2_userspace_log`; digests by Python 3.11 hashlib.
    const OF_SYSTEMD: &str = concat!(
        "\x1e{\"pcr\":11,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":",
        "\"51e6b92f405d1f98d96e3de343d61d420ad6923b25de21d766f9298192f14fed\"},",
        "{\"hashAlg\":\"sm3_256\",\"digest\":\"00\"}],",
        "\"content_type\":\"systemd\",\"content\":{\"string\":\"enter-initrd\",\"bootId\":\"0123456789abcdef0123456789abcdef\",",
        "\"timestamp\":1234567,\"eventType\":\"phase\"}}\n"
    );

    fn cap_record(register: Register) -> Record {
        let string = r#"{"cvm-init":"leave-initrd"}"#;
        Record {
            register,
            digests: [Hash::Sha256, Hash::Sha384].map(|hash| (hash, hash.digest(string.as_bytes()))).to_vec(),
            string: Some(string.to_owned()),
            event_type: Some("phase".to_owned()),
            boot_id: None,
            timestamp: Some(7),
        }
    }

    #[test]
    fn records_of_systemd_are_read() {
        let [record] = parse(OF_SYSTEMD.as_bytes()).unwrap().try_into().unwrap();
        assert_eq!((record.register, record.string.as_deref()), (Register::Pcr(11), Some("enter-initrd")));
        assert_eq!((record.event_type.as_deref(), record.timestamp, record.digests.len()), (Some("phase"), Some(1_234_567), 1));
        assert!(record.content_matches_digests());
    }

    #[test]
    fn written_records_are_read_back() {
        let records = vec![cap_record(Register::Pcr(15)), cap_record(Register::Rtmr(3))];
        let text: String = records.iter().map(|record| record.to_text().unwrap()).collect();
        assert!(text.starts_with("\x1e{\"pcr\":15,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":\""));
        assert_eq!(parse(text.as_bytes()).unwrap(), records);
    }

    #[test]
    fn digest_of_another_text_is_found() {
        let mut record = cap_record(Register::Pcr(15));
        record.string = Some("something else".to_owned());
        assert!(!record.content_matches_digests());
        record.string = None;
        assert!(record.content_matches_digests());
        let nothing = Record { digests: Vec::new(), ..cap_record(Register::Pcr(15)) };
        assert!(!nothing.content_matches_digests(), "a text without a digest is not measured");
    }

    #[test]
    fn malformed_records_are_refused() {
        let cases = [
            ("\x1e{", "record 1"),
            ("\x1e{\"digests\":[]}", "record 1 must have either pcr or rtmr"),
            ("\x1e{\"pcr\":1,\"rtmr\":3,\"digests\":[]}", "record 1 must have either pcr or rtmr"),
            ("\x1e{\"pcr\":1,\"digests\":[{\"hashAlg\":\"sha1\",\"digest\":\"0g\"}]}", "record 1: the sha1 digest is malformed"),
            (
                "\x1e{\"pcr\":1,\"digests\":[]}\n\x1e{\"pcr\":1,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":\"00\"}]}",
                "record 2: the sha256 digest is malformed",
            ),
            (
                "\x1e{\"pcr\":1,\"digests\":[],\"content_type\":\"systemd\",\"content\":{\"string\":7}}",
                "record 1: content does not have the form of its content_type",
            ),
            ("\x1e{\"pcr\":-1,\"digests\":[]}", "record 1"),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), want, "{text}");
        }
        assert_eq!(parse(b"\xff").unwrap_err().to_string(), "event log is not text");
        assert_eq!(parse(b"").unwrap(), []);
    }

    proptest! {
        #[test]
        fn any_text_is_a_log_or_refused(text in "(\\x1e|\\{|\\}|\"pcr\":|\"rtmr\":|[0-9]|\"digests\":\\[|\\]|,|[a-z\"])*") {
            drop(parse(text.as_bytes()));
        }
    }
}
