//! What firmware and boot loaders say they measured: TCG's crypto-agile log, as a TD has it behind the ACPI table CCEL and a machine
//! with a TPM in `binary_bios_measurements`. Believed only as far as it replays to registers.
//!
//! Source: TCG PC Client Platform Firmware Profile 1.06, section 10; UEFI 2.10, section 38.

mod command_line;
pub mod describe;
#[cfg(test)]
mod tests;

pub use command_line::CommandLineEvent;

use crate::register::Hash;
use encoding::fields::{le_u16, le_u32};

/// The most that is read of a log, in bytes: firmware sets aside 64 KiB to 1 MiB.
pub const LOG_MAX: u64 = 4 << 20;
/// Hash functions, and digests of one event: real logs have one to five.
const ALGORITHMS_MAX: usize = 16;
/// SHA-512's; no registered hash is longer.
const DIGEST_MAX: usize = 64;
/// Real logs have some hundred.
const EVENTS_MAX: usize = 16 << 10;

/// Tells something, and is extended nowhere.
pub const EV_NO_ACTION: u32 = 3;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// Why bytes are no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A length leads past the end.
    #[error("event log ends within the record at byte {0}")]
    Truncated(usize),
    /// No `Spec ID Event03` at its start: an older form, or something else.
    #[error("not a crypto-agile event log (the older form, of SHA-1 alone, is not read)")]
    Header,
    /// The ACPI table, which is often taken for the log.
    #[error("the ACPI table CCEL, which says where the log is (in sysfs, the file of that name in `data`)")]
    Table,
    /// More hash functions, or digests of one event, than there are: at this byte, so many.
    #[error("event log: {1} digests in the record at byte {0}")]
    Algorithms(usize, usize),
    /// More events than any boot has.
    #[error("event log with more than {EVENTS_MAX} events")]
    Events,
    /// A digest whose hash function the header does not name, or one twice.
    #[error("event log: hash function {1:#x} in the record at byte {0}")]
    Algorithm(usize, u16),
}

/// Which registers an event's number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A confidential computing log: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    Cc,
    /// A TPM's log: PCRs.
    Tpm,
}

/// A log, parsed. It borrows its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log<'a> {
    /// The register that the header names: 1 in a log of edk2 for confidential computing, else 0.
    header_register: u32,
    /// Hash functions of the header, as `TPM_ALG_ID`.
    pub algorithms: Vec<u16>,
    /// In the order in which they happened.
    pub events: Vec<Event<'a>>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The register's number; what it means, the kind of log says.
    pub register: u32,
    /// `EV_*`.
    pub kind: u32,
    digests: Vec<(u16, &'a [u8])>,
    /// What the writer says about it. Only for some kinds of event is it what was hashed.
    pub data: &'a [u8],
}

impl<'a> Event<'a> {
    /// Its digest by this hash function, if the log has that.
    #[must_use]
    pub fn digest(&self, hash: Hash) -> Option<&'a [u8]> {
        self.digests.iter().find(|(id, _)| *id == hash.id()).map(|(_, digest)| *digest)
    }

    /// Whether it was extended into its register.
    #[must_use]
    pub const fn is_extended(&self) -> bool {
        self.kind != EV_NO_ACTION
    }
}

impl<'a> Log<'a> {
    /// Reads a log up to its end mark, its fill of zeros, or the end of the bytes.
    ///
    /// # Errors
    /// Each [`Error`] says where.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (sizes, mut at) = header(bytes)?;
        // Firmware fills what it did not write with zeros (td-shim) or ones (edk2); behind a mark of ones is nobody's.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut events = Vec::new();
        while at < written && le_u32(bytes, at) != Some(u32::MAX) {
            if events.len() == EVENTS_MAX {
                return Err(Error::Events);
            }
            events.push(event(bytes, &mut at, &sizes)?);
        }
        let header_register = le_u32(bytes, 0).unwrap_or(0);
        Ok(Self { header_register, algorithms: sizes.into_iter().map(|(id, _)| id).collect(), events })
    }

    /// Whether its numbers are a TD's registers rather than PCRs, for readers who were not told: edk2's says so in its header, td-shim's
    /// has SHA-384 alone; and no register above 4 is any of a TD's.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let fits = self.events.iter().filter(|event| event.is_extended()).all(|event| event.register <= 4);
        let told = self.header_register == 1 || self.algorithms == [Hash::Sha384.id()];
        if fits && told { Kind::Cc } else { Kind::Tpm }
    }

    /// What the log says that `register` holds: it begins with zeros, PCR 0 with the locality that the log tells.
    ///
    /// `None` when an event of the register has no digest by this hash function: then the log cannot tell.
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

    /// The locality at which the TPM was started, as an event of PCR 0 tells it: what that register begins with.
    #[must_use]
    pub fn startup_locality(&self) -> u8 {
        let told = self.events.iter().filter(|event| event.register == 0 && event.kind == EV_NO_ACTION);
        let mut localities = told.filter_map(|event| event.data.strip_prefix(STARTUP_LOCALITY)?.first().copied());
        localities.next_back().unwrap_or(0)
    }
}

/// The first record is of the old form, with a 20-byte digest. Gives the hash functions with their lengths, and where it ends.
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
        // A hash that is known has the length that is known: replay relies on it.
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
