//! The measured kernel command line: all configuration of this init.
//!
//! A key of this init that is unknown, repeated, quoted or malformed is an error, since the host may try to append one.
//! Parameters of the kernel and of systemd are ignored.

mod address;
mod disks;
mod key;
mod keyword;
mod net;
mod parameters;
mod policy;
mod scratch;
#[cfg(test)]
mod tests;
mod time;
mod value;

pub use address::{Host, Pccs, VaultAddress};
pub use disks::{DataDisk, DiskName};
pub use failure::FailureAction;
pub use key::{About, Absent, Group, Key, Needs, SetBy};
pub use keyword::{
    Check, DataCipher, Distinct, FileSystem, Format, FsOption, HeaderAuth, LogLevel, Measure, MountMode, OnCorruption, OnError,
    Phase, TcbStatus, Wipe,
};
pub use net::{LinkSelector, Net, NetMode};
pub use policy::{Data, Policy, PreviousKey, Root, Vaults};
pub use scratch::{Scratch, ScratchUse};
pub use value::{
    DebugFlags, DiskSelector, Handle, InitPath, KeyCommitment, Mountpoint, PartLabel, RootHash, RootSelector, Serial, TcbPolicy,
    Threshold,
};

/// Parses the text of `/proc/cmdline`: at most 2,046 bytes of printable ASCII and white space, and one final `\n`.
///
/// # Errors
/// [`Error::TooLong`], [`Error::NotAscii`] and [`Error::Quoted`] are about the command line as a whole; the others name the key.
///
/// Source: Documentation/admin-guide/kernel-parameters.rst; `next_arg` in the kernel's lib/cmdline.c.
pub fn parse(line: &str) -> Result<Policy, Error> {
    policy::build(parameters::Parameters::read(line)?)
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than the kernel keeps on x86, so the end of it may be missing.
    #[error("longer than {} bytes", parameters::MOST_BYTES)]
    TooLong,
    /// A byte that is neither printable ASCII nor white space at which both the kernel and this parser split.
    #[error("a byte that is not printable ASCII")]
    NotAscii,
    /// A double quote: the kernel joins quoted parameters that this parser would split.
    #[error("a double quote")]
    Quoted,
    /// A key after `--`, where parameters are arguments of init and configure nothing.
    #[error("{0} after --")]
    AfterDashes(Key),
    /// A `cvm.` key that does not exist; at most 64 characters of it.
    #[error("unknown key {0}")]
    Unknown(String),
    /// A key, or a value of a key, of an earlier version.
    #[error("{old} is now {new}")]
    Removed {
        /// The old name, or `name=value`.
        old: &'static str,
        /// The new one.
        new: &'static str,
    },
    /// A key given twice: two programs could use two different values.
    #[error("{0} is repeated")]
    Repeated(Key),
    /// A value that is not in the grammar of its key.
    #[error("{0} is malformed")]
    Malformed(Key),
    /// A required key.
    #[error("{0} is missing")]
    Missing(Key),
    /// Keys that are valid each, but not together.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// Why a combination of keys is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A key about the data disk or its vaults, and no `cvm.data`: a typo in that key must not drop the disk in silence.
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
    /// The previous handle is also the current one.
    #[error("{} equals {}, at the same vaults", Key::VaultPrevious, Key::VaultHandle)]
    SameHandle,
    /// The previous key is also the current one.
    #[error("{} equals {}: deal a new key to rotate to", Key::VaultPreviousKeyCommitment, Key::VaultKeyCommitment)]
    SameCommitment,
    /// A key about the previous key, and none that names it.
    #[error("{} without {}", .0, Key::VaultPrevious)]
    NoPrevious(Key),
    /// A disk would get a key that no commitment proves.
    #[error("{commit}=none with {0}: give the commitment that cvmctl provision printed", commit = Key::VaultKeyCommitment)]
    Uncommitted(Key),
    /// A time to format until, and a policy that never formats.
    #[error("{} without {}=if-blank", Key::DataFormatUntil, Key::DataFormat)]
    NeverFormats,
    /// An identifier that only a formatted disk has, and a policy that formats.
    #[error("{} with {}=if-blank: a disk that is formatted gets another identifier", Key::DataUuid, Key::DataFormat)]
    FormatsAnother,
    /// A mount option that the file system does not have.
    #[error("{}=prjquota with {}=btrfs, which has no project quotas", Key::DataOptions, Key::DataFstype)]
    NoProjectQuota,
    /// A reaction to errors that the file system does not have.
    #[error("{}=panic with {}=btrfs, which turns read-only and has no option to panic", Key::DataOnError, Key::DataFstype)]
    NoPanic,
    /// A mount point that the running system hides or needs.
    #[error("{0} is in /{1}, which the running system mounts over or needs")]
    SystemFolder(Key, &'static str),
    /// A disk that another key, or another entry of the same key, names too.
    #[error("{0} names the same disk as {1}")]
    SameDisk(Key, Key),
    /// A mount point that equals, contains or is inside another mount point.
    #[error("a mount point of {0} is that of {1}, inside of it or above it")]
    MountsOverlap(Key, Key),
    /// A value for a data disk that is not listed.
    #[error("{0} names a disk that is not in {data}", data = Key::Data)]
    NoSuchDisk(Key),
    /// Settings of a mount, and no mount.
    #[error("{0} with {open}=no-mount", open = Key::DataOpen)]
    NotMounted(Key),
    /// Vaults that are reached over IP, and no network.
    #[error("{} is none and a vault is not on vsock", Key::Net)]
    NoNetwork,
}
