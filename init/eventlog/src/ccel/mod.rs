//! The event log of firmware and boot loaders: that of a TD, to which the ACPI table CCEL points, and that of a TPM
//! (`binary_bios_measurements`), in the crypto-agile form, and in the older one with SHA-1 alone ([`Log::parse_sha1`]). The log is not
//! trusted; only a replay to the registers verifies it.
//!
//! Source: TCG PC Client Platform Firmware Profile 1.06, section 10; UEFI 2.10, section 38.

mod command_line;
pub mod describe;
pub mod event_type;
mod sha1;
#[cfg(test)]
mod tests;

pub use command_line::{CommandLineEvent, command_line_in};

use crate::register::Hash;
use encoding::fields::{le_u16, le_u32};

/// The longest log that is read, in bytes: firmware reserves 64 KiB to 1 MiB.
pub const LOG_MAX: u64 = 4 << 20;
/// The most hash functions of a log, and digests of an event: real logs have one to five.
const ALGORITHMS_MAX: usize = 16;
/// The longest digest, in bytes: that of SHA-512.
const DIGEST_MAX: usize = 64;
/// The most events: real logs have some hundred.
const EVENTS_MAX: usize = 16 << 10;

/// The highest register of a TPM; those of a TD are 0 to 4.
pub const REGISTER_MAX: u32 = 23;
/// The word behind the last event of edk2, and the register in events of Windows that belong to none.
const NO_REGISTER: u32 = u32::MAX;

/// The type of events that are not extended into a register.
pub const EV_NO_ACTION: u32 = 3;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// Why a log is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A record is longer than the rest of the log.
    #[error("event log: the record at byte {0} is truncated")]
    Truncated(usize),
    /// No `Spec ID Event03` at the start.
    #[error("not an event log of firmware")]
    Header,
    /// The ACPI table CCEL instead of the log.
    #[error("this is the ACPI table CCEL, not the log; in sysfs, the log is the file CCEL in the directory `data`")]
    Table,
    /// No hash function or too many, or too many digests in one event: the byte offset, and the number.
    #[error("event log: {1} digests in the record at byte {0}")]
    Algorithms(usize, usize),
    /// More events than [`EVENTS_MAX`].
    #[error("event log with more than {EVENTS_MAX} events")]
    Events,
    /// A hash function that the header does not name, has twice or with a wrong length: the byte offset, and its `TPM_ALG_ID`.
    #[error("event log: unexpected hash function {1:#x} in the record at byte {0}")]
    Algorithm(usize, u16),
    /// An extended register that no machine has: the byte offset of the record, and the number.
    #[error("event log: register {1} in the record at byte {0}, expected 0 to {REGISTER_MAX}")]
    Register(usize, u32),
    /// The end mark inside of a log: the byte offsets of the mark, and of the first byte behind it that is no padding.
    #[error("event log: data at byte {1}, behind the end mark (0xffffffff) at byte {0}")]
    BehindEnd(usize, usize),
}

/// Which registers the numbers of a log mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A confidential computing log: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    Cc,
    /// A log of a TPM: the numbers are PCRs.
    Tpm,
}

/// A parsed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log<'a> {
    /// The register in the header: 1 in edk2's confidential computing log, else 0.
    header_register: u32,
    /// Hash functions of the header, as `TPM_ALG_ID`.
    pub algorithms: Vec<u16>,
    /// The events in the order of the log.
    pub events: Vec<Event<'a>>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The number of the register; its meaning depends on [`Kind`].
    pub register: u32,
    /// The event type (`EV_*`).
    pub kind: u32,
    digests: Vec<(u16, &'a [u8])>,
    /// The data of the event. Only for some event types it is what was hashed.
    pub data: &'a [u8],
}

impl<'a> Event<'a> {
    /// Makes an event of another form of log. `digests` are in the lengths of their hash functions.
    #[must_use]
    pub fn new(register: u32, kind: u32, digests: impl IntoIterator<Item = (Hash, &'a [u8])>, data: &'a [u8]) -> Self {
        Self { register, kind, digests: digests.into_iter().map(|(hash, digest)| (hash.id(), digest)).collect(), data }
    }

    /// Returns the digest in this hash function, if the log contains it.
    #[must_use]
    pub fn digest(&self, hash: Hash) -> Option<&'a [u8]> {
        self.digests.iter().find(|(id, _)| *id == hash.id()).map(|(_, digest)| *digest)
    }

    /// Whether the event was extended into its register.
    #[must_use]
    pub const fn is_extended(&self) -> bool {
        self.kind != EV_NO_ACTION
    }

    /// Returns the locality at which the TPM was started, if this event is about it.
    #[must_use]
    pub fn startup_locality(&self) -> Option<u8> {
        let is_about_pcr_0 = self.register == 0 && self.kind == EV_NO_ACTION;
        self.data.strip_prefix(STARTUP_LOCALITY).filter(|_| is_about_pcr_0)?.first().copied()
    }
}

