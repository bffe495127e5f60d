//! Disks of the machine, and the changes that a host can make to them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use qemu::Disk;

use crate::{Artifacts, Context, Failure};

/// Size of a data disk in bytes: small enough to copy, large enough for LUKS2, tags and ext4.
const DATA_BYTES: u64 = 160 << 20;

/// The image's disk, or a copy of it that the host changed.
#[derive(Debug, Clone)]
pub struct RootDisk {
    file: PathBuf,
    /// Reading the sector at this byte fails.
    unreadable: Option<u64>,
}

impl RootDisk {
    /// The image as built.
    #[must_use]
    pub fn genuine(artifacts: &Artifacts) -> Self {
        Self::of(artifacts.image.clone())
    }

    /// Another image.
    pub(crate) const fn of(file: PathBuf) -> Self {
        Self { file, unreadable: None }
    }

    /// The image on a disk that cannot read the sector at this byte.
    #[must_use]
    pub fn unreadable_at(artifacts: &Artifacts, offset: u64) -> Self {
        Self { unreadable: Some(offset), ..Self::genuine(artifacts) }
    }

    /// A copy of the image in `folder` with other bytes at `offset`.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn with_bytes(artifacts: &Artifacts, folder: &Path, offset: u64, bytes: &[u8]) -> Result<Self, Failure> {
        let file = folder.join("root.raw");
        fs::copy(&artifacts.image, &file).context("copying the image")?;
        let disk = File::options().write(true).open(&file).context("opening the image")?;
        disk.write_all_at(bytes, offset).context("writing the image")?;
        Ok(Self::of(file))
    }

    /// A copy of the image in `folder` with one bit of the byte at `offset` changed.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn with_flipped_byte(artifacts: &Artifacts, folder: &Path, offset: u64) -> Result<Self, Failure> {
        let file = folder.join("root.raw");
        fs::copy(&artifacts.image, &file).context("copying the image")?;
        flip(&file, offset)?;
        Ok(Self::of(file))
    }

    pub(crate) fn attached(&self) -> Disk {
        Disk { read_only: true, unreadable: self.unreadable, ..Disk::raw("root", &self.file) }
    }
}

/// A data disk in a file.
#[derive(Debug, Clone)]
pub struct DataDisk {
    file: PathBuf,
}

impl DataDisk {
    /// Creates a blank disk in `folder`: a sparse file.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn blank(folder: &Path) -> Result<Self, Failure> {
        Self::blank_of(folder, DATA_BYTES)
    }

    /// Creates a blank disk of `bytes` bytes.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn blank_of(folder: &Path, bytes: u64) -> Result<Self, Failure> {
        Self::named(folder, "data.raw", bytes)
    }

    /// Creates a blank disk of `bytes` bytes in the file `name`.
    ///
    /// # Errors
    /// The file system refuses it.
    pub(crate) fn named(folder: &Path, name: &str, bytes: u64) -> Result<Self, Failure> {
        let file = folder.join(name);
        File::create(&file).and_then(|file| file.set_len(bytes)).context("making the data disk")?;
        Ok(Self { file })
    }

    /// Copies the disk to the file `name` beside it; holes stay holes.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn copy(&self, name: &str) -> Result<Self, Failure> {
        let file = self.file.with_file_name(name);
        let status = Command::new("cp").arg("--sparse=always").args([&self.file, &file]).status();
        match status.context("copying the data disk")? {
            status if status.success() => Ok(Self { file }),
            status => Err(Failure(format!("copying the data disk: {status}"))),
        }
    }

    /// Changes the size of the disk; bytes behind the new end are lost.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn resize(&self, bytes: u64) -> Result<(), Failure> {
        let file = File::options().write(true).open(&self.file).context("opening the data disk")?;
        file.set_len(bytes).context("resizing the data disk")
    }

    /// Changes one bit of the byte at `offset`.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn flip(&self, offset: u64) -> Result<(), Failure> {
        flip(&self.file, offset)
    }

    /// The disk's file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Overwrites bytes, as a host can.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let file = File::options().write(true).open(&self.file).context("opening the data disk")?;
        file.write_all_at(bytes, offset).context("writing to the data disk")
    }

    /// Reads `length` bytes.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; length];
        let file = File::open(&self.file).context("opening the data disk")?;
        file.read_exact_at(&mut bytes, offset).context("reading the data disk")?;
        Ok(bytes)
    }

    /// Expects that nothing was written to the disk.
    ///
    /// # Errors
    /// The disk is not blank.
    pub(crate) fn expect_blank(&self) -> Result<(), Failure> {
        if self.is_blank()? { Ok(()) } else { Err(Failure("the data disk must stay blank, but was written to".to_owned())) }
    }

    /// Whether every byte is zero.
    ///
    /// # Errors
    /// The file system refuses it.
    pub fn is_blank(&self) -> Result<bool, Failure> {
        let bytes = fs::read(&self.file).context("reading the data disk")?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    pub(crate) fn attached_as(&self, serial: &str) -> Disk {
        Disk::raw(serial, &self.file)
    }
}

fn flip(path: &Path, offset: u64) -> Result<(), Failure> {
    let file = File::options().read(true).write(true).open(path).context("opening the image")?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).context("reading the image")?;
    file.write_all_at(&byte.map(|byte| byte ^ 1), offset).context("writing the image")
}

/// Size of one copy of the LUKS2 header on disks that cvm-init formats.
const HEADER_BYTES: usize = 16 << 10;

/// Replaces `from` with `to` in the JSON of both copies of a LUKS2 header and recomputes their checksums, as a host can. Source:
/// LUKS2 On-Disk Format Specification 1.1.2, section 2.
pub(crate) fn rewrite_header(disk: &DataDisk, from: &str, to: &str) -> Result<(), Failure> {
    let small = || Failure("the LUKS2 header is shorter than expected".to_owned());
    for copy in 0..2 {
        let offset = copy * u64::try_from(HEADER_BYTES).context("converting a size")?;
        let mut header = disk.read(offset, HEADER_BYTES)?;
        let json = header.get_mut(4096..).ok_or_else(small)?;
        let text = String::from_utf8_lossy(json).trim_end_matches('\0').to_owned();
        let spoiled = text.replacen(from, to, 1);
        if spoiled == text {
            return Err(Failure(format!("the header does not contain {from}: {text}")));
        }
        json.fill(0);
        json.get_mut(..spoiled.len()).ok_or_else(small)?.copy_from_slice(spoiled.as_bytes());
        header.get_mut(448..512).ok_or_else(small)?.fill(0);
        let digest = ring::digest::digest(&ring::digest::SHA256, &header);
        header.get_mut(448..480).ok_or_else(small)?.copy_from_slice(digest.as_ref());
        disk.write(offset, &header)?;
    }
    Ok(())
}

/// The JSON of the primary header.
pub(crate) fn header_json(disk: &DataDisk) -> Result<serde_json::Value, Failure> {
    let area = disk.read(4096, HEADER_BYTES - 4096)?;
    serde_json::from_str(String::from_utf8_lossy(&area).trim_end_matches('\0')).context("parsing the LUKS2 header's JSON")
}
