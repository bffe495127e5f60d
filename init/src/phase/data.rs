//! The data disks: reads each header once, opens the disk from that private copy with a proved key, and mounts it inside of the
//! verified root.

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

use cmdline::{DataCipher, DataDisk, FileSystem, Format};
use linux::block::Device;
use ondisk::luks2;
use quorum::Dek;
use uuid::Uuid;

use super::block_lookup::BlockDevice;
use super::root::Root;
use crate::boot_log::step;
use check::CheckResult;
use content::Content;
use disks::Disk;
pub(crate) use disks::{Disks, inspect, open};
pub(crate) use error::Error;
use format::PriorState;
use header::ValidatedHeader;
use luks::{Journal, Mapped};
use settings::FsSettings;

/// What dm-crypt logs when a sector fails authentication, at most ten times in five seconds.
const AUTHENTICATION_ERROR: &str = "INTEGRITY AEAD ERROR";

/// The keys that the unlock phase recovered.
pub(crate) struct Keys {
    /// The key to open the disks with.
    pub(crate) current: Dek,
    /// The previous key, when a disk still opens with it and is to be rotated to the current one.
    pub(crate) previous: Option<Dek>,
    /// The time that the vaults agreed on, in Unix seconds; `None` when only the host's clock is known.
    pub(crate) time: Option<u64>,
}

/// The keys of one disk.
struct DiskKeys<'a> {
    current: &'a Dek,
    previous: Option<&'a Dek>,
    time: Option<u64>,
}

/// An open and mounted data disk. It stays open when this is dropped, for the running system.
pub(crate) struct Opened {
    /// Its name; `None` for a disk that is opened with the DEK itself.
    pub(crate) name: Option<String>,
    pub(crate) uuid: Uuid,
    pub(crate) open_mode: OpenMode,
    pub(crate) header_authenticated: bool,
    pub(crate) sector_bytes: u32,
    pub(crate) cipher: DataCipher,
    pub(crate) file_system: FileSystem,
    pub(crate) check_result: CheckResult,
    /// Bytes of inode tables that this boot wrote, because mkfs had left them unwritten.
    pub(crate) initialised: u64,
    /// The size of the open device, in bytes.
    pub(crate) mapped_bytes: u64,
    /// The size that the file system had before it grew, in bytes; `None` when it did not grow.
    pub(crate) grown_from: Option<u64>,
    /// Where it is mounted; `None` when policy leaves that to the running system.
    pub(crate) mount: Option<String>,
    /// How often the kernel logged an authentication error; it does not log each.
    pub(crate) authentication_errors: usize,
}

/// How a disk was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// Without a change.
    Opened,
    /// Its keyslot was rotated from the previous key to the current one.
    Rotated,
    /// It was formatted first.
    Formatted,
}

impl OpenMode {
    /// As the boot report contains it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Rotated => "rotated",
            Self::Formatted => "formatted",
        }
    }
}

/// A disk that is open and not mounted.
struct OpenDisk {
    mapped: Mapped,
    validated: ValidatedHeader,
    open_mode: OpenMode,
}

/// Prepares the file system of an open disk and mounts it inside of `root`, if policy mounts it.
fn mount(root: &Root, open: OpenDisk, (which, wanted): (&DataDisk, &cmdline::Data)) -> Result<Opened, Error> {
    let OpenDisk { mapped, validated, open_mode } = open;
    let mount = (wanted.open == cmdline::MountMode::Mount).then(|| which.mount.as_str().to_owned());
    let (mut check_result, mut initialised, mut grown_from) = (CheckResult::NotRun, Some(0), None);
    let (device, mapped_bytes) = mapped.device().map_err(Error::Read)?;
    if let Some(mount) = &mount {
        if open_mode != OpenMode::Formatted {
            grown_from = size::adjust(&mapped, (&device, mapped_bytes), validated.state().is_some(), wanted)?;
            initialised = initialise(&mapped, &device, wanted)?;
            recover_before_repair(&mapped, wanted);
            check_result = check::run(root, &mapped, (wanted.fstype, which.name.as_ref()), wanted.check)?;
        }
        // Recovering a journal may have written a newer superblock.
        size::check(&device, mapped_bytes, wanted.fstype)?;
        drop(device);
        let target = root.path().join(mount.trim_start_matches('/'));
        let settings = FsSettings { lazy_tables: initialised != Some(0), ..wanted.into() };
        mounting::mount_at(&mapped, &target, settings).map_err(Error::Mount)?;
        step("data: mounted");
    }
    let header = validated.layout();
    let opened = Opened {
        name: which.name.as_ref().map(|name| name.as_str().to_owned()),
        uuid: header.uuid(),
        open_mode,
        header_authenticated: validated.state().is_some(),
        sector_bytes: header.sector_size(),
        cipher: header.cipher(),
        file_system: wanted.fstype,
        check_result,
        initialised: initialised.unwrap_or(0),
        mapped_bytes,
        grown_from,
        mount,
        authentication_errors: authentication_errors(),
    };
    log::info!(
        "data: {} {} {}{}",
        open_mode.as_str(),
        opened.uuid,
        opened.mount.as_ref().map_or_else(|| "and not mounted".to_owned(), |mount| format!("at {mount}")),
        if opened.header_authenticated { "" } else { ", header not authenticated" }
    );
    Ok(opened)
}

/// Writes inode tables that mkfs left unwritten and ext4 may read; returns the bytes written, as [`unwritten::initialise`].
fn initialise(mapped: &Mapped, target: &Device, wanted: &cmdline::Data) -> Result<Option<u64>, Error> {
    if wanted.fstype != FileSystem::Ext4 {
        return Ok(Some(0));
    }
    let written = unwritten::initialise(target, || mounting::recover(mapped, wanted.into()))?;
    step("data: inode tables are written");
    Ok(written)
}

