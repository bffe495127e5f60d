//! The log of old firmware: records with one SHA-1 digest, without a header that names hash functions. It is shown to operators; since
//! collisions of SHA-1 can be computed, a replay of it verifies nothing. PID 1 does not read it.
//!
//! Source: TCG PC Client Specific Implementation Specification for Conventional BIOS 1.21, section 11.2.1 (`TCG_PCR_EVENT`).

use super::{Error, Event, Log, event_type, events};
use crate::register::Hash;
use encoding::fields::le_u32;

/// The length of a SHA-1 digest in bytes.
const DIGEST: usize = 20;

impl<'a> Log<'a> {
    /// Parses a log of SHA-1 alone. It has no signature: a log is recognized by a first record of a known type.
    ///
    /// # Errors
    /// [`Error::Header`] for other bytes; else with the byte offset of the record.
    pub fn parse_sha1(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut at = 0;
        let is_known = event(bytes, &mut at).is_ok_and(|first| event_type::name(first.kind).is_some());
        if !is_known {
            return Err(Error::Header);
        }
        let events = events(bytes, &mut 0, event).map_err(|error| match error {
            Error::Register(0, _) | Error::BehindEnd(0, _) => Error::Header,
            error => error,
        })?;
        if events.is_empty() {
            return Err(Error::Header);
        }
        Ok(Self { header_register: 0, algorithms: vec![Hash::Sha1.id()], events })
    }

    /// Whether the log has no stronger digests than SHA-1, so that a replay of it verifies nothing.
    #[must_use]
    pub fn is_sha1_alone(&self) -> bool {
        self.algorithms == [Hash::Sha1.id()]
    }
}

fn event<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Event<'a>, Error> {
    let start = *at;
    let short = || Error::Truncated(start);
    let (register, kind) = le_u32(bytes, start).zip(le_u32(bytes, start + 4)).ok_or_else(short)?;
    let digest = bytes.get(start + 8..).and_then(|rest| rest.get(..DIGEST)).ok_or_else(short)?;
    let size = le_u32(bytes, start + 8 + DIGEST).and_then(|size| usize::try_from(size).ok()).ok_or_else(short)?;
    let data = bytes.get(start + 12 + DIGEST..).and_then(|rest| rest.get(..size)).ok_or_else(short)?;
    *at = start + 12 + DIGEST + size;
    Ok(Event { register, kind, digests: vec![(Hash::Sha1.id(), digest)], data })
}
