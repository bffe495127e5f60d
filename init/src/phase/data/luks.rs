//! Calls libcryptsetup with a header in private memory and a disk for the data only: it neither reads a header from the disk nor
//! writes one there.

pub(in crate::phase) mod ephemeral;
mod header_file;
mod mapped;
mod new_header;
mod refusal;

use libcryptsetup_rs::LibcryptErr;

use super::memory;
pub(super) use header_file::HeaderFile;
pub(in crate::phase) use mapped::Mapped;

/// `EIO`, for which the standard library has no kind.
const EIO: i32 = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("copy of the header in memory")]
    Copy(#[source] std::io::Error),
    #[error("AF_ALG: {0}")]
    Algorithms(linux::Error),
    #[error("random numbers")]
    Random(#[source] linux::Error),
    #[error("{call}: {text}")]
    Library {
        call: &'static str,
        /// The text of its error.
        text: String,
        /// Whether the error is EIO: the disk failed to read or write.
        io: bool,
    },
    #[error("reading dm-integrity's superblock")]
    Superblock(#[source] linux::Error),
    #[error("{0} has no device node")]
    Node(String),
    #[error("the key opens no keyslot")]
    Key,
    #[error(transparent)]
    Memory(#[from] memory::TooLittle),
}

impl Error {
    /// Whether the disk failed to read or write; false when its content is wrong.
    pub(in crate::phase) const fn is_io(&self) -> bool {
        matches!(self, Self::Library { io: true, .. } | Self::Superblock(_))
    }
}

/// Whether dm-integrity writes each sector to its journal first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    /// Yes: after a power cut each sector has its old or its new content.
    On,
    /// No: only while a first format fills the disk, which starts again after a power cut.
    Off,
}

fn library_error(call: &'static str) -> impl Fn(LibcryptErr) -> Error {
    move |error| {
        let io = matches!(&error, LibcryptErr::IOError(error) if error.raw_os_error() == Some(EIO));
        Error::Library { call, text: error.to_string(), io }
    }
}
