//! Scratch disks: swap and file systems whose content lasts for one boot, since nothing stores their keys.
//!
//! All disks are examined before any is written to. A disk is used only when it is blank, or when it begins with the scratch mark
//! and nothing else ([`ondisk::scratch`]): the host decides which disk has a serial number, and operators make mistakes.

mod error;
mod examine;

use cmdline::{DataCipher, FileSystem, OnError, ScratchUse};
use linux::block::Device;
use ondisk::scratch;
use serde::Serialize;

use super::data::filesystem::FsImage;
use super::data::luks::{Mapped, ephemeral};
use super::data::settings::FsSettings;
use super::data::{mounting, unwritten, zeros};
use super::early::{self, EarlyMounts};
use super::root::Root;
pub(crate) use error::Error;
use examine::Examined;

/// The prefix of device mapper names; a number follows.
const NAME: &str = "scratch-";

/// The file system of scratch disks that are mounted.
const SETTINGS: FsSettings<'_> =
    FsSettings { kind: FileSystem::Ext4, label: "scratch", on_error: OnError::RemountReadOnly, options: &[], lazy_tables: false };

/// A scratch disk in use; it stays open for the running system.
#[derive(Serialize)]
pub(crate) struct Scratch {
    /// The selector, as the command line writes it.
    pub(crate) disk: String,
    /// `swap`, or where it is mounted.
    #[serde(rename = "use")]
    pub(crate) purpose: String,
    /// Size of the open device.
    pub(crate) bytes: u64,
}

/// Makes each disk of `wanted` anew: a new key, zeros where something may read before it writes, and a swap area or a file system
/// that is mounted inside of `root`.
pub(crate) fn make(early: EarlyMounts, root: &Root, wanted: &[cmdline::Scratch]) -> Result<Vec<Scratch>, Error> {
    let disks = examine::all(root, wanted)?;
    early::load(early, DataCipher::XtsHmac.as_str())?;
    let mut made = Vec::new();
    for disk in &disks {
        made.push(make_one(root, disk, &format!("{NAME}{}", made.len()))?);
    }
    Ok(made)
}

fn make_one(root: &Root, disk: &Examined<'_>, name: &str) -> Result<Scratch, Error> {
    let Examined { place, device, is_marked, wanted } = disk;
    if !is_marked {
        // First of all: a boot that is interrupted after this write leaves a disk that the next boot accepts.
        device.write(0, &scratch::mark()).and_then(|()| device.flush()).map_err(Error::Write)?;
    }
    let mapped = ephemeral::open(name, &place.path).map_err(Error::Open)?;
    let (target, bytes) = mapped.device().map_err(Error::Write)?;
    match &wanted.purpose {
        ScratchUse::Swap => swap(&mapped, &target, bytes)?,
        ScratchUse::Mount(path) => {
            FsImage::make(root, bytes, SETTINGS)?.write_to(&target)?;
            let place = root.path().join(path.as_str().trim_start_matches('/'));
            mounting::mount_at(&mapped, &place, SETTINGS).map_err(Error::Mount)?;
        }
    }
    let (disk, purpose) = (wanted.disk.to_string(), wanted.purpose.as_str().to_owned());
    log::info!("{name}: {disk} is encrypted with a new key, {} MiB, {purpose}", bytes >> 20);
    Ok(Scratch { disk, purpose, bytes })
}

fn swap(mapped: &Mapped, target: &Device, bytes: u64) -> Result<(), Error> {
    let header = scratch::swap_header(bytes).ok_or(Error::Small(bytes))?;
    let write = || {
        zeros::write(target, &unwritten::edges(bytes), "scratch: initialising")?;
        target.write(0, &header)?;
        target.flush()
    };
    write().map_err(Error::Write)?;
    // By the kernel's own name: udev replaces /dev/mapper/NAME by a link, and /proc/swaps would show a deleted file.
    linux::swap::enable(&format!("/dev/{}", mapped.kernel_name())).map_err(Error::Swap)
}
