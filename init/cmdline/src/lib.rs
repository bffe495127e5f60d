//! The measured kernel command line: the only configuration there is.
//!
//! Never guesses: a word of ours that is unknown, repeated, quoted or malformed is an error, since the host may try to
//! append one. The kernel's and systemd's own words are left alone.

mod address;
mod disks;
mod key;
mod keyword;
mod net;
mod policy;
mod scratch;
#[cfg(test)]
mod tests;
mod time;
mod value;
mod words;

pub use address::{Host, Pccs, VaultAddress};
pub use disks::{DataDisk, DiskName};
pub use failure::FailureAction;
pub use key::Key;
pub use keyword::{
    Check, DataCipher, Distinct, FileSystem, Format, FsOption, LogLevel, Measure, Measured, OnCorruption, OnError, OpenMode,
    Phase, Seal, TcbStatus, Wipe,
};
pub use net::{LinkSelector, Net, NetMode};
pub use policy::{Data, Policy, PreviousKey, Root, Vaults};
pub use scratch::{Scratch, ScratchUse};
pub use value::{
    DebugFlags, DiskSelector, Handle, InitPath, KeyCommitment, Mountpoint, PartLabel, RootHash, RootSelector, Serial, TcbPolicy,
    Threshold,
};

/// Reads the text of `/proc/cmdline`: at most 2,047 bytes of printable ASCII and white space, and one last `\n`.
///
/// # Errors
/// [`Error::TooLong`], [`Error::NotAscii`] and [`Error::Quoted`] refuse the line as a whole; the rest name the key.
///
/// Source: Documentation/admin-guide/kernel-parameters.rst; `next_arg` in the kernel's lib/cmdline.c.
pub fn parse(line: &str) -> Result<Policy, Error> {
    policy::build(words::Words::read(line)?)
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than the kernel keeps on x86, so the end of it may be missing.
    #[error("longer than {} bytes", words::MOST_BYTES)]
    TooLong,
    /// A byte that is neither printable ASCII nor white space on which the kernel splits as we do.
    #[error("a byte that is not printable ascii")]
    NotAscii,
    /// A double quote: the kernel's quoting joins words that we would see apart.
    #[error("a double quote")]
    Quoted,
    /// A word of ours behind `--`, where words are arguments of init and configure nothing.
    #[error("{0} after --")]
    AfterDashes(Key),
    /// A `cvm.` key that does not exist; at most 64 characters of it.
    #[error("unknown key {0}")]
    Unknown(String),
    /// A key that earlier versions had.
    #[error("{key} is not supported any more: {reason}")]
    Removed {
        /// Its name.
        key: &'static str,
        /// Why it is gone.
        reason: &'static str,
    },
    /// A key given twice: who wins would depend on who reads.
    #[error("{0} is repeated")]
    Repeated(Key),
    /// A value that is not in the grammar of its key.
    #[error("{0} is malformed")]
    Malformed(Key),
    /// A key that has no default.
    #[error("{0} is missing")]
    Missing(Key),
    /// Keys that are good each by itself and not together.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// Why keys do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A key about the data disk or its vaults, and no `cvm.data`: a typo there must not drop the disk in silence.
    #[error("{0} without {data}", data = Key::Data)]
    WithoutData(Key),
    /// More shares are needed than there are vaults.
    #[error("a threshold of {threshold} with {vaults} vaults")]
    TooFewVaults {
        /// Shares needed.
        threshold: u8,
        /// Vaults listed.
        vaults: usize,
    },
    /// The handle that is rotated away from is the one that is rotated to.
    #[error("{} equals {}, at the same vaults", Key::VaultPrevious, Key::VaultHandle)]
    SameHandle,
    /// The key that is rotated away from is the one that is rotated to.
    #[error("{} equals {}: deal a new key to rotate to", Key::VaultPreviousCommit, Key::VaultCommit)]
    SameCommitment,
    /// A word about a key that is rotated away from, and none that names it.
    #[error("{} without {}", .0, Key::VaultPrevious)]
    NoPrevious(Key),
    /// A key that nothing proves would become a disk's key.
    #[error("{commit}=none with {0}: give the commitment that cvmctl provision printed", commit = Key::VaultCommit)]
    Uncommitted(Key),
    /// A time to format until, and a policy that never formats.
    #[error("{} without {}=if-blank", Key::DataFormatUntil, Key::DataFormat)]
    NeverFormats,
    /// An identifier that only a formatted disk has, and a policy that formats.
    #[error("{} with {}=if-blank: a disk that is formatted gets another identifier", Key::DataUuid, Key::DataFormat)]
    FormatsAnother,
    /// A mount option that the file system does not have.
    #[error("{}=prjquota with {}=btrfs, which has no project quotas", Key::DataOptions, Key::DataFs)]
    NoProjectQuota,
    /// A way to end that the file system does not have.
    #[error("{}=panic with {}=btrfs, which turns read-only and has no option to panic", Key::DataOnError, Key::DataFs)]
    NoPanic,
    /// A mount point that the running system hides or needs.
    #[error("{0} is in /{1}, which the running system mounts over or needs")]
    SystemFolder(Key, &'static str),
    /// A disk that another key, or another item of the same key, names as well.
    #[error("{0} names the same disk as {1}")]
    SameDisk(Key, Key),
    /// A mount point that is another mount point, in one or above one.
    #[error("a mount point of {0} is that of {1}, inside of it or above it")]
    MountsOverlap(Key, Key),
    /// A value for a data disk that is not listed.
    #[error("{0} names a disk that is not in {data}", data = Key::Data)]
    NoSuchDisk(Key),
    /// Settings of a mount, and no mount.
    #[error("{0} with {open}=no-mount", open = Key::DataOpen)]
    NotMounted(Key),
    /// Vaults to dial over IP and no network to do it with.
    #[error("{} is none and a vault is not on vsock", Key::Net)]
    NoNetwork,
}
