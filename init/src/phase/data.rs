//! The data disk: looked at once, opened from that private copy with a proved key, mounted inside the verified root.

mod content;
mod driver;
mod filesystem;
mod format;
mod header;
mod luks;
mod rotation;
mod wipe;

use std::path::Path;

use kernel::mount::{Attr, Detached, MountOption};
use ondisk::cmdline::{self, DataCipher, FileSystem};
use ondisk::luks2;
use ondisk::{Guid, blank};
use quorum::Dek;

use super::api::{self, Api};
use super::disks::{self, Place, Wanted, find, wait_for};
use super::root::Root;
use crate::journal::step;
use content::Content;
use format::Before;
use header::Judged;
use luks::Mapped;

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

/// The keys that an unlock came to.
pub(crate) struct Keys {
    /// The key that the disk is to be opened with.
    pub(crate) current: Dek,
    /// The key that it answers to instead, which is rotated away from.
    pub(crate) previous: Option<Dek>,
}

/// An open and mounted data disk. It stays open when this is dropped: the real system has it now.
pub(crate) struct Opened {
    pub(crate) uuid: Guid,
    pub(crate) how: How,
    pub(crate) sealed: bool,
    pub(crate) sector_bytes: u32,
    pub(crate) cipher: DataCipher,
    pub(crate) journal: bool,
    pub(crate) file_system: FileSystem,
    pub(crate) mount: String,
}

impl Opened {
    /// `sealed`, or `unsealed`: no seal of our own vouches for the header; the policy's allow-list does.
    pub(crate) const fn header(&self) -> &'static str {
        if self.sealed { "sealed" } else { "unsealed" }
    }
}

/// How an open disk came to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As it was.
    Opened,
    /// With a keyslot for the current key in place of the previous one's.
    Rotated,
    /// It was formatted.
    Formatted,
}

