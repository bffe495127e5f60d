//! Why a data disk cannot be opened.

use cmdline::DataDisk;
use failure::ErrorCode;
use ondisk::{blank, luks2};
use uuid::Uuid;

use super::{check, driver, format, luks, size, unwritten};
use crate::phase::{block_lookup, early};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Disk(#[from] block_lookup::Error),
    #[error(transparent)]
    Modules(#[from] early::Error),
    #[error("reading the disk")]
    Read(#[source] linux::Error),
    #[error("writing the disk")]
    Write(#[source] linux::Error),
    #[error("{0}")]
    TooSmall(blank::TooSmall),
    #[error("{0} and cvm.data.format is never")]
    Unformatted(&'static str),
    #[error("the disk is neither blank nor LUKS2")]
    Foreign,
    #[error("LUKS2 header")]
    Header(#[source] luks2::Error),
    #[error("the LUKS2 header violates the policy")]
    Violation(#[source] luks2::Violation),
    #[error("the header has no authentication token and cvm.data.header-auth requires one")]
    Unauthenticated,
    #[error("{0} does not verify under the key")]
    NotAuthenticated(&'static str),
    #[error("opening the disk")]
    Open(#[source] luks::Error),
    #[error("file system driver")]
    Driver(#[from] driver::Error),
    #[error("mounting")]
    Mount(#[source] linux::Error),
    #[error("the image contains no folder for the mount point (links are not followed)")]
    NoMountpoint(#[source] linux::Error),
    #[error("check of the file system")]
    Check(#[from] check::Error),
    #[error("examining the inode tables")]
    Unwritten(#[from] unwritten::Error),
    #[error("size of the disk")]
    Size(#[from] size::Error),
    #[error("another data disk of the policy is the same device")]
    SameDisk,
    #[error("data disk {0}")]
    Of(String, #[source] Box<Self>),
    #[error("the disk's LUKS UUID is {0}, expected {1} (cvm.data.uuid)")]
    OtherUuid(Uuid, Uuid),
    #[error("{0} and cvm.data.format-until is over: the vaults' time is {1} s after it")]
    TooLate(&'static str, u64),
    #[error("{0} and cvm.data.format-until needs the vaults' time, which is unknown")]
    NoTime(&'static str),
    #[error("formatting")]
    Format(#[from] format::Error),
    #[error("the disk returns other bytes than were written")]
    ReadBack,
    #[error("the disk changed during the unlock")]
    Changed,
    #[error("the disk was written to during the unlock: another machine has it open; stop that machine first")]
    InUse,
}

impl Error {
    /// Adds the name of a disk that has one.
    pub(super) fn of(self, disk: &DataDisk) -> Self {
        match (&disk.name, self) {
            (None, error) | (Some(_), error @ Self::Of(..)) => error,
            (Some(name), error) => Self::Of(name.as_str().to_owned(), Box::new(error)),
        }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Disk(block_lookup::Error::NotOpen(..)) | Self::Read(_) | Self::Unwritten(unwritten::Error::Read(_)) => {
                ErrorCode::DataUnreadable
            }
            Self::Disk(_) | Self::SameDisk => ErrorCode::DataMissing,
            Self::Of(_, error) => error.code(),
            Self::Modules(error) => error.code(),
            Self::Unformatted(_) | Self::TooLate(..) | Self::NoTime(_) => ErrorCode::DataUnformatted,
            Self::Foreign => ErrorCode::DataForeign,
            Self::Header(_) => ErrorCode::DataHeader,
            Self::Violation(_) => ErrorCode::DataPolicy,
            Self::Open(_) => ErrorCode::DataOpen,
            Self::Driver(_) | Self::Mount(_) => ErrorCode::DataMount,
            Self::NoMountpoint(_) => ErrorCode::DataMountpoint,
            Self::TooSmall(_) => ErrorCode::DataSize,
            Self::Format(error) => error.code(),
            Self::Write(_) => ErrorCode::FormatWrite,
            Self::ReadBack | Self::Changed | Self::InUse => ErrorCode::DataChanged,
            Self::Unauthenticated => ErrorCode::HeaderUnauthenticated,
            Self::NotAuthenticated(_) => ErrorCode::HeaderAuth,
            Self::Check(_) => ErrorCode::FileSystemCheck,
            Self::Unwritten(_) => ErrorCode::InodeTables,
            Self::Size(error) => error.code(),
            Self::OtherUuid(..) => ErrorCode::DataUuid,
        }
    }

    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Of(_, error) => error.is_transient(),
            Self::Disk(error) => error.is_transient(),
            Self::Modules(error) => error.is_transient(),
            Self::Driver(error) => error.is_transient(),
            Self::Read(_) | Self::NoTime(_) | Self::InUse => true,
            // A failed read may succeed after the next start; wrong content stays wrong.
            Self::Open(error) => error.is_io(),
            Self::Mount(error) | Self::Write(error) => error.is_io(),
            Self::Format(error) => error.is_transient(),
            Self::Check(error) => error.is_transient(),
            Self::Unwritten(error) => error.is_transient(),
            Self::Size(error) => error.is_transient(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_that_fails_may_do_better_the_next_time_and_one_that_is_read_only_may_not() {
        let error = |number| linux::Error::io("write", "/dev/vdb", &std::io::Error::from_raw_os_error(number));
        let (failed, silent, read_only) = (error(5), error(110), error(30));
        let cases = [
            (Error::Write(failed.clone()), 81, true),
            (Error::Write(read_only.clone()), 81, false),
            (Error::Format(format::Error::Write(silent.clone())), 81, true),
            (Error::Format(format::Error::Write(read_only)), 81, false),
            (Error::Format(format::Error::Header(luks::Error::Superblock(silent.clone()))), 80, true),
            (Error::Format(format::Error::Header(luks::Error::Key)), 80, false),
            (Error::Format(format::Error::Changed), 80, false),
            (Error::Open(luks::Error::Superblock(failed)), 76, true),
            (Error::Modules(early::Error::Silent("a.ko".to_owned(), "vdb".to_owned(), silent.clone())), 14, true),
            (Error::Modules(early::Error::Module(silent)), 13, false),
        ];
        for (error, code, is_transient) in cases {
            assert_eq!((error.code().number(), error.is_transient()), (code, is_transient), "{error:?}");
        }
    }
}
