//! Why the data disk is not opened.

use cmdline::DataDisk;
use failure::ErrorCode;
use ondisk::{blank, luks2};
use uuid::Uuid;

use super::{check, driver, format, luks, size, unwritten};
use crate::phase::{api, block_lookup};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Disk(#[from] block_lookup::Error),
    #[error(transparent)]
    Modules(#[from] api::Error),
    #[error("reading")]
    Read(#[source] linux::Error),
    #[error("writing")]
    Write(#[source] linux::Error),
    #[error("{0}")]
    TooSmall(blank::TooSmall),
    #[error("{0} and cvm.data.format is never")]
    Unformatted(&'static str),
    #[error("neither blank nor LUKS2")]
    Foreign,
    #[error("header")]
    Header(#[source] luks2::Error),
    #[error("header breaks the policy")]
    Violation(#[source] luks2::Violation),
    #[error("the header has no seal and cvm.data.header-auth requires one")]
    Unsealed,
    #[error("{0} does not answer to the key")]
    Seal(&'static str),
    #[error("opening")]
    Open(#[source] luks::Error),
    #[error("driver")]
    Driver(#[from] driver::Error),
    #[error("mounting")]
    Mount(#[source] linux::Error),
    #[error("the mount point of the image (links are not followed)")]
    NoMountpoint(#[source] linux::Error),
    #[error("check of the file system")]
    Check(#[from] check::Error),
    #[error("examining the inode tables")]
    Unwritten(#[from] unwritten::Error),
    #[error("the size of the disk")]
    Size(#[from] size::Error),
    #[error("another data disk of the policy is the same device")]
    SameDisk,
    #[error("data disk {0}")]
    Of(String, #[source] Box<Self>),
    #[error("the disk's LUKS UUID is {0}, and cvm.data.uuid is {1}")]
    OtherUuid(Uuid, Uuid),
    #[error("{0} and cvm.data.format-until is over: the vaults' time is {1} s after it")]
    TooLate(&'static str, u64),
    #[error("{0} and cvm.data.format-until needs the vaults' time, which is not known")]
    NoTime(&'static str),
    #[error("formatting")]
    Format(#[from] format::Error),
    #[error("what was written does not read back")]
    ReadBack,
    #[error("the disk is not what it was before the unlock")]
    Changed,
    #[error("the disk was written to while its key was gathered: another machine has it open, which must end first")]
    InUse,
}

impl Error {
    /// The same of a disk that has a name.
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
            Self::Unsealed => ErrorCode::HeaderUnauthenticated,
            Self::Seal(_) => ErrorCode::HeaderAuth,
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
            // A read that fails may come through the next time; what was read and is wrong stays wrong.
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
            (Error::Modules(api::Error::Silent("a.ko".to_owned(), "vdb".to_owned(), silent.clone())), 14, true),
            (Error::Modules(api::Error::Module(silent)), 13, false),
        ];
        for (error, code, is_transient) in cases {
            assert_eq!((error.code().number(), error.is_transient()), (code, is_transient), "{error:?}");
        }
    }
}
