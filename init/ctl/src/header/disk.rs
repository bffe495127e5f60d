//! The disk to which a header is written.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use ondisk::luks2::{Area, DATA_OFFSET, RestorePlan};
use rustix::fs::{Advice, FlockOperation, Mode, OFlags, fadvise, fcntl_lock};
use rustix::io::Errno;

use super::area_length;
use crate::run::Error;

/// A block device or an image that no other program uses.
pub(super) struct Disk {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Disk {
    /// Opens the disk for writing. `None` when another program uses it.
    ///
    /// The kernel refuses O_EXCL on a block device that is mounted or mapped. QEMU opens disks without O_EXCL and locks parts of them, so
    /// this locks the whole disk too. On network file systems without locks, nothing is refused.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |source: io::Error| Error::File { path: path.to_owned(), source };
        // O_EXCL is defined only for block devices.
        let is_block = kind(&path.metadata().map_err(failed)?).ok_or_else(|| Error::NoDisk { path: path.to_owned() })?;
        let exclusive = if is_block { OFlags::EXCL } else { OFlags::empty() };
        let mut file = match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | exclusive, Mode::empty()) {
            Ok(opened) => File::from(opened),
            Err(Errno::BUSY) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        if kind(&file.metadata().map_err(failed)?) != Some(is_block) {
            return Err(Error::NoDisk { path: path.to_owned() });
        }
        if matches!(fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive), Err(Errno::AGAIN | Errno::ACCESS)) {
            return Ok(None);
        }
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Some(Self { file, path: path.to_owned(), bytes }))
    }

    /// The size of the disk.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the header area.
    pub(super) fn read(&self) -> Result<Vec<u8>, Error> {
        read_area(&self.file).map_err(|source| Error::File { path: self.path.clone(), source })
    }

    /// Executes the plan, with a flush after each group, and reads the result back.
    pub(super) fn write(&self, plan: &RestorePlan) -> Result<(), Error> {
        let failed = |source| Error::Unfinished { path: self.path.clone(), source };
        for group in plan.groups.iter().filter(|group| !group.is_empty()) {
            group.iter().try_for_each(|area| self.put(&plan.image, area)).map_err(failed)?;
            self.file.sync_all().map_err(failed)?;
        }
        if read_area(&self.file).map_err(failed)? == plan.image { Ok(()) } else { Err(Error::ReadBack(self.path.clone())) }
    }

    fn put(&self, image: &[u8], area: &Area) -> io::Result<()> {
        let bytes = image.get(area.clone()).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.write_all_at(bytes, u64::try_from(area.start).unwrap_or(u64::MAX))
    }
}

/// Whether the file is a block device; `None` if it is neither that nor a regular file.
fn kind(metadata: &std::fs::Metadata) -> Option<bool> {
    let kind = metadata.file_type();
    (kind.is_block_device() || kind.is_file()).then(|| kind.is_block_device())
}

/// Reads the header area from the medium instead of the cache, since another machine may have written it.
pub(super) fn read_area(file: &File) -> io::Result<Vec<u8>> {
    let mut image = vec![0; area_length()];
    fadvise(file, 0, NonZeroU64::new(DATA_OFFSET), Advice::DontNeed)?;
    file.read_exact_at(&mut image, 0)?;
    Ok(image)
}
