//! The first format of a blank disk, a state machine that survives a power cut at any point. Policy permits the format and the
//! key is proved.
//!
//! 1. blank: every examined byte is zero.
//! 2. begun: the intent record is on the disk ([`ondisk::intent`]).
//! 3. formatting: a header whose authentication token has the state `formatting`.
//! 4. ready: one write of the header commits, after everything was read back through a new activation.
//! 5. in use: the record is erased; only then the disk is mounted.
//!
//! A disk in state 2 or 3 whose record or token verifies under the key was never mounted, and is formatted from the start.

use std::path::Path;

use cmdline::{Data, DataCipher, Wipe};
use failure::ErrorCode;
use linux::block::{Access, Device};
use ondisk::intent::{self, Intent};
use ondisk::luks2::{DATA_OFFSET, FormatState};
use quorum::{Dek, Purpose};
use uuid::Uuid;

use super::content::{self, Content};
use super::filesystem::{self, FsImage};
use super::header::{self, ValidatedHeader};
use super::luks::{self, HeaderFile, Journal, Mapped};
use super::{BlockDevice, zeros};
use crate::boot_log::step;
use crate::phase::root::Root;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the disk changed before its first format")]
    Changed,
    #[error("making the header")]
    Header(#[source] luks::Error),
    #[error("random numbers")]
    Random(#[source] linux::Error),
    #[error("writing the disk")]
    Write(#[source] linux::Error),
    #[error("making the file system")]
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

    /// Whether the disk failed to read or write: the next boot starts the format again.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Header(error) => error.is_io(),
            Self::Write(error) => error.is_io(),
            Self::FileSystem(error) => error.is_io(),
            Self::Random(_) | Self::Changed => false,
        }
    }
}

/// The state of a disk before it is formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PriorState {
    /// Blank.
    Blank,
    /// A first format was interrupted, and the key authenticates it.
    Interrupted,
}

impl PriorState {
    /// As messages contain it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "the disk is blank",
            Self::Interrupted => "the disk's first format was interrupted",
        }
    }
}

/// Makes header, integrity area and file system on the disk at `place`; the disk is then open under `name`.
pub(super) fn format(
    root: &Root,
    (place, before): (&BlockDevice, PriorState),
    wanted: &Data,
    name: &str,
    dek: &Dek,
) -> Result<(Mapped, ValidatedHeader), super::Error> {
    filesystem::check_tool(root, wanted.fstype).map_err(Error::from)?;
    if wanted.format_cipher == DataCipher::Gcm {
        log::warn!("data: gcm uses random 96-bit nonces: write at most 16 TiB to this disk in its lifetime");
    }
    let disk = &place.path;
    let found = read_header_area(place, before, wanted, dek)?;
    let uuid = uuid().map_err(Error::Random)?;
    let (area, record) = write_record(disk, found, uuid, dek)?;
    step("data: format begun");

    let file = HeaderFile::format(dek, disk, uuid, wanted.format_cipher).map_err(Error::Header)?;
    step("data: header and integrity area made");
    let mut formatting = header::authenticate(&file, FormatState::Formatting, dek, disk, wanted)?;
    put_record(&mut formatting, &record);
    let validated = header::write(&area, formatting, disk, wanted)?;
    drop(area);
    step("data: header written");

    let image = fill(root, &validated, disk, wanted, name, dek)?;
    // Opens the disk from the header that was read back, and reads the file system back through dm-integrity, as it will be used.
    let file = validated.file().map_err(Error::Header)?;
    let mapped = file.activate(name, dek, disk, Journal::On).map_err(Error::Header)?;
    mapped.set_read_ahead(0).map_err(Error::Write)?;
    image.compare_with(&Device::open(Path::new(mapped.path()), Access::Read).map_err(Error::Write)?).map_err(Error::from)?;
    drop(image);
    step("data: file system read back");

    let mut ready = header::authenticate(&file, FormatState::Ready, dek, disk, wanted)?;
    put_record(&mut ready, &record);
    let validated = validated.replace(ready, disk, wanted)?.recover(disk, wanted)?;
    step("data: format committed");
    Ok((mapped, validated))
}

/// Reads the header area again and checks that the disk did not change: the unlock can take long, and the host can replace disks.
fn read_header_area(place: &BlockDevice, before: PriorState, wanted: &Data, dek: &Dek) -> Result<Vec<u8>, super::Error> {
    let content = content::classify(place, wanted)?;
    match (before, &content) {
        (PriorState::Blank, Content::Blank) => Ok(vec![0; usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)]),
        (PriorState::Interrupted, Content::Interrupted(_)) if content.verify_key(dek, &place.path)? => {
            header::read(&Device::open(&place.path, Access::Read).map_err(Error::Write)?)
        }
        _ => Err(Error::Changed.into()),
    }
}

/// Writes the intent record; returns the header area with it, and the record's block.
fn write_record(disk: &Path, mut found: Vec<u8>, uuid: Uuid, dek: &Dek) -> Result<(Vec<u8>, [u8; intent::BLOCK]), Error> {
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

/// Opens the disk without dm-integrity's journal, since an interrupted format starts again, and writes the file system.
fn fill<'a>(
    root: &'a Root,
    validated: &ValidatedHeader,
    disk: &Path,
    wanted: &Data,
    name: &str,
    dek: &Dek,
) -> Result<FsImage<'a>, Error> {
    let mapped = validated.file().and_then(|file| file.activate(name, dek, disk, Journal::Off)).map_err(Error::Header)?;
    let filled = fill_open(root, &mapped, wanted);
    let closed = mapped.close();
    // The first error is reported.
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
