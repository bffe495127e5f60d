//! `cvm.data` and the keys with a value for each disk: `[NAME:]VALUE`, separated by commas.

use super::parameters::Parameters;
use super::value::{DiskSelector, Mountpoint};
use super::{Conflict, Error, Key};
use encoding::text;
use uuid::Uuid;

/// Data disks of one machine: the header area of each, 16 MiB, stays in memory until the key is there.
const DISKS_MAX: usize = 8;

/// The name of a data disk, from which its key is derived: 1 to 16 of `a-z 0-9`, the first a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskName(String);

impl DiskName {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let is_name = text::is_name(text, 16, "") && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        // `data-crypt` is the mapping of the disk without a name.
        (is_name && text.starts_with(|first: char| first.is_ascii_lowercase()) && text != "data").then(|| Self(text.to_owned()))
    }
}

/// One data disk. The rest of the policy is the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDisk {
    /// Its name; `None` for the one whose key is the vaults' key itself.
    pub name: Option<DiskName>,
    /// Where the disk is.
    pub disk: DiskSelector,
    /// Where it is mounted.
    pub mount: Mountpoint,
    /// The LUKS UUID that it must have.
    pub uuid: Option<Uuid>,
}

/// A value and the name of its disk.
type Named<T> = (Option<DiskName>, T);

/// Reads `[NAME:]VALUE`. A name contains no `=` and no `/`; every value starts with `/`, or contains `=` before its first `:`.
fn named<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Named<T>> {
    match text.split_once(':') {
        Some((name, value)) if !name.contains(['=', '/']) => Some((Some(DiskName::parse(name)?), read(value)?)),
        _ => Some((None, read(text)?)),
    }
}

/// Reads the list; two values for one disk are malformed.
fn names<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<Named<T>>> {
    let items = text.split(',').map(|item| named(item, &read)).collect::<Option<Vec<_>>>()?;
    let twice = |(index, (name, _)): (usize, &Named<T>)| items.iter().take(index).any(|(other, _)| other == name);
    (items.len() <= DISKS_MAX && !items.iter().enumerate().any(twice)).then_some(items)
}

/// Reads the disks of the command line; `None` without `cvm.data`.
pub(super) fn disks(parameters: &Parameters) -> Result<Option<Vec<DataDisk>>, Error> {
    let Some(selectors) = parameters.optional(Key::Data, |text| names(text, DiskSelector::parse))? else { return Ok(None) };
    let mounts = parameters.optional(Key::DataMount, |text| names(text, Mountpoint::parse))?.unwrap_or_default();
    let uuids = parameters.optional(Key::DataUuid, |text| names(text, text::uuid))?.unwrap_or_default();
    let is_disk = |name: &Option<DiskName>| selectors.iter().any(|(disk, _)| disk == name);
    let strays = [
        (Key::DataMount, mounts.iter().all(|(name, _)| is_disk(name))),
        (Key::DataUuid, uuids.iter().all(|(name, _)| is_disk(name))),
    ];
    if let Some((key, _)) = strays.into_iter().find(|(_, known)| !known) {
        return Err(Conflict::NoSuchDisk(key).into());
    }
    let mut disks = Vec::with_capacity(selectors.len());
    for (name, disk) in selectors {
        let mount = mounts.iter().find(|(of, _)| *of == name).map(|(_, mount)| mount.clone());
        let uuid = uuids.iter().find(|(of, _)| *of == name).map(|(_, uuid)| *uuid);
        let mount = match (mount, &name) {
            (Some(mount), _) => mount,
            (None, Some(name)) => Mountpoint::below_root(&name.0),
            (None, None) => Key::DataMount.default_value().and_then(Mountpoint::parse).ok_or(Error::Malformed(Key::DataMount))?,
        };
        disks.push(DataDisk { name, disk, mount, uuid });
    }
    check(&disks)?;
    Ok(Some(disks))
}

fn check(disks: &[DataDisk]) -> Result<(), Conflict> {
    for (index, disk) in disks.iter().enumerate() {
        if let Some(folder) = disk.mount.system_folder() {
            return Err(Conflict::SystemFolder(Key::DataMount, folder));
        }
        for other in disks.iter().take(index) {
            if other.disk == disk.disk {
                return Err(Conflict::SameDisk(Key::Data, Key::Data));
            }
            if disk.mount.overlaps(&other.mount) {
                return Err(Conflict::MountsOverlap(Key::DataMount, Key::DataMount));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
