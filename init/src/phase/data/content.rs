//! Classifies a disk by its bytes alone: blank, with an interrupted first format, or with a LUKS2 header. Whether the disk may be
//! formatted depends on this.

use std::path::Path;

use cmdline::{Format, HeaderAuth};
use linux::block::{Access, Device};
use ondisk::blank;
use ondisk::intent::{self, Intent};
use ondisk::luks2::FormatState;
use quorum::{Dek, Purpose};

use super::header::{self, ValidatedHeader};
use super::{BlockDevice, Error};

/// The content of a disk.
pub(super) enum Content {
    /// All examined bytes are zero.
    Blank,
    /// A first format that was interrupted, if the key authenticates it.
    Interrupted(InterruptedFormat),
    /// A header that satisfies every rule of the policy.
    Luks(Box<ValidatedHeader>),
}

/// What shows that a first format was begun.
pub(super) enum InterruptedFormat {
    /// The intent record, and a complete header of the same format beside it, if there is one.
    Record(Intent, Option<Box<ValidatedHeader>>),
    Header(Box<ValidatedHeader>),
}

impl Content {
    /// Whether `dek` is the disk's key: verified by token or record where there is one, else by opening a keyslot.
    pub(super) fn verify_key(&self, dek: &Dek, disk: &Path) -> Result<bool, Error> {
        match self {
            Self::Blank => Ok(false),
            Self::Interrupted(InterruptedFormat::Record(record, header)) => {
                let authenticator = dek.authenticator(Purpose::FormatIntent, &record.uuid.to_string());
                // A header of the same format was authenticated as a whole before it was written. The header of an earlier format
                // may be damaged, since the later format overwrites its key material first.
                let same = header.as_ref().filter(|header| header.layout().uuid() == record.uuid);
                let authenticated = same.is_none_or(|header| header.is_authenticated_by(dek));
                Ok(authenticated && authenticator.verifies(&intent::message(record.uuid), &record.mac))
            }
            Self::Interrupted(InterruptedFormat::Header(validated)) => Ok(validated.is_authenticated_by(dek)),
            Self::Luks(validated) => validated.verify_key(dek, disk).map_err(Error::Open),
        }
    }
}

/// Reads the disk's header area once and classifies it.
pub(super) fn classify(place: &BlockDevice, wanted: &cmdline::Data) -> Result<Content, Error> {
    let ranges = blank::ranges(place.bytes).map_err(Error::TooSmall)?;
    let device = Device::open(&place.path, Access::Read).map_err(Error::Read)?;
    let mut found = header::read(&device)?;
    if blank::is_blank(&found) && is_blank(&device, &ranges).map_err(Error::Read)? {
        return may_format(Content::Blank, wanted, "the disk is blank");
    }
    let record = header::intent_block(&mut found).and_then(|block| Intent::parse(block));
    let interrupted = |format| may_format(Content::Interrupted(format), wanted, "the disk's first format was interrupted");
    match (ValidatedHeader::validate(found, wanted), record) {
        (Ok(validated), Some(record)) if validated.state() == Some(FormatState::Formatting) => {
            interrupted(InterruptedFormat::Record(record, Some(Box::new(validated))))
        }
        (Ok(validated), None) if validated.state() == Some(FormatState::Formatting) => {
            interrupted(InterruptedFormat::Header(Box::new(validated)))
        }
        // A damaged header beside the record: the format was interrupted before the header was complete.
        (Err(Error::Foreign | Error::Header(_)), Some(record)) => interrupted(InterruptedFormat::Record(record, None)),
        (Ok(validated), None) if validated.state().is_none() && wanted.header_auth == HeaderAuth::Require => {
            Err(Error::Unauthenticated)
        }
        // No format leaves a record beside a header without a token.
        (Ok(validated), Some(_)) if validated.state().is_none() => Err(Error::Foreign),
        (Ok(validated), _) => Ok(Content::Luks(Box::new(validated))),
        (Err(error), _) => Err(error),
    }
}

/// The content, if policy permits to format it.
fn may_format(content: Content, wanted: &cmdline::Data, what: &'static str) -> Result<Content, Error> {
    if wanted.format == Format::IfBlank { Ok(content) } else { Err(Error::Unformatted(what)) }
}

/// Whether every byte of the ranges is zero. A read error is an error, and counts neither as blank nor as not blank.
pub(in crate::phase) fn is_blank(device: &Device, ranges: &[std::ops::Range<u64>]) -> Result<bool, linux::Error> {
    for range in ranges {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut zero = true;
        device.for_each_piece(range.start, length, |piece| zero &= blank::is_blank(piece))?;
        if !zero {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
pub(super) mod tests;
