//! The data disk: looked at once, opened from that private copy with a proved key, mounted inside the verified root.

mod filesystem;
mod format;
mod luks;

use std::path::Path;

use kernel::block::{Access, Device};
use kernel::mount::{Attr, Detached, MountOption};
use ondisk::cmdline::{self, Format};
use ondisk::luks2::{self, Checked, DATA_OFFSET, Expect, Header};
use ondisk::{Guid, blank};
use quorum::Dek;

use super::api::Api;
use super::disks::{self, Place, Wanted, find, wait_for};
use super::root::Root;
use crate::journal::step;

/// The device mapper's name of the open disk: what existing systems use.
const NAME: &str = "data-crypt";
/// Read-ahead of the mounted device in KiB, the kernel's own default.
const READ_AHEAD: u32 = 128;

/// The data disk as it was found. Only [`inspect`] makes one.
pub(crate) struct Disk {
    place: Place,
    content: Content,
    wanted: cmdline::Data,
}

/// What is on it: nothing at all, or a header on which every rule of the policy holds.
enum Content {
    Blank,
    Luks(luks::HeaderCopy),
}

/// An open and mounted data disk. It stays open when this is dropped: the real system has it now.
pub(crate) struct Opened {
    pub(crate) uuid: Guid,
    pub(crate) formatted: bool,
    pub(crate) sector_bytes: u32,
    pub(crate) mount: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Disk(#[from] disks::Error),
    #[error("reading")]
    Read(#[source] kernel::Error),
    #[error("{0}")]
    TooSmall(blank::TooSmall),
    #[error("the disk is blank and cvm.data.format is never")]
    Blank,
    #[error("neither blank nor LUKS2")]
    Foreign,
    #[error("header")]
    Header(#[source] luks2::Error),
    #[error("header breaks the policy")]
    Violation(#[source] luks2::Violation),
    #[error("the header has a seal, which this version cannot verify")]
    Sealed,
    #[error("opening")]
    Open(#[source] luks::Error),
    #[error("mounting")]
    Mount(#[source] kernel::Error),
    #[error("{0} is not a folder of the image")]
    NoMountpoint(String),
    #[error("formatting")]
    Format(#[from] format::Error),
    #[error("what was written does not read back")]
    ReadBack,
}

impl Error {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Disk(_) => 70,
            Self::Read(_) => 71,
            Self::Blank => 72,
            Self::Foreign => 73,
            Self::Header(_) => 74,
            Self::Violation(_) | Self::Sealed => 75,
            Self::Open(_) => 76,
            Self::Mount(_) => 77,
            Self::NoMountpoint(_) => 78,
            Self::TooSmall(_) => 79,
            Self::Format(error) => error.code(),
            Self::ReadBack => 83,
        }
    }

    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Disk(disks::Error::Missing(_) | disks::Error::Kernel(_)) | Self::Read(_))
    }
}

/// Finds the disk and reads its header area once, into private memory; everything after works on that copy.
///
/// A blank disk is an error unless policy formats blank disks; anything that is neither blank nor sound is an error always.
pub(crate) fn inspect(_api: Api, wanted: &cmdline::Data) -> Result<Disk, Error> {
    let selector = Wanted::from(&wanted.disk);
    let place = wait_for(&selector, |disks| find(disks, &selector))?;
    let content = look(&place, wanted)?;
    step("data: header read");
    Ok(Disk { place, content, wanted: wanted.clone() })
}

fn look(place: &Place, wanted: &cmdline::Data) -> Result<Content, Error> {
    let ranges = blank::ranges(place.bytes).map_err(Error::TooSmall)?;
    let device = Device::open(&place.path, Access::Read).map_err(Error::Read)?;
    let image = read_header(&device)?;
    if blank::is_blank(&image) && is_blank(&device, &ranges).map_err(Error::Read)? {
        return if wanted.format == Format::IfBlank { Ok(Content::Blank) } else { Err(Error::Blank) };
    }
    let (image, checked) = judge(image, wanted)?;
    Ok(Content::Luks(luks::HeaderCopy::new(&image, checked).map_err(Error::Open)?))
}

fn read_header(device: &Device) -> Result<Vec<u8>, Error> {
    device.read(0, usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)).map_err(Error::Read)
}

/// Whether every byte of the ranges is zero. An I/O error is an error, never "not blank" and never "blank".
fn is_blank(device: &Device, ranges: &[std::ops::Range<u64>]) -> Result<bool, kernel::Error> {
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

/// Holds a header against the policy. A copy torn by a power cut is mended in memory first, so that what libcryptsetup reads is
/// what was judged.
fn judge(mut image: Vec<u8>, wanted: &cmdline::Data) -> Result<(Vec<u8>, Checked), Error> {
    let magic = |error: &luks2::Error| matches!(error, luks2::Error::Magic(_));
    luks2::repair(&mut image).map_err(|error| if magic(&error) { Error::Foreign } else { Error::Header(error) })?;
    let header = Header::parse(&image).map_err(Error::Header)?;
    let expected = Expect { cipher: wanted.cipher, data_offset: DATA_OFFSET, rotation: false };
    let checked = luks2::check(&header, &expected).map_err(Error::Violation)?;
    if checked.seal().is_some() {
        return Err(Error::Sealed);
    }
    Ok((image, checked))
}

impl Disk {
    /// Whether there is nothing on it yet.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self.content, Content::Blank)
    }

    /// Whether `dek` opens a keyslot of the header copy. Nothing is activated. An error is the disk's or the kernel's: it says
    /// nothing about the key.
    pub(crate) fn opens(&self, dek: &Dek) -> Result<bool, Error> {
        match &self.content {
            Content::Blank => Ok(false),
            Content::Luks(header) => header.opens(dek, &self.place.path).map_err(Error::Open),
        }
    }
}

/// Opens the disk with `dek` and mounts it inside `root`; formats it first when it is blank, which policy allowed.
pub(crate) fn open(root: &Root, disk: Disk, dek: Dek) -> Result<Opened, Error> {
    let mount = disk.wanted.mount.as_str().to_owned();
    let target = root.path().join(mount.trim_start_matches('/'));
    if !target.is_dir() {
        return Err(Error::NoMountpoint(mount));
    }
    let (header, formatted) = match disk.content {
        Content::Luks(header) => (header, false),
        Content::Blank => (first_format(root, &disk.place, &disk.wanted, &dek)?, true),
    };
    let mapped = header.activate(NAME, &dek, &disk.place.path).map_err(Error::Open)?;
    drop(dek);
    step("data: open");
    mount_at(&mapped, &target, disk.wanted.fs.as_str())?;
    step("data: mounted");
    let unsealed = if formatted { "" } else { ", unsealed" };
    log::info!("data: {} {} at {mount}{unsealed}", if formatted { "formatted" } else { "opened" }, header.checked().uuid());
    Ok(Opened { uuid: header.checked().uuid(), formatted, sector_bytes: header.checked().sector_size(), mount })
}

/// Makes the disk, then forgets what it knows and looks at it as at any other: what is opened is what was read back.
fn first_format(root: &Root, place: &Place, wanted: &cmdline::Data, dek: &Dek) -> Result<luks::HeaderCopy, Error> {
    log::warn!("data: the disk is blank and policy says so: formatting");
    let written = format::format(root, place, wanted, NAME, dek)?;
    let read = read_header(&Device::open(&place.path, Access::Read).map_err(Error::Read)?)?;
    if read != written {
        return Err(Error::ReadBack);
    }
    let (image, checked) = judge(read, wanted)?;
    luks::HeaderCopy::new(&image, checked).map_err(Error::Open)
}

/// Nothing probed the device before: read-ahead into sectors never written would only log errors that mean nothing.
fn mount_at(mapped: &luks::Mapped, target: &Path, fstype: &str) -> Result<(), Error> {
    mapped.set_read_ahead(0).map_err(Error::Mount)?;
    let options = [MountOption::Value("source", mapped.path())];
    let attr = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV;
    let mount = || Detached::new(fstype, &options, attr)?.attach(target);
    mount().map_err(Error::Mount)?;
    mapped.set_read_ahead(READ_AHEAD).map_err(Error::Mount)
}
