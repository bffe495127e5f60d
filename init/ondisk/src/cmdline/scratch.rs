//! `cvm.scratch`: disks whose content lasts for one boot, encrypted under a key that is never stored.

use super::value::{DiskSelector, Mountpoint};
use super::{Conflict, Data, Error, Key, Root, RootSelector};

/// Disks on one line: each costs a key, a mapping and the time to make it at every boot.
const DISKS_MAX: usize = 4;
/// What stands for [`ScratchUse::Swap`].
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

/// Reads 1 to 4 of `SELECTOR[:USE]`, separated by commas. Equal ones are [`check`]'s to refuse.
pub(super) fn parse(text: &str) -> Option<Vec<Scratch>> {
    let disks = text.split(',').map(Scratch::parse).collect::<Option<Vec<_>>>()?;
    (disks.len() <= DISKS_MAX).then_some(disks)
}

impl Scratch {
    /// A `:` can be part of a serial number or a label, so only one before `swap` or `/` begins a use, and the last such does.
    fn parse(text: &str) -> Option<Self> {
        let begins_use =
            |(at, _): &(usize, &str)| text.get(at + 1..).is_some_and(|rest| rest.starts_with(SWAP) || rest.starts_with('/'));
        let (selector, purpose) = match text.rmatch_indices(':').find(begins_use) {
            Some((at, _)) => (text.get(..at)?, text.get(at + 1..)?),
            None => (text, MOUNT),
        };
        let purpose = if purpose == SWAP { ScratchUse::Swap } else { ScratchUse::Mount(Mountpoint::parse(purpose)?) };
        Some(Self { disk: DiskSelector::parse(selector)?, purpose })
    }
}

/// Holds the scratch disks against each other, the root and the data disk.
pub(super) fn check(scratch: &[Scratch], root: &Root, data: Option<&Data>) -> Result<(), Error> {
    let named_root = match &root.selector {
        RootSelector::Named(disk) => Some((disk, Key::Root)),
        RootSelector::Discoverable => None,
    };
    let mut disks: Vec<_> = data.map(|data| (&data.disk, Key::Data)).into_iter().chain(named_root).collect();
    let mut mounts: Vec<_> = data.map(|data| (data.mount.as_str(), Key::DataMount)).into_iter().collect();
    for Scratch { disk, purpose } in scratch {
        if let Some((_, key)) = disks.iter().find(|(other, _)| *other == disk) {
            return Err(Conflict::SameDisk(*key).into());
        }
        disks.push((disk, Key::Scratch));
        let Some(path) = purpose.mount() else { continue };
        if let Some(folder) = path.system_folder() {
            return Err(Conflict::SystemFolder(Key::Scratch, folder).into());
        }
        if let Some((_, key)) = mounts.iter().find(|(other, _)| overlap(other, path.as_str())) {
            return Err(Conflict::MountsOverlap(*key).into());
        }
        mounts.push((path.as_str(), Key::Scratch));
    }
    Ok(())
}

/// Whether two normalised paths are equal, or one is inside of the other.
fn overlap(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
