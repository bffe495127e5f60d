//! Block devices as sysfs lists them, and reads and writes that pass no cache (`O_DIRECT`).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::Error;

/// Offsets, lengths and buffers of direct transfers are multiples of this many bytes.
pub const DIRECT_ALIGN: usize = 4096;

/// The largest single transfer, in bytes: what is read from a disk is never larger than its caller asked in pieces.
const TRANSFER_MAX: usize = 1 << 20;

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Name under `/dev` and `/sys/block`, as `vda`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Logical block size in bytes: the unit of the partition table.
    pub block: u32,
    /// Serial number as virtio, NVMe or SCSI tell it.
    pub serial: Option<String>,
    sysfs: PathBuf,
}

/// A partition as the kernel found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelPartition {
    /// Name under `/dev`, as `vda2`.
    pub name: String,
    /// First byte on its disk.
    pub start: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// `major:minor`.
    pub number: String,
}

/// All disks of the machine; loop, RAM and mapped devices are not disks.
///
/// # Errors
/// As reading `/sys/block`.
pub fn disks() -> Result<Vec<Disk>, Error> {
    disks_in(Path::new("/sys/block"))
}

/// The same with sysfs elsewhere.
///
/// # Errors
/// As reading the folder; a disk that vanishes while it is read is left out.
pub fn disks_in(root: &Path) -> Result<Vec<Disk>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(|e| Error::io("readdir", root.display(), &e))? {
        let entry = entry.map_err(|e| Error::io("readdir", root.display(), &e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if ["loop", "ram", "dm-", "zram", "md", "sr", "fd"].iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let sysfs = root.join(&name);
        // A path of a multipath NVMe disk: the disk itself is listed as well.
        if number(&sysfs.join("hidden")) == Some(1) {
            continue;
        }
        let (Some(sectors), Some(block)) = (number(&sysfs.join("size")), number(&sysfs.join("queue/logical_block_size"))) else {
            continue;
        };
        let Ok(block) = u32::try_from(block) else { continue };
        found.push(Disk { serial: serial(&sysfs), bytes: sectors.saturating_mul(512), block, name, sysfs });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

impl Disk {
    /// The device node.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// `major:minor` of the whole disk.
    ///
    /// # Errors
    /// As reading sysfs.
    pub fn number(&self) -> Result<String, Error> {
        text(&self.sysfs.join("dev"))
    }

    /// The partitions that the kernel made of it.
    ///
    /// # Errors
    /// As reading sysfs.
    pub fn partitions(&self) -> Result<Vec<KernelPartition>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.sysfs).map_err(|e| Error::io("readdir", self.sysfs.display(), &e))? {
            let entry = entry.map_err(|e| Error::io("readdir", self.sysfs.display(), &e))?;
            let (Ok(name), path) = (entry.file_name().into_string(), entry.path()) else { continue };
            if !path.join("partition").exists() {
                continue;
            }
            if let (Some(start), Some(sectors)) = (number(&path.join("start")), number(&path.join("size"))) {
                found.push(KernelPartition {
                    name,
                    start: start.saturating_mul(512),
                    bytes: sectors.saturating_mul(512),
                    number: text(&path.join("dev"))?,
                });
            }
        }
        Ok(found)
    }
}

fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|e| Error::io("read", path.display(), &e))
}

fn number(path: &Path) -> Option<u64> {
    text(path).ok()?.parse().ok()
}

/// virtio and some others: `serial`; NVMe: `device/serial`; SCSI: page 0x80 of the vital product data after its 4-byte header.
fn serial(sysfs: &Path) -> Option<String> {
    let plain = ["serial", "device/serial"].iter().find_map(|name| text(&sysfs.join(name)).ok());
    let scsi = || {
        let page = fs::read(sysfs.join("device/vpd_pg80")).ok()?;
        Some(std::str::from_utf8(page.get(4..)?).ok()?.trim_matches(['\0', ' ']).to_owned())
    };
    plain.or_else(scsi).filter(|serial| !serial.is_empty())
}

/// An open block device (or a file in its place) that is read and written past the page cache.
#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
}

/// How a device is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