impl<'a> Log<'a> {
    /// Parses a log up to a record of ones, to trailing zeros, or to the end of the bytes.
    ///
    /// # Errors
    /// Most variants of [`Error`] contain the byte offset of the record.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (sizes, mut at) = header(bytes)?;
        let events = events(bytes, &mut at, |bytes, at| event(bytes, at, &sizes))?;
        let header_register = le_u32(bytes, 0).unwrap_or(0);
        Ok(Self { header_register, algorithms: sizes.into_iter().map(|(id, _)| id).collect(), events })
    }

    /// Guesses the kind of the log for callers that do not know it. edk2's confidential computing log has register 1 in its header, that
    /// of td-shim has SHA-384 alone, and a TD has no register above 4.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let fits = self.events.iter().filter(|event| event.is_extended()).all(|event| event.register <= 4);
        let is_marked = self.header_register == 1 || self.algorithms == [Hash::Sha384.id()];
        if fits && is_marked { Kind::Cc } else { Kind::Tpm }
    }

    /// Replays the log: returns the value that `register` has if the log is true. Registers start with zeros, PCR 0 with the startup
    /// locality of the log.
    ///
    /// `None` when an event of the register has no digest in this hash function.
    #[must_use]
    pub fn replay(&self, hash: Hash, register: u32) -> Option<Vec<u8>> {
        let mut value = vec![0; hash.bytes()];
        if let (0, Some(last)) = (register, value.last_mut()) {
            *last = self.startup_locality();
        }
        for event in self.events.iter().filter(|event| event.register == register && event.is_extended()) {
            value = hash.extend(&value, event.digest(hash)?);
        }
        Some(value)
    }

    /// Returns the locality at which the TPM was started, from an event of PCR 0: the initial value of that register.
    #[must_use]
    pub fn startup_locality(&self) -> u8 {
        self.events.iter().rev().find_map(Event::startup_locality).unwrap_or(0)
    }
}

/// Parses records up to the end of the log. Firmware fills the rest of the area with zeros (td-shim) or ones (edk2).
fn events<'a>(
    bytes: &'a [u8],
    at: &mut usize,
    parse: impl Fn(&'a [u8], &mut usize) -> Result<Event<'a>, Error>,
) -> Result<Vec<Event<'a>>, Error> {
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut events = Vec::new();
    while *at < written && !is_end(bytes, *at)? {
        if events.len() == EVENTS_MAX {
            return Err(Error::Events);
        }
        let start = *at;
        let event = parse(bytes, at)?;
        if event.register > REGISTER_MAX && (event.is_extended() || event.register != NO_REGISTER) {
            return Err(Error::Register(start, event.register));
        }
        events.push(event);
    }
    Ok(events)
}

/// Whether the end mark is at `at`. Windows gives events that are not extended the same number of a register.
fn is_end(bytes: &[u8], at: usize) -> Result<bool, Error> {
    if le_u32(bytes, at) != Some(NO_REGISTER) || le_u32(bytes, at + 4) == Some(EV_NO_ACTION) {
        return Ok(false);
    }
    match bytes.iter().enumerate().skip(at).find(|(_, byte)| !matches!(byte, 0 | 0xff)) {
        Some((data, _)) => Err(Error::BehindEnd(at, data)),
        None => Ok(true),
    }
}

/// Parses the first record, which has the old form with a 20-byte digest. Returns the hash functions with their digest lengths, and the
/// end of the record.
fn header(bytes: &[u8]) -> Result<(Vec<(u16, usize)>, usize), Error> {
    let short = Error::Truncated(0);
    if bytes.starts_with(b"CCEL") {
        return Err(Error::Table);
    }
    if le_u32(bytes, 4) != Some(EV_NO_ACTION) {
        return Err(Error::Header);
    }
    let size = le_u32(bytes, 28).and_then(|size| usize::try_from(size).ok()).ok_or(short.clone())?;
    let data = bytes.get(32..).and_then(|rest| rest.get(..size)).ok_or(short.clone())?;
    if !data.starts_with(SIGNATURE) {
        return Err(Error::Header);
    }
    let count = le_u32(data, 24).and_then(|count| usize::try_from(count).ok()).ok_or(short.clone())?;
    if count == 0 || count > ALGORITHMS_MAX {
        return Err(Error::Algorithms(0, count));
    }
    let mut sizes: Vec<(u16, usize)> = Vec::with_capacity(count);
    for at in (0..count).map(|number| 28 + 4 * number) {
        let (id, bytes) = le_u16(data, at).zip(le_u16(data, at + 2)).ok_or(short.clone())?;
        // `replay` relies on the digest lengths of known hash functions.
        let length = usize::from(bytes);
        let is_wrong = Hash::from_id(id).map_or(length == 0 || length > DIGEST_MAX, |hash| hash.bytes() != length);
        if is_wrong || sizes.iter().any(|(known, _)| *known == id) {
            return Err(Error::Algorithm(0, id));
        }
        sizes.push((id, length));
    }
    Ok((sizes, 32 + size))
}

fn event<'a>(bytes: &'a [u8], at: &mut usize, sizes: &[(u16, usize)]) -> Result<Event<'a>, Error> {
    let start = *at;
    let short = || Error::Truncated(start);
    let mut word = || {
        let word = le_u32(bytes, *at).ok_or_else(short)?;
        *at += 4;
        Ok(word)
    };
    let (register, kind, count) = (word()?, word()?, usize::try_from(word()?).map_err(|_| short())?);
    if count > sizes.len() {
        return Err(Error::Algorithms(start, count));
    }
    let mut digests: Vec<(u16, &[u8])> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = le_u16(bytes, *at).ok_or_else(short)?;
        let known = sizes.iter().find(|(known, _)| *known == id && digests.iter().all(|(seen, _)| *seen != id));
        let (_, length) = known.ok_or(Error::Algorithm(start, id))?;
        let digest = bytes.get(*at + 2..).and_then(|rest| rest.get(..*length)).ok_or_else(short)?;
        digests.push((id, digest));
        *at += 2 + length;
    }
    let size = le_u32(bytes, *at).and_then(|size| usize::try_from(size).ok()).ok_or_else(short)?;
    let data = bytes.get(*at + 4..).and_then(|rest| rest.get(..size)).ok_or_else(short)?;
    *at += 4 + size;
    Ok(Event { register, kind, digests, data })
}