impl How {
    /// As the receipt has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Rotated => "rotated",
            Self::Formatted => "formatted",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Disk(#[from] disks::Error),
    #[error(transparent)]
    Modules(#[from] api::Error),
    #[error("reading")]
    Read(#[source] kernel::Error),
    #[error("writing")]
    Write(#[source] kernel::Error),
    #[error("{0}")]
    TooSmall(blank::TooSmall),
    #[error("{0} and cvm.data.format is never")]
    Unformatted(&'static str),
    #[error("neither blank nor LUKS2")]
    Foreign,
    #[error("header")]
    Header(#[source] luks2::Error),
    #[error("header breaks the policy")]
    Violation(#[source] luks2::Violation),
    #[error("the header has no seal and cvm.data.seal requires one")]
    Unsealed,
    #[error("{0} does not answer to the key")]
    Seal(&'static str),
    #[error("opening")]
    Open(#[source] luks::Error),
    #[error("driver")]
    Driver(#[from] driver::Error),
    #[error("mounting")]
    Mount(#[source] kernel::Error),
    #[error("{0} is not a folder of the image")]
    NoMountpoint(String),
    #[error("formatting")]
    Format(#[from] format::Error),
    #[error("what was written does not read back")]
    ReadBack,
    #[error("the disk is not what it was before the unlock")]
    Changed,
}

impl Error {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Disk(_) => 70,
            Self::Modules(error) => error.code(),
            Self::Read(_) => 71,
            Self::Unformatted(_) => 72,
            Self::Foreign => 73,
            Self::Header(_) => 74,
            Self::Violation(_) => 75,
            Self::Open(_) => 76,
            Self::Driver(_) | Self::Mount(_) => 77,
            Self::NoMountpoint(_) => 78,
            Self::TooSmall(_) => 79,
            Self::Format(error) => error.code(),
            Self::Write(_) => 81,
            Self::ReadBack | Self::Changed => 83,
            Self::Unsealed => 84,
            Self::Seal(_) => 85,
        }
    }

    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Disk(disks::Error::Missing(_) | disks::Error::Kernel(_)) | Self::Read(_))
    }
}

/// Finds the disk and reads its header area once, into private memory; everything after works on that copy.
///
/// A blank disk is an error unless policy formats blank disks; anything that is neither blank nor sound is an error always.
pub(crate) fn inspect(api: Api, wanted: &cmdline::Data) -> Result<Disk, Error> {
    let selector = Wanted::from(&wanted.disk);
    let place = wait_for(&selector, |disks| find(disks, &selector))?;
    let content = content::look(&place, wanted)?;
    step("data: header read");
    api::load(api, wanted.cipher.as_str())?;
    Ok(Disk { place, content, wanted: wanted.clone() })
}

impl Disk {
    /// Whether there is nothing on it yet that a key could be proved against.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self.content, Content::Blank)
    }

    /// Whether a keyslot is on it, which a rotation can change.
    pub(crate) fn is_formatted(&self) -> bool {
        matches!(self.content, Content::Luks(_))
    }

    /// Whether `dek` is its key: by our seal or record where there is one, else by a keyslot of the header copy. Nothing is
    /// activated. An error is the disk's or the kernel's: it says nothing about the key.
    pub(crate) fn answers(&self, dek: &Dek) -> Result<bool, Error> {
        self.content.answers(dek, &self.place.path)
    }
}

/// Opens the disk and mounts it inside `root`; formats it first when it is blank or a format of ours was cut short, which
/// policy allowed; rotates its keyslot when it answers to the previous key.
pub(crate) fn open(root: &Root, disk: Disk, keys: Keys) -> Result<Opened, Error> {
    let mount = disk.wanted.mount.as_str().to_owned();
    let target = root.path().join(mount.trim_start_matches('/'));
    if !target.is_dir() {
        return Err(Error::NoMountpoint(mount));
    }
    let wanted = disk.wanted.clone();
    driver::load(root, wanted.fs)?; // before anything is written
    let (mapped, judged, how) = open_mapped(root, disk, &keys)?;
    drop(keys); // nothing after this needs them
    step("data: open");
    mount_at(&mapped, &target, wanted.fs.as_str())?;
    step("data: mounted");
    let (uuid, sealed) = (judged.checked().uuid(), judged.state().is_some());
    log::info!("data: {} {uuid} at {mount}{}", how.as_str(), if sealed { "" } else { ", unsealed" });
    let sector_bytes = judged.checked().sector_size();
    let (cipher, journal, file_system) = (wanted.cipher, wanted.journal, wanted.fs);
    Ok(Opened { uuid, how, sealed, sector_bytes, cipher, journal, file_system, mount })
}

fn open_mapped(root: &Root, disk: Disk, keys: &Keys) -> Result<(Mapped, Judged, How), Error> {
    // A header without a seal is only answered by a key derivation, which opening does anyway; it takes seconds on disks of others.
    let told_by_opening = matches!(&disk.content, Content::Luks(judged) if judged.state().is_none() && !judged.is_unsettled());
    let answers = keys.previous.is_some() || disk.is_blank() || told_by_opening || disk.answers(&keys.current)?;
    let Disk { place, content, wanted } = disk;
    let before = match content {
        Content::Luks(judged) => return open_existing(*judged, answers, &place.path, &wanted, keys),
        Content::Blank => Before::Blank,
        Content::Begun(_) => Before::Begun,
    };
    if !answers {
        return Err(Error::Seal("the first format that was cut short"));
    }
    log::warn!("data: {before} and policy says so: formatting");
    let (mapped, judged) = format::format(root, (&place, before), &wanted, NAME, &keys.current)?;
    Ok((mapped, judged, How::Formatted))
}

fn open_existing(
    judged: Judged,
    answers: bool,
    disk: &Path,
    wanted: &cmdline::Data,
    keys: &Keys,
) -> Result<(Mapped, Judged, How), Error> {
    if !answers {
        return Err(if judged.state().is_some() { Error::Seal("the header's seal") } else { Error::Open(luks::Error::Key) });
    }
    let sealed = judged.state().is_some();
    let slots = judged.checked().slots().len();
    // Two keyslots and a seal are what a rotation of ours leaves when it is cut short. Without a seal the second one is somebody's.
    let finishes = sealed && slots > 1;
    if keys.previous.is_some() && !sealed && slots > 1 {
        return Err(Error::Violation(luks2::Violation::Keyslots));
    }
    if (keys.previous.is_some() || finishes || judged.is_unsettled()) && !judged.is_still_on(disk)? {
        return Err(Error::Changed);
    }
    let judged = judged.settle(disk, wanted)?;
    let (judged, how) = match &keys.previous {
        Some(previous) => (rotation::rotate(judged, (&keys.current, previous), disk, wanted)?, How::Rotated),
        None if finishes => (rotation::finish(judged, &keys.current, disk, wanted)?, How::Rotated),
        None => (judged, How::Opened),
    };
    let activated = judged.file().and_then(|file| file.activate(NAME, &keys.current, disk, wanted.journal));
    Ok((activated.map_err(Error::Open)?, judged, how))
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
