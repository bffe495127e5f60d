//! Examines whether the scratch disks may be written to. This module writes nothing.

use std::path::Path;

use cmdline::{DiskSelector, ScratchUse};
use linux::block::{Access, Device};
use ondisk::blank;
use ondisk::scratch::{self, Front};

use super::super::block_lookup::{self, BlockDevice, DeviceQuery};
use super::super::data::{content, filesystem};
use super::super::root::Root;
use super::{Error, SETTINGS};
use crate::boot_log::step;

/// A disk that may be written to.
pub(super) struct Examined<'a> {
    pub(super) place: BlockDevice,
    /// Open until the disk is mapped, so that its name cannot come to mean another disk.
    pub(super) device: Device,
    /// Whether the disk has the scratch mark; if not, it is blank.
    pub(super) is_marked: bool,
    pub(super) wanted: &'a cmdline::Scratch,
}

/// Examines all disks of `wanted`, and what the image must contain for them.
pub(super) fn all<'a>(root: &Root, wanted: &'a [cmdline::Scratch]) -> Result<Vec<Examined<'a>>, Error> {
    for path in wanted.iter().filter_map(|scratch| scratch.purpose.mount()) {
        let path = Path::new(path.as_str());
        linux::mount::directory_without_symlinks(root.path(), path).map_err(Error::NoMountpoint)?;
    }
    if wanted.iter().any(|scratch| scratch.purpose != ScratchUse::Swap) {
        filesystem::check_tool(root, SETTINGS.kind)?;
    }
    let deadline = block_lookup::deadline();
    let mut disks: Vec<Examined<'_>> = Vec::new();
    for scratch in wanted {
        let place = block_lookup::locate(&DeviceQuery::from(&scratch.disk), deadline)?;
        // virtio-blk cuts serial numbers: two that differ only after 20 bytes name one disk.
        if let Some(other) = disks.iter().find(|other| other.place.number == place.number) {
            return Err(Error::SameDisk(other.wanted.disk.to_string(), scratch.disk.to_string()));
        }
        let device = Device::open(&place.path, Access::ReadWrite).map_err(Error::Read)?;
        let is_marked = is_marked(&device, place.bytes, &scratch.disk)?;
        disks.push(Examined { place, device, is_marked, wanted: scratch });
    }
    step("scratch: disks examined");
    Ok(disks)
}

/// Whether the disk has the mark (`true`) or is blank (`false`); any other content is an error.
fn is_marked(device: &Device, bytes: u64, disk: &DiskSelector) -> Result<bool, Error> {
    let ranges = blank::ranges(bytes).map_err(|error| Error::Small(error.0))?;
    let front = usize::try_from(scratch::FRONT).unwrap_or(usize::MAX);
    let refused = |seen| Err(Error::InUse(disk.to_string(), seen));
    match scratch::classify(&device.read(0, front).map_err(Error::Read)?) {
        Front::Marked => Ok(true),
        Front::Zero if content::is_blank(device, &ranges).map_err(Error::Read)? => Ok(false),
        Front::Zero => refused("bytes behind its first 16 MiB or in its last 1 MiB"),
        Front::Other(seen) => refused(seen),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const BYTES: u64 = 33 << 20;

    /// Bytes at an offset.
    type Part<'a> = (u64, &'a [u8]);

    /// Examines a disk with these bytes on it; checks that nothing is written to it.
    fn examine(bytes: u64, parts: &[Part<'_>]) -> Result<bool, (u8, bool, String)> {
        // Direct reads need a file system that supports them.
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.as_file().set_len(bytes).unwrap();
        for (at, part) in parts {
            file.as_file().write_all_at(part, *at).unwrap();
        }
        let before = std::fs::read(file.path()).unwrap();
        let device = Device::open(file.path(), Access::ReadWrite).unwrap();
        let line = format!("roothash={} cvm.scratch=serial=a", "ab".repeat(32));
        let disk = &cmdline::parse(&line).unwrap().scratch[0].disk;
        let result = is_marked(&device, bytes, disk);
        assert_eq!(std::fs::read(file.path()).unwrap(), before);
        result.map_err(|error| (error.code().number(), error.is_transient(), error.to_string()))
    }

    #[test]
    fn blank_and_marked_disks_are_taken_and_no_others() {
        let mark = scratch::mark();
        assert_eq!(examine(BYTES, &[]), Ok(false));
        assert_eq!(examine(BYTES, &[(0, &mark)]), Ok(true));
        // An earlier boot leaves other bytes behind the mark.
        assert_eq!(examine(BYTES, &[(0, &mark), (16 << 20, b"integrt\0"), (BYTES - 1, b"x")]), Ok(true));
        let cases: [(&[Part<'_>], &str); 5] = [
            (&[(0, b"LUKS\xba\xbe")], "a LUKS header"),
            (&[(5 << 20, b"x")], "unknown bytes"),
            (&[(16 << 20, b"x")], "bytes behind its first 16 MiB or in its last 1 MiB"),
            (&[(BYTES - 1, b"x")], "bytes behind its first 16 MiB or in its last 1 MiB"),
            (&[(0, &mark), (4096, b"x")], "a scratch mark of another version, or other data behind the mark"),
        ];
        for (parts, seen) in cases {
            let (code, is_transient, text) = examine(BYTES, parts).unwrap_err();
            assert_eq!((code, is_transient), (62, false), "{seen}");
            assert!(text.starts_with(&format!("serial=a holds {seen}: a scratch disk must be blank")), "{text}");
        }
        assert_eq!(examine((32 << 20) - 4096, &[]).map_err(|result| result.0), Err(63));
    }
}
