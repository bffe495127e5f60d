//! Reader for logs of firmware and user space, with one event type for both.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use encoding::hex;
use eventlog::ccel::describe::{self, Hashed};
use eventlog::ccel::{Error as NotALog, Event, Kind, LOG_MAX, Log, command_line_in};
use eventlog::cel::{self, CAP, Record};
use eventlog::register::Hash;
use serde_json::{Value, json};

use super::register::Register;
use crate::quote::sources::decoded;
use crate::run::Error;

/// Localities at which firmware starts a TPM; a hardware CRTM uses 4.
const LOCALITIES: [u8; 3] = [0, 3, 4];
/// The number of an event type whose name is unknown. No specification has it.
const UNKNOWN_TYPE: u32 = u32::MAX;

/// An event of either kind of log.
pub(crate) struct LoggedEvent {
    pub(super) register: Register,
    digests: Vec<(Hash, Vec<u8>)>,
    pub(super) extended: bool,
    /// Whether the log says that firmware or a boot loader measured it.
    by_firmware: bool,
    kind: String,
    /// The description, without a prefix that is not hashed where the rest is.
    text: String,
    /// A prefix of the description that is not hashed.
    prefix: Option<&'static str>,
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
    pub(crate) events: Vec<LoggedEvent>,
    /// The bytes of firmware's logs.
    pub(crate) firmware: Vec<Vec<u8>>,
    /// The boot ids in user-space records.
    pub(super) boots: BTreeSet<String>,
    /// Initial value of PCR 0, if a log contains it.
    locality: Option<u8>,
    /// Files that have SHA-1 digests alone: a replay of them verifies nothing.
    pub(super) of_sha1: Vec<PathBuf>,
}

impl Logs {
    /// Reads files and detects the kind of each.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut logs = Self::default();
        for path in paths {
            let bytes = read(path)?;
            // Attestation evidence contains logs as base64.
            let is_known = Log::parse(&bytes).is_ok() || Log::parse_sha1(&bytes).is_ok();
            let bytes = if is_known { bytes } else { decoded(&bytes).unwrap_or(bytes) };
            match firmware_log(&bytes) {
                Ok(log) => {
                    logs.add_firmware(path, &log);
                    logs.firmware.push(bytes);
                }
                Err(firmware) => match cel::parse(&bytes) {
                    Ok(records) => logs.add_records(&records),
                    Err(user) if firmware == NotALog::Header => return Err(Error::Log { path: path.clone(), firmware, user }),
                    Err(_) => return Err(Error::FirmwareLog { path: path.clone(), source: firmware }),
                },
            }
        }
        Ok(logs)
    }

    fn add_firmware(&mut self, path: &Path, log: &Log<'_>) {
        let kind = log.kind();
        if kind == Kind::Tpm {
            self.locality = Some(log.startup_locality());
        }
        if log.is_sha1_alone() {
            self.of_sha1.push(path.to_owned());
        }
        self.events
            .extend(log.events.iter().map(|event| LoggedEvent::by_firmware(event, Register::of_log(kind, event.register))));
    }

    fn add_records(&mut self, records: &[Record]) {
        for record in records {
            self.boots.extend(record.boot_id.clone());
            let event = match &record.firmware {
                None => LoggedEvent::by_user_space(record),
                Some(firmware) => {
                    let number = if let cel::Register::Pcr(number) = record.register { number } else { u32::MAX };
                    let digests = record.digests.iter().map(|(hash, digest)| (*hash, digest.as_slice()));
                    let event = Event::new(number, firmware.kind.unwrap_or(UNKNOWN_TYPE), digests, &firmware.data);
                    self.locality = event.startup_locality().or(self.locality);
                    let kind = firmware.kind.map_or_else(|| printable(&firmware.name), describe::kind);
                    LoggedEvent { kind, ..LoggedEvent::by_firmware(&event, record.register.into()) }
                }
            };
            self.events.push(event);
        }
    }

    pub(super) fn has(&self, register: Register) -> bool {
        self.of(register).next().is_some()
    }

    /// The extended events of a register, in order.
    pub(crate) fn of(&self, register: Register) -> impl Iterator<Item = &LoggedEvent> {
        self.events.iter().filter(move |event| event.extended && event.register == register)
    }

    /// Number of records that belong to no register with which logs are compared.
    pub(super) fn skipped(&self) -> usize {
        self.events.iter().filter(|event| !event.register.is_compared()).count()
    }

    /// The value of the register after replay; `None` if an event lacks this digest. Arrays of systemd-pcrlock lack the event with the
    /// startup locality, so the one that makes PCR 0 `expected` is taken if there is one.
    pub(super) fn replay(&self, register: Register, hash: Hash, expected: &[u8]) -> Option<Vec<u8>> {
        let localities = self.locality.map_or(LOCALITIES.to_vec(), |locality| vec![locality]);
        let values = localities.into_iter().map(|locality| {
            let mut value = register.begins_with(hash, locality);
            for event in self.of(register) {
                value = hash.extend(&value, event.digest(hash)?);
            }
            Some(value)
        });
        let values: Vec<_> = values.collect::<Option<_>>()?;
        values.iter().find(|value| *value == expected).or(values.first()).cloned()
    }

    /// The value of RTMR2 before the cap of PID 1 (or after the last event without one), and the number of its events until then.
    pub(crate) fn before_cap(&self) -> Option<(Vec<u8>, usize)> {
        let cap = Hash::Sha384.digest(CAP.as_bytes());
        let digests = self.of(Register::Rtmr(2)).map(|event| event.digest(Hash::Sha384)).collect::<Option<Vec<_>>>()?;
        let count = digests.iter().position(|digest| *digest == cap).unwrap_or(digests.len());
        Some((Hash::Sha384.replay(digests.into_iter().take(count)), count))
    }

    /// The digests of the command line in this hash function: register, place among its events, and the component with this encoding.
    pub(super) fn command_line(&self, hash: Hash, line: &str) -> Vec<(Register, usize, &'static str)> {
        let events = self.events.iter().enumerate();
        let events = events.filter(|(_, event)| event.extended && event.by_firmware && event.register.is_for_command_lines());
        let found = events.filter_map(|(at, event)| {
            let by = command_line_in(hash, event.digest(hash)?, line)?;
            let place = self.events.iter().take(at).filter(|other| other.extended && other.register == event.register).count();
            Some((event.register, place, by))
        });
        found.collect()
    }
}

