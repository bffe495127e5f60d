//! The first format of a provably blank disk. The caller has looked; policy has agreed; the key was proved.

use std::path::Path;

use kernel::block::{Access, Device};
use ondisk::cmdline;
use ondisk::luks2;
use quorum::Dek;

use super::luks::{self, NewHeader};
use super::{Place, filesystem, judge};
use crate::journal::step;
use crate::phase::root::Root;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
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
            Self::Header(_) | Self::Policy => 80,
            Self::Write(_) => 81,
            Self::FileSystem(_) => 82,
        }
    }
}

/// Makes header, integrity area and file system on the disk at `place`.
///
/// The header is made in memory and held against our own policy before its first byte reaches the disk. It is written before
/// the file system: a disk that a power cut leaves half made is then LUKS2 that does not mount, and never blank again.
pub(super) fn format(root: &Root, place: &Place, wanted: &cmdline::Data, name: &str, dek: &Dek) -> Result<(), Error> {
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
    Ok(made?)
}

fn write(path: &Path, image: &[u8]) -> Result<(), kernel::Error> {
    debug_assert_eq!(u64::try_from(image.len()), Ok(luks2::DATA_OFFSET), "the whole header area");
    let device = Device::open(path, Access::ReadWrite)?;
    device.write(0, image)?;
    device.flush()
}
