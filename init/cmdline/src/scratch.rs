//! `cvm.scratch`: disks whose content lasts for one boot, encrypted under a key that is not stored.

use super::value::{DiskSelector, Mountpoint};
use super::{Conflict, Data, Key, Root, RootSelector};

/// Scratch disks of one machine: each costs a key, a mapping and time at every boot.
const DISKS_MAX: usize = 4;
/// The text of [`ScratchUse::Swap`].
const SWAP: &str = "swap";
/// Where a disk without a use is mounted.
const MOUNT: &str = "/scratch";

/// A scratch disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// Where the disk is.
    pub disk: DiskSelector,
    /// What it is for.
    pub purpose: ScratchUse,
}

/// What a scratch disk is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScratchUse {
    /// The kernel moves memory to it.
    Swap,
    /// A new file system is mounted here.
    Mount(Mountpoint),
}

impl ScratchUse {
    /// As the command line writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Swap => SWAP,
            Self::Mount(path) => path.as_str(),
        }
    }

    /// Where it is mounted; `None` for swap.
    #[must_use]
    pub const fn mount(&self) -> Option<&Mountpoint> {
        match self {
            Self::Swap => None,
            Self::Mount(path) => Some(path),
        }
    }
}

/// Reads 1 to 4 of `SELECTOR[:USE]`, separated by commas. [`check`] refuses equal ones.
pub(super) fn parse(text: &str) -> Option<Vec<Scratch>> {
    let mut disks = Vec::new();
    for item in text.split(',') {
        disks.push(Scratch::parse(item)?);
    }
    (disks.len() <= DISKS_MAX).then_some(disks)
}

impl Scratch {
    /// A serial number or a label may contain `:`, so the last `:` before `swap` or `/` begins the use.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = (text, MOUNT);
        for (at, _) in text.bytes().enumerate().filter(|(_, byte)| *byte == b':') {
            let (selector, purpose) = (text.get(..at)?, text.get(at + 1..)?);
            if purpose.starts_with(SWAP) || purpose.starts_with('/') {
                parts = (selector, purpose);
            }
        }
        let (selector, purpose) = parts;
        let purpose = if purpose == SWAP { ScratchUse::Swap } else { ScratchUse::Mount(Mountpoint::parse(purpose)?) };
        Some(Self { disk: DiskSelector::parse(selector)?, purpose })
    }
}

/// Checks the scratch disks against each other, the root and the data disks.
pub(super) fn check(scratch: &[Scratch], root: &Root, data: Option<&Data>) -> Result<(), Conflict> {
    let listed = data.map_or(&[][..], |data| &data.disks);
    for (number, Scratch { disk, purpose }) in scratch.iter().enumerate() {
        let earlier = || scratch.iter().take(number);
        let same = match &root.selector {
            _ if listed.iter().any(|data| data.disk == *disk) => Some(Key::Data),
            RootSelector::Named(root) if root == disk => Some(Key::Root),
            _ => earlier().any(|other| other.disk == *disk).then_some(Key::Scratch),
        };
        if let Some(key) = same {
            return Err(Conflict::SameDisk(Key::Scratch, key));
        }
        let Some(path) = purpose.mount() else { continue };
        if let Some(folder) = path.system_folder() {
            return Err(Conflict::SystemFolder(Key::Scratch, folder));
        }
        if listed.iter().any(|data| data.mount.overlaps(path)) {
            return Err(Conflict::MountsOverlap(Key::Scratch, Key::DataMount));
        }
        if earlier().filter_map(|other| other.purpose.mount()).any(|other| other.overlaps(path)) {
            return Err(Conflict::MountsOverlap(Key::Scratch, Key::Scratch));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
