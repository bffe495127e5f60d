//! Why a scratch disk cannot be used.

use failure::ErrorCode;

use super::super::data::{filesystem, luks};
use crate::phase::{block_lookup, early};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Disk(#[from] block_lookup::Error),
    #[error("{0} and {1} are the same disk: name two disks in cvm.scratch")]
    SameDisk(String, String),
    #[error(transparent)]
    Modules(#[from] early::Error),
    #[error("reading the disk")]
    Read(#[source] linux::Error),
    #[error("writing the disk")]
    Write(#[source] linux::Error),
    #[error(
        "{0} holds {1}: a scratch disk must be blank or carry the scratch mark alone. Nothing was written. If nothing on the disk is \
         needed, write zeros to its first 17 MiB and its last 1 MiB; else correct cvm.scratch"
    )]
    InUse(String, &'static str),
    #[error("the disk has {0} bytes and needs at least 32 MiB")]
    Small(u64),
    #[error("the image contains no folder for the mount point (links are not followed)")]
    NoMountpoint(#[source] linux::Error),
    #[error("opening the disk")]
    Open(#[source] luks::Error),
    #[error("file system")]
    FileSystem(#[from] filesystem::Error),
    #[error("mounting")]
    Mount(#[source] linux::Error),
    #[error("swap area")]
    Swap(#[source] linux::Error),
}

impl Error {
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Disk(block_lookup::Error::NotOpen(..)) | Self::Read(_) | Self::Write(_) => ErrorCode::ScratchUnusable,
            Self::Disk(_) | Self::SameDisk(..) => ErrorCode::ScratchMissing,
            Self::Modules(error) => error.code(),
            Self::InUse(..) => ErrorCode::ScratchInUse,
            Self::Small(_) | Self::NoMountpoint(_) => ErrorCode::ScratchPlace,
            Self::Open(_) => ErrorCode::ScratchOpen,
            Self::FileSystem(_) | Self::Mount(_) => ErrorCode::ScratchFileSystem,
            Self::Swap(_) => ErrorCode::ScratchSwap,
        }
    }

    /// A disk that is missing, or that fails to read or write, may work after the next start.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Disk(error) => error.is_transient(),
            Self::Modules(error) => error.is_transient(),
            // A disk that is attached read-only stays read-only.
            Self::Read(error) | Self::Write(error) => !error.is_denial(),
            Self::Open(error) => error.is_io(),
            Self::FileSystem(error) => error.is_io(),
            Self::Mount(error) | Self::Swap(error) => error.is_io(),
            _ => false,
        }
    }
}
