//! The first format of a provably blank disk. The caller has looked; policy has agreed; the key was proved.

use std::path::Path;

use kernel::block::{Access, Device};
use ondisk::luks2;
use ondisk::{blank, cmdline};
use quorum::Dek;

use super::luks::{self, NewHeader};
use super::{Place, filesystem, judge};
use crate::journal::step;
use crate::phase::root::Root;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the disk is not blank any more")]
    NoLongerBlank,
    #[error("making the header")]
    Header(#[source] luks::Error),
    #[error("the header that was made breaks the policy")]
    Policy,
    #[error("writing")]
    Write(#[source] kernel::Error),
    #[error("file system")]
    FileSystem(#[from] filesystem::Error),
}

impl Error {
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Header(_) | Self::Policy | Self::NoLongerBlank => 80,
            Self::Write(_) => 81,
            Self::FileSystem(_) => 82,
        }
    }
}

/// Makes header, integrity area and file system on the disk at `place`.
///
/// The disk is looked at once more, since unlocking takes as long as vaults like. libcryptsetup writes dm-integrity's superblock
/// behind the header area first; the header is made in memory, held against our own policy and written before the file system.
/// So a disk that a power cut leaves half made is never blank again: it is refused, and a person decides.
///
/// Returns the header as it was written: 16 MiB.
pub(super) fn format(root: &Root, place: &Place, wanted: &cmdline::Data, name: &str, dek: &Dek) -> Result<Vec<u8>, Error> {
    filesystem::check_tool(root, wanted.fs)?;
    if !still_blank(place).map_err(Error::Write)? {
        return Err(Error::NoLongerBlank);
    }
    let mut header = NewHeader::make(dek, &place.path).map_err(Error::Header)?;
    let image = header.image().map_err(Error::Header)?;
    step("data: header made");
    let (image, checked) = judge(image, wanted).map_err(|_| Error::Policy)?;
    write(&place.path, &image).map_err(Error::Write)?;
    step("data: header written");

    let header = luks::HeaderCopy::new(&image, checked).map_err(Error::Header)?;
    let mapped = header.activate(name, dek, &place.path).map_err(Error::Header)?;
    mapped.set_read_ahead(0).map_err(Error::Write)?;
    let made = filesystem::make(root, Path::new(mapped.path()), wanted.fs);
    mapped.close().map_err(Error::Header)?;
    made?;
    Ok(image)
}

fn still_blank(place: &Place) -> Result<bool, kernel::Error> {
    let device = Device::open(&place.path, Access::Read)?;
    match blank::ranges(place.bytes) {
        Ok(ranges) => super::is_blank(&device, &ranges),
        Err(_) => Ok(false),
    }
}

fn write(path: &Path, image: &[u8]) -> Result<(), kernel::Error> {
    debug_assert_eq!(u64::try_from(image.len()), Ok(luks2::DATA_OFFSET), "the whole header area");
    let device = Device::open(path, Access::ReadWrite)?;
    device.write(0, image)?;
    device.flush()
}
