//! Disks of the machine, and what a host can do to them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use machine::Disk;

use crate::{Artifacts, Doing, Failure};

/// Size of a data disk in bytes: small enough to copy, large enough for LUKS2, tags and ext4.
const DATA_BYTES: u64 = 160 << 20;

/// The image's disk, or a copy of it that a host has changed.
#[derive(Debug, Clone)]
pub struct RootDisk {
    file: PathBuf,
}

impl RootDisk {
    /// The image as it was built.
    #[must_use]
    pub fn genuine(artifacts: &Artifacts) -> Self {
        Self { file: artifacts.image.clone() }
    }

    /// A copy in `folder` with the byte at `offset` changed.
    ///
    /// # Errors
    /// As the file system.
    pub fn with_flipped_byte(artifacts: &Artifacts, folder: &Path, offset: u64) -> Result<Self, Failure> {
        let file = folder.join("root.raw");
        fs::copy(&artifacts.image, &file).doing("copying the image")?;
        flip(&file, offset)?;
        Ok(Self { file })
    }

    pub(crate) fn attached(&self) -> Disk {
        Disk { read_only: true, ..Disk::raw("root", &self.file) }
    }
}

/// A data disk in a file.
#[derive(Debug, Clone)]
pub struct DataDisk {
    file: PathBuf,
}

impl DataDisk {
    /// A blank one in `folder`: a file with nothing but a size.
    ///
    /// # Errors
    /// As the file system.
    pub fn blank(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join("data.raw");
        File::create(&file).and_then(|file| file.set_len(DATA_BYTES)).doing("making the data disk")?;
        Ok(Self { file })
    }

    /// Overwrites bytes, as a host can at any time.
    ///
    /// # Errors
    /// As the file system.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let file = File::options().write(true).open(&self.file).doing("opening the data disk")?;
        file.write_all_at(bytes, offset).doing("writing to the data disk")
    }

    /// Reads `length` bytes.
    ///
    /// # Errors
    /// As the file system.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; length];
        let file = File::open(&self.file).doing("opening the data disk")?;
        file.read_exact_at(&mut bytes, offset).doing("reading the data disk")?;
        Ok(bytes)
    }

    /// Whether every byte is still zero.
    ///
    /// # Errors
    /// As the file system.
    pub fn is_blank(&self) -> Result<bool, Failure> {
        let bytes = fs::read(&self.file).doing("reading the data disk")?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    pub(crate) fn attached(&self) -> Disk {
        Disk::raw("data", &self.file)
    }
}

fn flip(path: &Path, offset: u64) -> Result<(), Failure> {
    let file = File::options().read(true).write(true).open(path).doing("opening the image")?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).doing("reading the image")?;
    file.write_all_at(&byte.map(|byte| byte ^ 1), offset).doing("writing the image")
}

/// Rewrites both copies of a LUKS2 header so that the keyslot's area is `cipher_null-ecb`, checksums and all: the published
/// attack (CVE-2025-59054 and kin). Source: LUKS2 On-Disk Format Specification 1.1.2, section 2.
pub(crate) fn spoil_keyslot_cipher(disk: &DataDisk) -> Result<(), Failure> {
    let size = 16 << 10;
    for copy in 0..2 {
        let offset = copy * u64::try_from(size).doing("size")?;
        let mut header = disk.read(offset, size)?;
        let (binary, json) = header.split_at_mut(4096);
        let text = String::from_utf8_lossy(json).trim_end_matches('\0').to_owned();
        let spoiled = text.replacen(
            "\"encryption\":\"aes-xts-plain64\",\"key_size\":64",
            "\"encryption\":\"cipher_null-ecb\",\"key_size\":64",
            1,
        );
        if spoiled == text {
            return Err(Failure("no keyslot cipher in the header".to_owned()));
        }
        json.fill(0);
        json.get_mut(..spoiled.len()).ok_or_else(|| Failure("header too small".to_owned()))?.copy_from_slice(spoiled.as_bytes());
        let checksum = 448..512;
        let field = binary.get_mut(checksum.clone()).ok_or_else(|| Failure("header too small".to_owned()))?;
        field.fill(0);
        let digest = ring::digest::digest(&ring::digest::SHA256, &header);
        header
            .get_mut(checksum.start..checksum.start + 32)
            .ok_or_else(|| Failure("header too small".to_owned()))?
            .copy_from_slice(digest.as_ref());
        disk.write(offset, &header)?;
    }
    Ok(())
}
