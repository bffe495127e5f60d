//! Reads the bundle of somebody else: an in-toto statement, alone or as the payload of a DSSE envelope, which may be in a Sigstore bundle.
//!
//! Nothing here verifies a signature. The statement is parsed strictly, so that no other reader finds another value in it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use encoding::strict_json;
use serde_json::Value;

use super::{PREDICATE_TYPE, PREDICATE_VERSION, STATEMENT_TYPE};
use crate::quote::sources::base64;
use crate::run;

/// The largest file in bytes. A statement of an image with shim and GRUB has about 100 KB.
const FILE_MAX: u64 = 4 << 20;
/// The type of a payload that is an in-toto statement.
///
/// Source: in-toto attestation framework 1.1, `spec/v1/envelope.md`.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The most characters of a text of the file in a message.
const QUOTED_MAX: usize = 100;

/// Why a file is not a bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Bytes that are not text.
    #[error("expected UTF-8")]
    Text,
    /// A text that is not JSON, or that two readers could read differently.
    #[error("{0}: expected JSON without repeated keys, fractions and NULs")]
    Json(&'static str, #[source] serde_json::Error),
    /// JSON of another kind.
    #[error("expected an in-toto statement (_type), a DSSE envelope (payload) or a Sigstore bundle (dsseEnvelope)")]
    Form,
    /// The signature of a file that is not in the bundle.
    #[error("a Sigstore bundle of cosign sign-blob does not contain the signed file: give that file")]
    Detached,
    /// An envelope around something other than a statement.
    #[error("payloadType: expected {PAYLOAD_TYPE}, found {0}")]
    PayloadType(String),
    /// An envelope without a readable payload.
    #[error("payload: expected base64")]
    Payload,
    /// A statement of another version of the framework.
    #[error("_type: expected {STATEMENT_TYPE}, found {0}")]
    StatementType(String),
    /// A statement about something else.
    #[error("predicateType: expected {PREDICATE_TYPE}{PREDICATE_VERSION}, found {0}")]
    PredicateType(String),
    /// A statement about measurements, in a version that this program does not know.
    #[error("predicateType: expected version {PREDICATE_VERSION}, found {0}: use the version of cvmctl that wrote the bundle")]
    Version(String),
}

/// How the statement was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The statement itself.
    Statement,
    /// A DSSE envelope.
    Envelope,
    /// A Sigstore bundle with a DSSE envelope.
    SigstoreBundle,
}

impl Form {
    /// What to do about the signature, which this program does not verify.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::Statement => {
                "the file contains no signature: cvmctl verified none; use ssh-keygen -Y verify or cosign verify-blob"
            }
            Self::Envelope | Self::SigstoreBundle => {
                "signature not verified by cvmctl: use cosign verify-blob-attestation, or the tool that signed"
            }
        }
    }

    /// Its name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Envelope => "dsse",
            Self::SigstoreBundle => "sigstore",
        }
    }
}

/// Reads a file of at most [`FILE_MAX`] bytes.
pub(crate) fn file(path: &Path) -> Result<(Form, Value), run::Error> {
    let failed = |source| run::Error::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_MAX) {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    statement(&bytes).map_err(|source| run::Error::Bundle { path: path.to_owned(), source })
}

/// Returns the statement in `bytes`, whose predicate has the type and version that this program writes.
///
/// # Errors
/// For JSON that is not a bundle, or not of this version.
pub(super) fn statement(bytes: &[u8]) -> Result<(Form, Value), Error> {
    let outer = json("the file", bytes)?;
    let (form, statement) = if outer.get("_type").is_some() {
        (Form::Statement, outer)
    } else if let Some(envelope) = outer.get("dsseEnvelope") {
        (Form::SigstoreBundle, payload(envelope)?)
    } else if outer.get("payload").is_some() {
        (Form::Envelope, payload(&outer)?)
    } else if outer.get("messageSignature").is_some() {
        return Err(Error::Detached);
    } else {
        return Err(Error::Form);
    };
    let types = |key: &str| quoted(statement.get(key).unwrap_or(&Value::Null));
    if statement.get("_type").and_then(Value::as_str) != Some(STATEMENT_TYPE) {
        return Err(Error::StatementType(types("_type")));
    }
    match statement.get("predicateType").and_then(Value::as_str).and_then(|text| text.strip_prefix(PREDICATE_TYPE)) {
        Some(PREDICATE_VERSION) => Ok((form, statement)),
        Some(version) => Err(Error::Version(quoted(&version.into()))),
        None => Err(Error::PredicateType(types("predicateType"))),
    }
}

/// The statement in a DSSE envelope. Other fields are ignored, as the format demands.
///
/// Source: DSSE 1.0.2, `envelope.md`.
fn payload(envelope: &Value) -> Result<Value, Error> {
    let kind = envelope.get("payloadType").unwrap_or(&Value::Null);
    if kind.as_str() != Some(PAYLOAD_TYPE) {
        return Err(Error::PayloadType(quoted(kind)));
    }
    let text = envelope.get("payload").and_then(Value::as_str).ok_or(Error::Payload)?;
    json("the payload", &base64(text.as_bytes()).ok_or(Error::Payload)?)
}

