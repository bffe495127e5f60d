//! Block devices: the list in sysfs, and reads and writes that bypass the page cache (`O_DIRECT`).

mod answer;
mod disk;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::Error;
use crate::threads::ANSWER;
use answer::in_time;
pub use answer::unanswered;
use disk::text;
pub use disk::{Disk, KernelPartition, busy, disks, disks_in};

/// Offsets, lengths and buffers of direct transfers are multiples of this many bytes.
pub const DIRECT_ALIGN: usize = 4096;

/// The largest single transfer, in bytes.
const TRANSFER_MAX: usize = 1 << 20;

/// An open block device (or a regular file) that is read and written with `O_DIRECT`.
#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
}

/// The access mode of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_RDWR`.
    ReadWrite,
}

impl Device {
    /// Opens `path` with `O_DIRECT`.
    ///
    /// # Errors
    /// As open(2); `ETIMEDOUT` after a minute: the kernel may wait for an answer of the disk.
    pub fn open(path: &Path, access: Access) -> Result<Self, Error> {
        let flags = i32::try_from((OFlags::DIRECT | OFlags::CLOEXEC).bits()).unwrap_or_default();
        let wanted = path.to_owned();
        let open = move || File::options().read(true).write(access == Access::ReadWrite).custom_flags(flags).open(wanted);
        Ok(Self { file: in_time("open", path, ANSWER, open)?, path: path.to_owned() })
    }

    /// Reads exactly `length` bytes at `offset`, both multiples of [`DIRECT_ALIGN`].
    ///
    /// # Errors
    /// `EIO` when the device reports an error or ends before the range; `EINVAL` when the range is not aligned; `ETIMEDOUT` when the
    /// device does not answer for a minute, and while an earlier request has no answer.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(length);
        self.for_each_piece(offset, length, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// Reads as [`Device::read`] and gives `take` one piece of at most 1 MiB at a time.
    ///
    /// # Errors
    /// As [`Device::read`].
    pub fn for_each_piece(&self, offset: u64, length: usize, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut done = 0;
        while done < length {
            let size = length.saturating_sub(done).min(TRANSFER_MAX);
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            take(self.read_piece(at, size)?.get(size));
            done += size;
        }
        Ok(())
    }

    fn read_piece(&self, at: u64, size: usize) -> Result<Aligned, Error> {
        let file = self.file.try_clone().map_err(|e| Error::io("dup", self.path.display(), &e))?;
        let read = move || {
            let mut buffer = Aligned::new(size);
            file.read_exact_at(buffer.get(size), at).map(|()| buffer)
        };
        in_time("read", &self.path, ANSWER, read)
    }

    /// Writes `bytes` at `offset`; both offset and length are multiples of [`DIRECT_ALIGN`].
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut buffer = Aligned::new(bytes.len().min(TRANSFER_MAX));
        let mut at = offset;
        for chunk in bytes.chunks(TRANSFER_MAX) {
            let piece = buffer.get(chunk.len());
            piece.copy_from_slice(chunk);
            self.file.write_all_at(piece, at).map_err(|e| Error::io("write", self.path.display(), &e))?;
            at = at.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Writes zeros to `length` bytes at `offset`, both multiples of [`DIRECT_ALIGN`]. The kernel generates the zeros, so no data is
    /// copied and many requests are in flight at once. Every block device supports `FALLOC_FL_ZERO_RANGE`.
    ///
    /// # Errors
    /// As fallocate(2).
    pub fn write_zeros(&self, offset: u64, length: u64) -> Result<(), Error> {
        // Without KEEP_SIZE, a range past the end would grow a regular file; with it, files behave as devices do.
        let flags = rustix::fs::FallocateFlags::ZERO_RANGE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, offset, length).map_err(|e| Error::new("fallocate", self.path.display(), e))
    }

    /// Waits until all written data is on the medium.
    ///
    /// # Errors
    /// As fsync(2).
    pub fn flush(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(|e| Error::io("fsync", self.path.display(), &e))
    }

    /// Returns the size in bytes.
    ///
    /// # Errors
    /// As lseek(2).
    pub fn bytes(&self) -> Result<u64, Error> {
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0)).map_err(|e| Error::new("lseek", self.path.display(), e))
    }
}

