//! What is on a disk, by its bytes alone: blank, begun, or ours to judge. Whether it is formatted hangs on this.

use std::path::Path;

use cmdline::{Format, HeaderAuth};
use linux::block::{Access, Device};
use ondisk::blank;
use ondisk::intent::{self, Intent};
use ondisk::luks2::SealState;
use quorum::{Dek, Purpose};

use super::header::{self, Judged};
use super::{BlockDevice, Error};

/// What is on it.
pub(super) enum Content {
    /// Nothing at all.
    Blank,
    /// A first format that was cut short, if the key says that it was ours.
    Begun(Begun),
    /// A header on which every rule of the policy holds.
    Luks(Box<Judged>),
}

/// What says that a first format was begun.
pub(super) enum Begun {
    /// The record, and the header beside it if there is a whole one that says the same.
    Record(Intent, Option<Box<Judged>>),
    Header(Box<Judged>),
}

impl Content {
    /// Whether `dek` is the disk's key: by our seal or record where there is one, else by a keyslot.
    pub(super) fn answers(&self, dek: &Dek, disk: &Path) -> Result<bool, Error> {
        match self {
            Self::Blank => Ok(false),
            Self::Begun(Begun::Record(record, header)) => {
                let authenticator = dek.authenticator(Purpose::FormatIntent, &record.uuid.to_string());
                // A header of the same format was sealed whole before it was written. One of an earlier format, whose key
                // material the later one overwrites first, need not be whole any more.
                let same = header.as_ref().filter(|header| header.checked().uuid() == record.uuid);
                let sealed = same.is_none_or(|header| header.is_sealed_by(dek));
                Ok(sealed && authenticator.verifies(&intent::message(record.uuid), &record.mac))
            }
            Self::Begun(Begun::Header(judged)) => Ok(judged.is_sealed_by(dek)),
            Self::Luks(judged) => judged.answers(dek, disk).map_err(Error::Open),
        }
    }
}

/// Reads the disk's header area once and says what it is.
pub(super) fn look(place: &BlockDevice, wanted: &cmdline::Data) -> Result<Content, Error> {
    let ranges = blank::ranges(place.bytes).map_err(Error::TooSmall)?;
    let device = Device::open(&place.path, Access::Read).map_err(Error::Read)?;
    let mut found = header::read(&device)?;
    if blank::is_blank(&found) && is_blank(&device, &ranges).map_err(Error::Read)? {
        return may_format(Content::Blank, wanted, "the disk is blank");
    }
    let record = header::intent_block(&mut found).and_then(|block| Intent::parse(block));
    let begun = |begun| may_format(Content::Begun(begun), wanted, "the disk's first format was cut short");
    match (Judged::judge(found, wanted), record) {
        (Ok(judged), Some(record)) if judged.state() == Some(SealState::Formatting) => {
            begun(Begun::Record(record, Some(Box::new(judged))))
        }
        (Ok(judged), None) if judged.state() == Some(SealState::Formatting) => begun(Begun::Header(Box::new(judged))),
        // A torn header beside the record: the cut was before the header was whole.
        (Err(Error::Foreign | Error::Header(_)), Some(record)) => begun(Begun::Record(record, None)),
        (Ok(judged), None) if judged.state().is_none() && wanted.header_auth == HeaderAuth::Require => Err(Error::Unsealed),
        // We never leave a record beside a header without a seal.
        (Ok(judged), Some(_)) if judged.state().is_none() => Err(Error::Foreign),
        (Ok(judged), _) => Ok(Content::Luks(Box::new(judged))),
        (Err(error), _) => Err(error),
    }
}

/// What is to be formatted, if policy formats.
fn may_format(content: Content, wanted: &cmdline::Data, what: &'static str) -> Result<Content, Error> {
    if wanted.format == Format::IfBlank { Ok(content) } else { Err(Error::Unformatted(what)) }
}

/// Whether every byte of the ranges is zero. An I/O error is an error, never "not blank" and never "blank".
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