fn json(part: &'static str, bytes: &[u8]) -> Result<Value, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Text)?;
    strict_json::parse(text).map_err(|source| Error::Json(part, source))
}

/// A value for a message: in ASCII, on one line, cut after [`QUOTED_MAX`] characters.
pub(super) fn quoted(value: &Value) -> String {
    let (text, length) = match value {
        Value::Null => return "nothing".to_owned(),
        Value::String(text) => (text.clone(), text.chars().count()),
        other => {
            let text = other.to_string();
            let length = text.chars().count();
            (text, length)
        }
    };
    let start: String = text.chars().take(QUOTED_MAX).collect();
    let start = ctl::escape(&start).replace('\n', "\\n");
    if length > QUOTED_MAX { format!("{start}... ({length} characters)") } else { start }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use failure::chain;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn plain() -> Value {
        json!({ "_type": STATEMENT_TYPE, "predicateType": format!("{PREDICATE_TYPE}{PREDICATE_VERSION}"), "predicate": { "x": "?>~" } })
    }

    fn read(value: &Value) -> Result<(Form, Value), String> {
        statement(value.to_string().as_bytes()).map_err(|error| chain(&error))
    }

    #[test]
    fn a_statement_is_read_from_each_form() {
        let text = plain().to_string();
        for payload in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            let envelope = json!({ "payloadType": PAYLOAD_TYPE, "payload": payload, "signatures": [{ "sig": "" }], "more": 1 });
            assert_eq!(read(&envelope), Ok((Form::Envelope, plain())));
            let bundle = json!({ "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope });
            assert_eq!(read(&bundle), Ok((Form::SigstoreBundle, plain())));
        }
        assert_eq!(read(&plain()), Ok((Form::Statement, plain())));
    }

    #[test]
    fn other_files_are_refused_with_what_was_expected() {
        let changed = |key: &str, value: Value| {
            let mut statement = plain();
            statement[key] = value;
            read(&statement).unwrap_err()
        };
        let version = format!("{PREDICATE_TYPE}2");
        assert_eq!(
            changed("predicateType", version.into()),
            "predicateType: expected version 1, found 2: use the version of cvmctl that wrote the bundle"
        );
        assert!(changed("predicateType", Value::Null).ends_with("found nothing"));
        assert!(
            changed("predicateType", "https://slsa.dev/provenance/v1".into()).ends_with("found https://slsa.dev/provenance/v1")
        );
        assert!(
            changed("_type", "https://in-toto.io/Statement/v0.1".into()).ends_with("found https://in-toto.io/Statement/v0.1")
        );
        assert!(changed("_type", json!([1])).ends_with("found [1]"));
        let long = changed("_type", format!("\u{1b}[2J\n{}", "x".repeat(1 << 20)).into());
        assert!(long.len() < 300 && long.is_ascii() && !long.contains(['\u{1b}', '\n']), "{long}");
        let envelope = |kind: &str, payload: Value| read(&json!({ "payloadType": kind, "payload": payload })).unwrap_err();
        assert_eq!(envelope("text/plain", "".into()), "payloadType: expected application/vnd.in-toto+json, found text/plain");
        for payload in [json!("*"), json!(1), Value::Null] {
            assert_eq!(envelope(PAYLOAD_TYPE, payload), "payload: expected base64");
        }
        assert!(envelope(PAYLOAD_TYPE, STANDARD.encode("{").into()).starts_with("the payload: expected JSON"));
        assert!(envelope(PAYLOAD_TYPE, STANDARD.encode([0xff]).into()).starts_with("expected UTF-8"));
        assert!(read(&json!({ "messageSignature": {} })).unwrap_err().contains("give that file"));
        for other in [json!({}), json!([]), json!("x"), json!({ "payloadtype": "" })] {
            assert!(read(&other).unwrap_err().starts_with("expected an in-toto statement"), "{other}");
        }
    }

    #[test]
    fn a_text_that_two_readers_could_read_differently_is_refused() {
        let text = plain().to_string();
        for (from, to) in [("\"x\":", "\"x\":1,\"x\":"), ("\"?>~\"", "1.0"), ("\"?>~\"", "\"\\u0000\""), ("{\"x\"", "{,\"x\"")] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert!(matches!(statement(changed.as_bytes()), Err(Error::Json("the file", _))), "{changed}");
            let envelope = json!({ "payloadType": PAYLOAD_TYPE, "payload": STANDARD.encode(changed) }).to_string();
            assert!(matches!(statement(envelope.as_bytes()), Err(Error::Json("the payload", _))));
        }
        let deep = "[".repeat(1 << 20);
        assert!(matches!(statement(deep.as_bytes()), Err(Error::Json("the file", _))));
    }

    proptest! {
        #[test]
        fn statement_never_panics(text in "[ {}\\[\\]\":,_a-z0-9\\\\]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _results = (statement(text.as_bytes()), statement(&bytes));
        }
    }
}
