//! Reader for logs of firmware and user space, with one event type for both.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;

use encoding::hex;
use eventlog::ccel::{Error as NotALog, Event, Kind, LOG_MAX, Log, describe};
use eventlog::cel::{self, Record};
use eventlog::register::Hash;
use serde_json::{Value, json};

use super::register::Register;
use crate::quote::sources::decoded;
use crate::run::Error;

/// An event of either kind of log.
pub(crate) struct LoggedEvent {
    pub(super) register: Register,
    digests: Vec<(Hash, Vec<u8>)>,
    pub(super) extended: bool,
    kind: String,
    text: String,
    pub(super) text_proof: TextProof,
}

/// Whether the digests of an event prove its description.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TextProof {
    /// The digest is of the description.
    Proved,
    /// The digest is of other data, so the description is not proved.
    Unproved,
    /// The digest should be of the description and is not.
    Contradicted,
}

/// All logs, in the order of the command line.
#[derive(Default)]
pub(crate) struct Logs {
    pub(super) events: Vec<LoggedEvent>,
    /// The bytes of firmware logs, with the kind of machine that defines their register numbers.
    firmware: Vec<(Kind, Vec<u8>)>,
    /// The boot ids in user-space records.
    pub(super) boots: BTreeSet<String>,
    /// Initial value of PCR 0, if a log contains it.
    locality: u8,
}

impl Logs {
    /// Reads files and detects the kind of each.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut logs = Self::default();
        for path in paths {
            let bytes = read(path)?;
            // Attestation evidence contains logs as base64.
            let bytes = if Log::parse(&bytes).is_ok() { bytes } else { decoded(&bytes).unwrap_or(bytes) };
            match Log::parse(&bytes) {
                Ok(log) => {
                    let kind = log.kind();
                    if kind == Kind::Tpm {
                        logs.locality = log.startup_locality();
                    }
                    logs.events.extend(log.events.iter().map(|event| LoggedEvent::by_firmware(event, kind)));
                    logs.firmware.push((kind, bytes));
                }
                Err(firmware) => match cel::parse(&bytes) {
                    Ok(records) => {
                        logs.boots.extend(records.iter().filter_map(|record| record.boot_id.clone()));
                        logs.events.extend(records.into_iter().map(LoggedEvent::by_user_space));
                    }
                    Err(user) if firmware == NotALog::Header => return Err(Error::Log { path: path.clone(), firmware, user }),
                    Err(_) => return Err(Error::FirmwareLog { path: path.clone(), source: firmware }),
                },
            }
        }
        Ok(logs)
    }

    pub(super) fn has(&self, register: Register) -> bool {
        self.events.iter().any(|event| event.register == register && event.extended)
    }

    /// The value of the register after replay; `None` if an event lacks this digest.
    pub(super) fn replay(&self, register: Register, hash: Hash) -> Option<Vec<u8>> {
        let mut value = register.begins_with(hash, self.locality);
        for event in self.events.iter().filter(|event| event.extended && event.register == register) {
            let (_, digest) = event.digests.iter().find(|(known, _)| *known == hash)?;
            value = hash.extend(&value, digest);
        }
        Some(value)
    }

    /// The registers into which the command line was measured, with this hash function, and the component that measured it.
    pub(super) fn command_line(&self, hash: Hash, line: &str) -> Vec<(Register, &'static str)> {
        let in_log = |(kind, bytes): &(Kind, Vec<u8>)| {
            let found = Log::parse(bytes).map(|log| log.command_line_events(*kind, hash, line)).unwrap_or_default();
            found.into_iter().map(|found| (Register::of_log(*kind, found.register), found.by)).collect::<Vec<_>>()
        };
        self.firmware.iter().flat_map(in_log).collect()
    }
}

impl LoggedEvent {
    fn by_firmware(event: &Event<'_>, kind: Kind) -> Self {
        let digests = Hash::ALL.into_iter().filter_map(|hash| Some((hash, event.digest(hash)?.to_vec())));
        Self {
            register: Register::of_log(kind, event.register),
            digests: digests.collect(),
            extended: event.is_extended(),
            kind: describe::kind(event.kind),
            text: describe::text(event),
            text_proof: if describe::is_measured(event) { TextProof::Proved } else { TextProof::Unproved },
        }
    }

    fn by_user_space(record: Record) -> Self {
        let text_proof = match (record.content_matches_digests(), &record.string) {
            (false, _) => TextProof::Contradicted,
            (true, Some(_)) => TextProof::Proved,
            (true, None) => TextProof::Unproved,
        };
        Self {
            register: record.register.into(),
            digests: record.digests,
            extended: true,
            kind: printable(&record.event_type.unwrap_or_else(|| "user space".to_owned())),
            text: record.string.map_or_else(|| "(no text)".to_owned(), |text| printable(&text)),
            text_proof,
        }
    }

    pub(super) fn to_line(&self) -> String {
        // SHA-384 if present.
        let digest = self.digests.iter().find(|(hash, _)| *hash == Hash::Sha384).or(self.digests.first());
        let digest = digest.map_or_else(|| "-".to_owned(), |(_, digest)| hex::encode(digest));
        let short = digest.get(..16).unwrap_or(&digest);
        let mark = match self.text_proof {
            TextProof::Proved => '=',
            TextProof::Unproved => '?',
            TextProof::Contradicted => '!',
        };
        // An event that is not extended belongs to no register, whatever its number is.
        let register = if self.extended { self.register.to_string() } else { "-".to_owned() };
        format!("{register:<6} {short:<16} {:<32} {mark} {}", self.kind, self.text)
    }

    pub(super) fn to_json(&self) -> Value {
        let digests = self.digests.iter().map(|(hash, digest)| (hash.name().to_owned(), hex::encode(digest).into()));
        json!({
            "register": self.register.to_string(),
            "event": self.kind,
            "text": self.text,
            "extended": self.extended,
            "digests": digests.collect::<serde_json::Map<String, Value>>(),
            // Null if the description is not proved.
            "honest": match self.text_proof { TextProof::Proved => Some(true), TextProof::Unproved => None, TextProof::Contradicted => Some(false) },
        })
    }
}

/// Escapes control characters, which the writer of the log may have chosen.
fn printable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File { path: path.clone(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LOG_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LOG_MAX) {
        Ok(bytes)
    } else {
        Err(failed(ErrorKind::FileTooLarge.into()))
    }
}
