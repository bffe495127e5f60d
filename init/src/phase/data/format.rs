//! The first format of a blank disk, as a state machine that a power cut cannot confuse. Policy has agreed; the key was proved.
//!
//! 1. blank: every byte that anyone looks at is zero.
//! 2. begun: the intent record is there ([`ondisk::intent`]), and whatever else is.
//! 3. formatting: a header of ours, whose seal says so.
//! 4. ready: one write of the header is the commit, after everything was read back through a new activation.
//! 5. in use: the record is erased, and only then the disk is mounted.
//!
//! A disk found in 2 or 3 that answers to the key was never mounted, and is formatted from the start.

use std::path::Path;

use cmdline::{Data, DataCipher, Wipe};
use failure::ErrorCode;
use linux::block::{Access, Device};
use ondisk::intent::{self, Intent};
use ondisk::luks2::{DATA_OFFSET, SealState};
use quorum::{Dek, Purpose};
use uuid::Uuid;

use super::content::{self, Content};
use super::filesystem::{self, FsImage};
use super::header::{self, Judged};
use super::luks::{self, HeaderFile, Journal, Mapped};
use super::{BlockDevice, zeros};
use crate::journal::step;
use crate::phase::root::Root;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the disk is not what it was any more")]
    Changed,
    #[error("making the header")]
    Header(#[source] luks::Error),
    #[error("random numbers")]
    Random(#[source] linux::Error),
    #[error("writing")]
    Write(#[source] linux::Error),
    #[error("file system")]
    FileSystem(#[from] filesystem::Error),
}

impl Error {
    pub(super) const fn code(&self) -> ErrorCode {
        match self {
            Self::Header(_) | Self::Random(_) | Self::Changed => ErrorCode::FormatHeader,
            Self::Write(_) => ErrorCode::FormatWrite,
            Self::FileSystem(_) => ErrorCode::FormatFileSystem,
        }
    }

    /// Whether the disk failed to read or write: the next boot formats it from the start.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Header(error) => error.is_io(),
            Self::Write(error) => error.is_io(),
            Self::FileSystem(error) => error.is_io(),
            Self::Random(_) | Self::Changed => false,
        }
    }
}

/// What a disk is before it is formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Blank.
    Blank,
    /// A format was begun, and the key says that it was ours.
    Begun,
}

impl Before {
    /// As messages have it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "the disk is blank",
            Self::Begun => "the disk's first format was cut short",
        }
    }
}

/// Makes header, integrity area and file system on the disk at `place`; it is open under `name` then, and ready.
pub(super) fn format(
    root: &Root,
    (place, before): (&BlockDevice, Before),
    wanted: &Data,
    name: &str,
    dek: &Dek,
) -> Result<(Mapped, Judged), super::Error> {
    filesystem::check_tool(root, wanted.fstype).map_err(Error::from)?;
    if wanted.format_cipher == DataCipher::Gcm {
        log::warn!("data: gcm has random 96-bit nonces: write at most 16 TiB to this disk in its life");
    }
    let disk = &place.path;
    let found = area(place, before, wanted, dek)?;
    let uuid = uuid().map_err(Error::Random)?;
    let (begun, record) = begin(disk, found, uuid, dek)?;
    step("data: format begun");

    let file = HeaderFile::format(dek, disk, uuid, wanted.format_cipher).map_err(Error::Header)?;
    step("data: header and integrity area made");
    let mut formatting = header::seal(&file, SealState::Formatting, dek, disk, wanted)?;
    put_record(&mut formatting, &record);
    let judged = header::write(&begun, formatting, disk, wanted)?;
    drop(begun);
    step("data: header written");

    let image = fill(root, &judged, disk, wanted, name, dek)?;
    // What is opened now is what was read back, and so is the file system, through dm-integrity as it will be used.
    let file = judged.file().map_err(Error::Header)?;
    let mapped = file.activate(name, dek, disk, Journal::On).map_err(Error::Header)?;
    mapped.set_read_ahead(0).map_err(Error::Write)?;
    image.compare_with(&Device::open(Path::new(mapped.path()), Access::Read).map_err(Error::Write)?).map_err(Error::from)?;
    drop(image);
    step("data: file system read back");

    let mut ready = header::seal(&file, SealState::Ready, dek, disk, wanted)?;
    put_record(&mut ready, &record);
    let judged = judged.replace(ready, disk, wanted)?.settle(disk, wanted)?;
    step("data: format committed");
    Ok((mapped, judged))
}

/// The header area as it is, if the disk still is what it was: unlocking takes as long as vaults like, and disks come and go.
fn area(place: &BlockDevice, before: Before, wanted: &Data, dek: &Dek) -> Result<Vec<u8>, super::Error> {
    let content = content::look(place, wanted)?;
    match (before, &content) {
        (Before::Blank, Content::Blank) => Ok(vec![0; usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)]),
        (Before::Begun, Content::Begun(_)) if content.answers(dek, &place.path)? => {
            header::read(&Device::open(&place.path, Access::Read).map_err(Error::Write)?)
        }
        _ => Err(Error::Changed.into()),
    }
}

/// Writes the intent record; returns the header area as it is then, and the record's block.
fn begin(disk: &Path, mut found: Vec<u8>, uuid: Uuid, dek: &Dek) -> Result<(Vec<u8>, [u8; intent::BLOCK]), Error> {
    let mac = dek.authenticator(Purpose::FormatIntent, &uuid.to_string()).mac(&intent::message(uuid));
    let record = Intent { uuid, mac }.block();
    let write = || {
        let device = Device::open(disk, Access::ReadWrite)?;
        device.write(intent::OFFSET, &record)?;
        device.flush()
    };
    write().map_err(Error::Write)?;
    put_record(&mut found, &record);
    Ok((found, record))
}

fn put_record(image: &mut [u8], record: &[u8; intent::BLOCK]) {
    if let Some(block) = header::intent_block(image) {
        block.copy_from_slice(record);
    }
}

/// Opens the disk without dm-integrity's journal (a format that is cut short begins again) and puts the file system on it.
fn fill<'a>(root: &'a Root, judged: &Judged, disk: &Path, wanted: &Data, name: &str, dek: &Dek) -> Result<FsImage<'a>, Error> {
    let mapped = judged.file().and_then(|file| file.activate(name, dek, disk, Journal::Off)).map_err(Error::Header)?;
    let filled = fill_open(root, &mapped, wanted);
    let closed = mapped.close();
    // What went wrong first is what is told.
    let image = filled?;
    closed.map_err(Error::Header)?;
    Ok(image)
}

fn fill_open<'a>(root: &'a Root, mapped: &Mapped, wanted: &Data) -> Result<FsImage<'a>, Error> {
    let (target, bytes) = mapped.device().map_err(Error::Write)?;
    if wanted.wipe == Wipe::Full {
        zeros::write(&target, std::slice::from_ref(&(0..bytes)), "data: wiping").map_err(Error::Write)?;
    }
    let image = FsImage::make(root, bytes, wanted.into())?;
    let (copied, zeros) = image.write_to(&target)?;
    step(format_args!("data: {copied} bytes copied, {zeros} bytes of zeros"));
    Ok(image)
}

/// A random UUID. Source: RFC 9562, section 5.4.
fn uuid() -> Result<Uuid, linux::Error> {
    let mut bytes = [0; 16];
    linux::clock::random(&mut bytes)?;
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    Ok(Uuid::from_bytes(bytes))
}