impl Device {
    /// Opens `path` with `O_DIRECT`.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path, access: Access) -> Result<Self, Error> {
        let flags = i32::try_from((OFlags::DIRECT | OFlags::CLOEXEC).bits()).unwrap_or_default();
        let file = File::options().read(true).write(access == Access::ReadWrite).custom_flags(flags).open(path);
        Ok(Self { file: file.map_err(|e| Error::io("open", path.display(), &e))?, path: path.to_owned() })
    }

    /// Reads exactly `length` bytes at `offset`, both multiples of [`DIRECT_ALIGN`].
    ///
    /// # Errors
    /// `EIO` when the device says so or ends before; `EINVAL` when the range is not aligned.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(length);
        self.for_each_piece(offset, length, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// Reads as [`Device::read`], a piece of at most 1 MiB at a time.
    ///
    /// # Errors
    /// As [`Device::read`].
    pub fn for_each_piece(&self, offset: u64, length: usize, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut buffer = Aligned::new(length.min(TRANSFER_MAX));
        let mut done = 0;
        while done < length {
            let piece = buffer.get(length.saturating_sub(done).min(TRANSFER_MAX));
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            self.file.read_exact_at(piece, at).map_err(|e| Error::io("read", self.path.display(), &e))?;
            done += piece.len();
            take(piece);
        }
        Ok(())
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

    /// Writes zeros to `length` bytes at `offset`, both multiples of [`DIRECT_ALIGN`]. The kernel makes the zeros: nothing is
    /// copied, and many requests are under way at once. A block device must know `FALLOC_FL_ZERO_RANGE`, which each does.
    ///
    /// # Errors
    /// As fallocate(2).
    pub fn write_zeros(&self, offset: u64, length: u64) -> Result<(), Error> {
        // Without KEEP_SIZE a range that ends behind the device would be an error of another kind on files.
        let flags = rustix::fs::FallocateFlags::ZERO_RANGE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, offset, length).map_err(|e| Error::new("fallocate", self.path.display(), e))
    }

    /// Waits until what was written is on the medium.
    ///
    /// # Errors
    /// As fsync(2).
    pub fn flush(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(|e| Error::io("fsync", self.path.display(), &e))
    }

    /// Size in bytes, by seeking to the end.
    ///
    /// # Errors
    /// As lseek(2).
    pub fn bytes(&self) -> Result<u64, Error> {
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0)).map_err(|e| Error::new("lseek", self.path.display(), e))
    }
}

/// A buffer whose bytes start at a multiple of [`DIRECT_ALIGN`] in memory.
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

/// `major:minor` of the device with this name in sysfs.
///
/// # Errors
/// As reading sysfs.
pub fn number_of(name: &str) -> Result<String, Error> {
    text(&Path::new("/sys/block").join(name).join("dev"))
}

/// How many sectors of 512 bytes were read from and written to the device with this name in sysfs since it appeared; `None` when
/// it is gone.
///
/// Source: Documentation/block/stat.rst: fields 3 and 7.
#[must_use]
pub fn sectors_transferred(name: &str) -> Option<(u64, u64)> {
    transferred(&text(&Path::new("/sys/block").join(name).join("stat")).ok()?)
}

fn transferred(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.split_whitespace().map(|field| field.parse().ok());
    Some((fields.nth(2)??, fields.nth(3)??))
}

/// The minor number of a device node.
///
/// # Errors
/// `ENOENT`; `ENOTBLK` when it is no block device.
pub fn minor(node: &Path) -> Result<u32, Error> {
    let stat = rustix::fs::stat(node).map_err(|e| Error::new("stat", node.display(), e))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::BlockDevice {
        return Err(Error::new("stat", node.display(), Errno::NOTBLK));
    }
    Ok(rustix::fs::minor(stat.st_rdev))
}

/// The next stretch of a sparse file that holds data at or after `from`: first byte, and the byte after the last.
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

    fn sysfs(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn lists_disks_with_the_serial_of_each_bus() {
        let root = sysfs(&[
            ("vda/size", b"2048\n"),
            ("vda/queue/logical_block_size", b"512\n"),
            ("vda/serial", b"root"),
            ("nvme0n1/size", b"8\n"),
            ("nvme0n1/queue/logical_block_size", b"4096\n"),
            ("nvme0n1/device/serial", b"data   \n"),
            ("sda/size", b"8\n"),
            ("sda/queue/logical_block_size", b"512\n"),
            ("sda/device/vpd_pg80", b"\0\x80\0\x04 ab\0"),
            ("loop0/size", b"8\n"),
            ("loop0/queue/logical_block_size", b"512\n"),
            ("vdb/size", b"nonsense\n"),
            ("vdb/queue/logical_block_size", b"512\n"),
        ]);
        let found: Vec<_> = disks_in(root.path()).unwrap().into_iter().map(|d| (d.name, d.bytes, d.block, d.serial)).collect();
        assert_eq!(
            found,
            [
                ("nvme0n1".to_owned(), 4096, 4096, Some("data".to_owned())),
                ("sda".to_owned(), 4096, 512, Some("ab".to_owned())),
                ("vda".to_owned(), 1_048_576, 512, Some("root".to_owned())),
            ]
        );
    }

    #[test]
    fn lists_partitions_in_bytes() {
        let root = sysfs(&[
            ("vda/size", b"2048"),
            ("vda/queue/logical_block_size", b"512"),
            ("vda/dev", b"254:0\n"),
            ("vda/vda2/partition", b"2\n"),
            ("vda/vda2/start", b"64\n"),
            ("vda/vda2/size", b"8\n"),
            ("vda/vda2/dev", b"254:2\n"),
        ]);
        let disk = disks_in(root.path()).unwrap().remove(0);
        assert_eq!(disk.number().unwrap(), "254:0");
        let want = KernelPartition { name: "vda2".to_owned(), start: 32768, bytes: 4096, number: "254:2".to_owned() };
        assert_eq!(disk.partitions().unwrap(), [want]);
    }

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