/// Empties the log of xfs by a mount, since xfs_repair refuses a log that is not empty. After an error the tool reports the
/// reason.
fn recover_before_repair(mapped: &Mapped, wanted: &cmdline::Data) {
    if (wanted.fstype, wanted.check) == (FileSystem::Xfs, cmdline::Check::Force)
        && let Err(error) = mounting::recover(mapped, wanted.into())
    {
        log::warn!("data: recovering the log of xfs failed: {error}");
    }
}

/// Counts the authentication errors that the kernel logged in this boot. A log that cannot be read does not stop the boot.
fn authentication_errors() -> usize {
    let count = linux::kmsg::records_with(AUTHENTICATION_ERROR).unwrap_or_else(|error| {
        log::warn!("data: the kernel log cannot be read: {error}");
        0
    });
    if count > 0 {
        log::warn!("data: the kernel logged {count} sectors that fail authentication: restore the disk from a backup");
    }
    count
}

/// Opens the disk. Formats it first when policy permits and it is blank or its first format was interrupted; rotates its keyslot
/// when it opens with the previous key.
fn open_mapped(root: &Root, disk: Disk, keys: &DiskKeys<'_>) -> Result<OpenDisk, Error> {
    // Without an authentication token only a key derivation verifies the key. It takes seconds on such disks, and opening the
    // disk does it anyway.
    let told_by_opening =
        matches!(&disk.content, Content::Luks(validated) if validated.state().is_none() && !validated.needs_recovery());
    let rotates = keys.previous.is_some() && disk.is_formatted();
    let answers = rotates || disk.is_blank() || told_by_opening || disk.verify_own_key(keys.current)?;
    let name = disk.mapping();
    let Disk { place, content, wanted, .. } = disk;
    let before = match content {
        Content::Luks(validated) => return open_existing(*validated, answers, (&place.path, &name), &wanted, keys),
        Content::Blank => PriorState::Blank,
        Content::Interrupted(_) => PriorState::Interrupted,
    };
    if !answers {
        return Err(Error::NotAuthenticated("the interrupted first format"));
    }
    may_format_now(before.as_str(), &wanted, keys.time)?;
    log::warn!("data: {}, and policy permits a format: formatting", before.as_str());
    let (mapped, validated) = format::format(root, (&place, before), &wanted, &name, keys.current)?;
    Ok(OpenDisk { mapped, validated, open_mode: OpenMode::Formatted })
}

/// Whether policy still permits formatting at the time that the vaults agreed on.
fn may_format_now(what: &'static str, wanted: &cmdline::Data, time: Option<u64>) -> Result<(), Error> {
    match (wanted.format, wanted.format_until, time) {
        (Format::Never, ..) => Err(Error::Unformatted(what)),
        (Format::IfBlank, Some(_), None) => Err(Error::NoTime(what)),
        (Format::IfBlank, Some(until), Some(now)) if now > until => Err(Error::TooLate(what, now - until)),
        (Format::IfBlank, ..) => Ok(()),
    }
}

fn open_existing(
    validated: ValidatedHeader,
    answers: bool,
    (disk, name): (&Path, &str),
    wanted: &cmdline::Data,
    keys: &DiskKeys<'_>,
) -> Result<OpenDisk, Error> {
    if !answers {
        return Err(if validated.state().is_some() {
            Error::NotAuthenticated("the header's authentication token")
        } else {
            Error::Open(luks::Error::Key)
        });
    }
    let authenticated = validated.state().is_some();
    let slots = validated.layout().slots().len();
    // Two keyslots and a token are the state of a rotation that was interrupted. Without a token the second keyslot is unknown.
    let finishes = authenticated && slots > 1;
    if keys.previous.is_some() && !authenticated && slots > 1 {
        return Err(Error::Violation(luks2::Violation::Keyslots));
    }
    if (keys.previous.is_some() || finishes || validated.needs_recovery()) && !validated.is_still_on(disk)? {
        return Err(Error::Changed);
    }
    let validated = validated.recover(disk, wanted)?;
    let (validated, open_mode) = match keys.previous {
        Some(previous) => (rotation::rotate(validated, (keys.current, previous), disk, wanted)?, OpenMode::Rotated),
        None if finishes => (rotation::finish(validated, keys.current, disk, wanted)?, OpenMode::Rotated),
        None => (validated, OpenMode::Opened),
    };
    size::fit(disk, || if authenticated { Ok(true) } else { validated.verify_key(keys.current, disk).map_err(Error::Open) })?;
    let activated = validated.file().and_then(|file| file.activate(name, keys.current, disk, Journal::On));
    Ok(OpenDisk { mapped: activated.map_err(Error::Open)?, validated, open_mode })
}

#[cfg(test)]
impl Opened {
    /// A sample for tests of the reports.
    pub(crate) fn sample(name: Option<&str>, open_mode: OpenMode) -> Self {
        Self {
            name: name.map(str::to_owned),
            uuid: Uuid::from_bytes([7; 16]),
            open_mode,
            header_authenticated: true,
            sector_bytes: 4096,
            cipher: DataCipher::XtsHmac,
            file_system: FileSystem::Ext4,
            check_result: CheckResult::Clean,
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
        let wanted = |arguments: &str| content::tests::wanted(arguments);
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
            let message =
                may_format_now("the disk is blank", wanted, time).map_err(|error| (error.code().number(), error.is_transient()));
            assert_eq!(message, want, "{time:?}");
        }
    }
}