impl LoggedEvent {
    fn by_firmware(event: &Event<'_>, register: Register) -> Self {
        let digests = Hash::ALL.into_iter().filter_map(|hash| Some((hash, event.digest(hash)?.to_vec())));
        let text = describe::text(event);
        let (text_proof, prefix) = match describe::hashed(event) {
            Hashed::Nothing => (TextProof::Unproved, None),
            Hashed::Whole => (TextProof::Proved, None),
            Hashed::Behind(prefix) => (TextProof::Proved, Some(prefix)),
        };
        Self {
            register,
            digests: digests.collect(),
            extended: event.is_extended() && register.is_compared(),
            by_firmware: true,
            kind: describe::kind(event.kind),
            text: prefix.and_then(|prefix| text.strip_prefix(prefix)).unwrap_or(&text).to_owned(),
            prefix,
            text_proof,
        }
    }

    fn by_user_space(record: &Record) -> Self {
        let register = Register::from(record.register);
        let text_proof = match (record.content_matches_digests(), &record.string) {
            // Nothing compares what is not replayed.
            _ if !register.is_compared() => TextProof::Unproved,
            (false, _) => TextProof::Contradicted,
            (true, Some(_)) if !record.is_keyed() => TextProof::Proved,
            (true, _) => TextProof::Unproved,
        };
        Self {
            register,
            digests: record.digests.clone(),
            extended: register.is_compared(),
            by_firmware: false,
            kind: printable(record.event_type.as_deref().unwrap_or("user space")),
            text: record.string.as_deref().map_or_else(|| "(no text)".to_owned(), printable),
            prefix: None,
            text_proof,
        }
    }

    /// The digest in this hash function.
    pub(crate) fn digest(&self, hash: Hash) -> Option<&[u8]> {
        self.digests.iter().find(|(known, _)| *known == hash).map(|(_, digest)| digest.as_slice())
    }

    pub(super) fn to_line(&self) -> String {
        // SHA-384 if present.
        let digest = self.digest(Hash::Sha384).or(self.digests.first().map(|(_, digest)| digest.as_slice()));
        let digest = digest.map_or_else(|| "-".to_owned(), hex::encode);
        let short = digest.get(..16).unwrap_or(&digest);
        let mark = match self.text_proof {
            TextProof::Proved => '=',
            TextProof::Unproved => '?',
            TextProof::Contradicted => '!',
        };
        // An event that is not extended belongs to no register, whatever its number is.
        let register = if self.extended || !self.register.is_compared() { self.register.to_string() } else { "-".to_owned() };
        let prefix = self.prefix.map(|prefix| format!(" (behind {prefix:?}, which is not hashed)")).unwrap_or_default();
        format!("{register:<6} {short:<16} {:<32} {mark} {}{prefix}", self.kind, self.text)
    }

    pub(super) fn to_json(&self) -> Value {
        let digests = self.digests.iter().map(|(hash, digest)| (hash.name().to_owned(), hex::encode(digest).into()));
        json!({
            "register": self.register.to_string(),
            "nv_index": if let Register::NvPcr(index) = self.register { Some(index) } else { None },
            "event": self.kind,
            "text": self.text,
            // Precedes the text in the log, and is not hashed.
            "prefix": self.prefix,
            "extended": self.extended,
            "digests": digests.collect::<serde_json::Map<String, Value>>(),
            // Null if the description is not proved.
            "honest": match self.text_proof { TextProof::Proved => Some(true), TextProof::Unproved => None, TextProof::Contradicted => Some(false) },
        })
    }
}

/// Parses a log of firmware in either form.
pub(crate) fn firmware_log(bytes: &[u8]) -> Result<Log<'_>, NotALog> {
    match Log::parse(bytes) {
        Err(NotALog::Header) => Log::parse_sha1(bytes),
        parsed => parsed,
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
