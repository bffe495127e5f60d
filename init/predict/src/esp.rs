//! The files that a boot loader can read: those of the EFI system partition (FAT).

use std::cell::RefCell;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Seek, SeekFrom, Write};

use fatfs::{FileSystem, FsOptions};

use crate::Error;

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 1 << 30;
/// The most entries of a directory that are read.
const NAMES_MAX: usize = 10_000;

/// A tree of files. Names are separated by `/` and case-insensitive.
pub(crate) trait Files {
    /// Reads a file.
    fn read(&self, path: &str) -> Result<Vec<u8>, Error>;

    /// Lists the names in a directory, sorted; empty when the directory does not exist.
    fn names(&self, path: &str) -> Result<Vec<String>, Error>;
}

/// A read-only FAT file system.
pub(crate) struct Esp<D: Read + Seek>(RefCell<FileSystem<Window<D>>>);

impl<D: Read + Seek> Esp<D> {
    /// Opens the file system in `bytes` bytes from `start` on.
    pub(crate) fn open(disk: D, start: u64, bytes: u64) -> Result<Self, Error> {
        let window = Window { disk, start, bytes, at: 0 };
        Ok(Self(RefCell::new(FileSystem::new(window, FsOptions::new())?)))
    }
}

impl<D: Read + Seek> Files for Esp<D> {
    fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let fat = self.0.borrow();
        let mut file = match fat.root_dir().open_file(path.trim_start_matches('/')) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::NoFile(path.to_owned())),
            Err(error) => return Err(error.into()),
        };
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        if length > FILE_MAX {
            return Err(Error::TooLarge(path.to_owned()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn names(&self, path: &str) -> Result<Vec<String>, Error> {
        let fat = self.0.borrow();
        let directory = match fat.root_dir().open_dir(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut names = Vec::new();
        for entry in directory.iter() {
            names.push(entry?.file_name());
            if names.len() > NAMES_MAX {
                return Err(Error::TooLarge(path.to_owned())); // the cluster chain may be a loop
            }
        }
        names.retain(|name| name != "." && name != "..");
        names.sort_unstable();
        Ok(names)
    }
}

/// A range of a disk as a reader of its own.
struct Window<D> {
    disk: D,
    start: u64,
    bytes: u64,
    at: u64,
}

impl<D: Read + Seek> Read for Window<D> {
    fn read(&mut self, into: &mut [u8]) -> IoResult<usize> {
        self.disk.seek(SeekFrom::Start(self.start + self.at))?;
        let count = (&mut self.disk).take(self.bytes.saturating_sub(self.at)).read(into)?;
        self.at += u64::try_from(count).map_err(IoError::other)?;
        Ok(count)
    }
}

impl<D> Write for Window<D> {
    fn write(&mut self, _: &[u8]) -> IoResult<usize> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

impl<D> Seek for Window<D> {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.filter(|at| *at <= self.bytes).ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
