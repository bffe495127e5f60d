//! The data disk: looked at once, opened from that private copy with a proved key, mounted inside the verified root.

mod check;
pub(super) mod content;
mod disks;
mod driver;
mod error;
pub(super) mod filesystem;
mod format;
mod header;
mod in_use;
pub(super) mod luks;
mod memory;
pub(super) mod mounting;
mod rotation;
pub(super) mod settings;
mod size;
mod tool;
pub(super) mod unwritten;
pub(super) mod zeros;

use std::path::Path;

use cmdline::{DataCipher, DataDisk, FileSystem, Format, OpenMode};
use linux::block::Device;
use ondisk::luks2;
use quorum::Dek;
use uuid::Uuid;

use super::block_lookup::BlockDevice;
use super::root::Root;
use crate::journal::step;
use content::Content;
use disks::Disk;
pub(crate) use disks::{Disks, inspect, open};
pub(crate) use error::Error;
use format::Before;
use header::Judged;
use luks::{Journal, Mapped};
use settings::FsSettings;

/// What dm-crypt logs, at most ten times in five seconds, when a sector is not what was written.
const AUTHENTICATION_ERROR: &str = "INTEGRITY AEAD ERROR";

/// The keys that an unlock came to.
pub(crate) struct Keys {
    /// The key that the disk is to be opened with.
    pub(crate) current: Dek,
    /// The key that it answers to instead, which is rotated away from.
    pub(crate) previous: Option<Dek>,
    /// What time it is by the vaults, in Unix seconds; `None` when only the host says so.
    pub(crate) time: Option<u64>,
}

/// The keys of one disk.
struct DiskKeys<'a> {
    current: &'a Dek,
    previous: Option<&'a Dek>,
    time: Option<u64>,
}