/// A buffer that is aligned to [`DIRECT_ALIGN`] in memory.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new(length: usize) -> Self {
        let memory = vec![0; length + DIRECT_ALIGN];
        let start = memory.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
        Self { memory, start }
    }

    fn get(&mut self, length: usize) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + length).unwrap_or_default()
    }
}

/// Sets the read-ahead of the mapped device `/dev/dm-N` (its sysfs name) in KiB.
///
/// # Errors
/// As writing sysfs.
pub fn set_read_ahead(name: &str, kib: u32) -> Result<(), Error> {
    let path = format!("/sys/block/{name}/queue/read_ahead_kb");
    fs::write(&path, kib.to_string()).map_err(|e| Error::io("write", &path, &e))
}

/// Returns `major:minor` of the device with this name in sysfs.
///
/// # Errors
/// As reading sysfs.
pub fn number_of(name: &str) -> Result<String, Error> {
    text(&Path::new("/sys/block").join(name).join("dev"))
}

/// Returns how many sectors of 512 bytes were read from and written to the device with this name in sysfs; `None` when the device
/// is gone.
///
/// Source: Documentation/block/stat.rst, fields 3 and 7.
#[must_use]
pub fn sectors_transferred(name: &str) -> Option<(u64, u64)> {
    transferred(&text(&Path::new("/sys/block").join(name).join("stat")).ok()?)
}

fn transferred(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.split_whitespace().map(|field| field.parse().ok());
    Some((fields.nth(2)??, fields.nth(3)??))
}

/// Returns the minor number of a device node.
///
/// # Errors
/// `ENOENT`; `ENOTBLK` when it is not a block device.
pub fn minor(node: &Path) -> Result<u32, Error> {
    let stat = rustix::fs::stat(node).map_err(|e| Error::new("stat", node.display(), e))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::BlockDevice {
        return Err(Error::new("stat", node.display(), Errno::NOTBLK));
    }
    Ok(rustix::fs::minor(stat.st_rdev))
}

/// Returns the next extent of a sparse file that contains data at or after `from`: its first byte, and the byte after its last.
///
/// # Errors
/// As lseek(2) with `SEEK_DATA`.
pub fn next_extent(file: &File, from: u64) -> Result<Option<(u64, u64)>, Error> {
    use rustix::fs::{SeekFrom, seek};
    let start = match seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(Error::new("lseek", "SEEK_DATA", errno)),
    };
    let end = seek(file, SeekFrom::Hole(start)).map_err(|e| Error::new("lseek", "SEEK_HOLE", e))?;
    Ok(Some((start, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_fields_three_and_seven() {
        let stat =
            "     446        0    11378      111       70        3     9096       55        0      164      167        0\n";
        assert_eq!(transferred(stat), Some((11378, 9096)));
        assert_eq!((transferred(""), transferred("1 2 x 4 5 6 7")), (None, None));
    }

    #[test]
    fn extents_of_a_sparse_file_are_found_in_order() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = file.as_file();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(&[1; 4096], 8192).unwrap();
        assert_eq!(next_extent(file, 0).unwrap(), Some((8192, 12288)));
        assert_eq!(next_extent(file, 12288).unwrap(), None);
    }

    #[test]
    fn direct_reads_return_what_was_written_in_pieces() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let device = Device::open(file.path(), Access::ReadWrite).unwrap();
        let pattern: Vec<u8> = (0..=255).cycle().take((2 << 20) + DIRECT_ALIGN).collect();
        device.write(4096, &pattern).unwrap();
        device.flush().unwrap();
        assert_eq!(device.read(4096, pattern.len()).unwrap(), pattern);
        assert_eq!(device.bytes().unwrap(), 3 << 20);
        assert_eq!(device.read(3 << 20, 4096).unwrap_err().errno(), Errno::IO);
        device.write_zeros(8192, 4096).unwrap();
        assert_eq!(device.read(4096, 12288).unwrap(), [&pattern[..4096], &[0; 4096], &pattern[8192..12288]].concat());
    }
}