/// An open and mounted data disk. It stays open when this is dropped: the real system has it now.
pub(crate) struct Opened {
    /// Its name; `None` for the disk whose key is the vaults' key itself.
    pub(crate) name: Option<String>,
    pub(crate) uuid: Uuid,
    pub(crate) how: How,
    pub(crate) sealed: bool,
    pub(crate) sector_bytes: u32,
    pub(crate) cipher: DataCipher,
    pub(crate) file_system: FileSystem,
    pub(crate) checked: check::Outcome,
    /// Bytes of inode tables that were written because an earlier version had not.
    pub(crate) initialised: u64,
    /// What the open disk has room for, in bytes.
    pub(crate) mapped_bytes: u64,
    /// The size that the file system had before it grew, in bytes; `None` when it did not grow.
    pub(crate) grown_from: Option<u64>,
    /// Where it is mounted; `None` when policy leaves that to the running system.
    pub(crate) mount: Option<String>,
    /// How often the kernel logged that a sector was not what was written; the kernel does not log each time.
    pub(crate) authentication_errors: usize,
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

/// A disk that is open and not mounted.
struct Open {
    mapped: Mapped,
    judged: Judged,
    how: How,
}

/// Mounts an open disk inside `root`, if policy mounts it, after what must be done before.
fn mount(root: &Root, open: Open, (which, wanted): (&DataDisk, &cmdline::Data)) -> Result<Opened, Error> {
    let Open { mapped, judged, how } = open;
    let mount = (wanted.open == OpenMode::Mount).then(|| which.mount.as_str().to_owned());
    let (mut checked, mut initialised, mut grown_from) = (check::Outcome::NotRun, Some(0), None);
    let (device, mapped_bytes) = mapped.device().map_err(Error::Read)?;
    if let Some(mount) = &mount {
        if how != How::Formatted {
            grown_from = size::adjust(&mapped, (&device, mapped_bytes), judged.state().is_some(), wanted)?;
            initialised = initialise(&mapped, &device, wanted)?;
            recover_before_repair(&mapped, wanted);
            checked = check::run(root, &mapped, (wanted.fstype, which.name.as_ref()), wanted.check)?;
        }
        // Whatever recovered a journal may have brought a later superblock.
        size::check(&device, mapped_bytes, wanted.fstype)?;
        drop(device);
        let target = root.path().join(mount.trim_start_matches('/'));
        let settings = FsSettings { lazy_tables: initialised != Some(0), ..wanted.into() };
        mounting::mount_at(&mapped, &target, settings).map_err(Error::Mount)?;
        step("data: mounted");
    }
    let header = judged.checked();
    let opened = Opened {
        name: which.name.as_ref().map(|name| name.as_str().to_owned()),
        uuid: header.uuid(),
        how,
        sealed: judged.state().is_some(),
        sector_bytes: header.sector_size(),
        cipher: header.cipher(),
        file_system: wanted.fstype,
        checked,
        initialised: initialised.unwrap_or(0),
        mapped_bytes,
        grown_from,
        mount,
        authentication_errors: authentication_errors(),
    };
    log::info!(
        "data: {} {} {}{}",
        how.as_str(),
        opened.uuid,
        opened.mount.as_ref().map_or_else(|| "and not mounted".to_owned(), |mount| format!("at {mount}")),
        if opened.sealed { "" } else { ", unsealed" }
    );
    Ok(opened)
}

/// Writes what an earlier version left unwritten and ext4 may read; says how much, as [`unwritten::initialise`].
fn initialise(mapped: &Mapped, target: &Device, wanted: &cmdline::Data) -> Result<Option<u64>, Error> {
    if wanted.fstype != FileSystem::Ext4 {
        return Ok(Some(0));
    }
    let written = unwritten::initialise(target, || mounting::recover(mapped, wanted.into()))?;
    step("data: inode tables are written");
    Ok(written)
}

/// xfs_repair refuses a log that is not empty, and a mount empties it. Where that fails the tool says what is wrong.
fn recover_before_repair(mapped: &Mapped, wanted: &cmdline::Data) {
    if (wanted.fstype, wanted.check) == (FileSystem::Xfs, cmdline::Check::Force)
        && let Err(error) = mounting::recover(mapped, wanted.into())
    {
        log::warn!("data: the log is not recovered: {error}");
    }
}

/// What the kernel logged of this boot. A log that cannot be read is said to be so; it stops nothing.
fn authentication_errors() -> usize {
    let count = linux::kmsg::records_with(AUTHENTICATION_ERROR).unwrap_or_else(|error| {
        log::warn!("data: the kernel's log is not read: {error}");
        0
    });
    if count > 0 {
        log::warn!("data: the kernel logged {count} sectors that are not what was written: restore them from a backup");
    }
    count
}

/// Opens the disk; formats it first when it is blank or a format of ours was cut short, which policy allowed; rotates its keyslot
/// when it answers to the previous key.
fn open_mapped(root: &Root, disk: Disk, keys: &DiskKeys<'_>) -> Result<Open, Error> {
    // A header without a seal is only answered by a key derivation, which opening does anyway; it takes seconds on disks of others.
    let told_by_opening = matches!(&disk.content, Content::Luks(judged) if judged.state().is_none() && !judged.is_unsettled());
    let rotates = keys.previous.is_some() && disk.is_formatted();
    let answers = rotates || disk.is_blank() || told_by_opening || disk.opens_with(keys.current)?;
    let name = disk.mapping();
    let Disk { place, content, wanted, .. } = disk;
    let before = match content {
        Content::Luks(judged) => return open_existing(*judged, answers, (&place.path, &name), &wanted, keys),
        Content::Blank => Before::Blank,
        Content::Begun(_) => Before::Begun,
    };
    if !answers {
        return Err(Error::Seal("the first format that was cut short"));
    }
    may_format_now(before.as_str(), &wanted, keys.time)?;
    log::warn!("data: {} and policy says so: formatting", before.as_str());
    let (mapped, judged) = format::format(root, (&place, before), &wanted, &name, keys.current)?;
    Ok(Open { mapped, judged, how: How::Formatted })
}

/// Whether policy still formats at the time that the vaults agree on.
fn may_format_now(what: &'static str, wanted: &cmdline::Data, time: Option<u64>) -> Result<(), Error> {
    match (wanted.format, wanted.format_until, time) {
        (Format::Never, ..) => Err(Error::Unformatted(what)),
        (Format::IfBlank, Some(_), None) => Err(Error::NoTime(what)),
        (Format::IfBlank, Some(until), Some(now)) if now > until => Err(Error::TooLate(what, now - until)),
        (Format::IfBlank, ..) => Ok(()),
    }
}

fn open_existing(
    judged: Judged,
    answers: bool,
    (disk, name): (&Path, &str),
    wanted: &cmdline::Data,
    keys: &DiskKeys<'_>,
) -> Result<Open, Error> {
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
    let (judged, how) = match keys.previous {
        Some(previous) => (rotation::rotate(judged, (keys.current, previous), disk, wanted)?, How::Rotated),
        None if finishes => (rotation::finish(judged, keys.current, disk, wanted)?, How::Rotated),
        None => (judged, How::Opened),
    };
    size::fit(disk, || if sealed { Ok(true) } else { judged.answers(keys.current, disk).map_err(Error::Open) })?;
    let activated = judged.file().and_then(|file| file.activate(name, keys.current, disk, Journal::On));
    Ok(Open { mapped: activated.map_err(Error::Open)?, judged, how })
}

#[cfg(test)]
impl Opened {
    /// A disk for tests of what is told of it.
    pub(crate) fn sample(name: Option<&str>, how: How) -> Self {
        Self {
            name: name.map(str::to_owned),
            uuid: Uuid::from_bytes([7; 16]),
            how,
            sealed: true,
            sector_bytes: 4096,
            cipher: DataCipher::XtsHmac,
            file_system: FileSystem::Ext4,
            checked: check::Outcome::Clean,
            initialised: 0,
            mapped_bytes: 1 << 30,
            grown_from: None,
            mount: None,
            authentication_errors: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_disk_is_formatted_until_the_vaults_say_that_time_is_over() {
        let wanted = |words: &str| content::tests::wanted(words);
        let limited = wanted("cvm.data.format=if-blank cvm.data.format-until=2026-11-29T18:30:05Z");
        let until = 1_795_977_005;
        let cases = [
            (&wanted("cvm.data.format=if-blank"), None, Ok(())),
            (&limited, Some(until), Ok(())),
            (&limited, Some(until + 1), Err((72, false))),
            (&limited, None, Err((72, true))),
            (&wanted(""), Some(0), Err((72, false))),
        ];
        for (wanted, time, want) in cases {
            let told =
                may_format_now("the disk is blank", wanted, time).map_err(|error| (error.code().number(), error.is_transient()));
            assert_eq!(told, want, "{time:?}");
        }
    }
}
