//! Arguments of `cvmctl header`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Header {
    /// Check a disk's header against the guest's rules and print each; exit code 0 only if the guest would accept it
    Check(HeaderCheck),
    /// Save the header area of a disk (its first 16 MiB) to a new file, if the guest would accept it; exit code 2 if not
    Save(HeaderSave),
    /// Write a saved header area back to its disk, in an order that survives a power cut; exit code 2 if it is not accepted
    Restore(HeaderRestore),
}

/// The guest's configuration of the disk.
#[derive(Args)]
pub(crate) struct Expected {
    /// Arguments of the guest's command line that concern the disk; default: the guest's defaults
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub(crate) policy_words: String,
    /// Name of the disk in cvm.data; default: the disk without a name
    #[arg(long, value_name = "NAME")]
    pub(crate) disk_name: Option<String>,
}

#[derive(Args)]
pub(crate) struct HeaderCheck {
    /// Disk, or a file with at least its first 16 MiB
    pub(crate) disk: PathBuf,
    #[command(flatten)]
    pub(crate) expected: Expected,
    /// File descriptor with the disk's passphrase, 64 hexadecimal digits; with it the header is authenticated
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,
}

#[derive(Args)]
pub(crate) struct HeaderSave {
    /// Disk of a machine that is off, a snapshot of it, or a file with at least its first 16 MiB
    pub(crate) disk: PathBuf,
    /// New file, mode 0600. An existing file is never replaced
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) expected: Expected,
    /// File descriptor with the disk's passphrase, 64 hexadecimal digits; with it the header is authenticated
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,
}

#[derive(Args)]
pub(crate) struct HeaderRestore {
    /// Output of `cvmctl header save`, 16 MiB
    pub(crate) file: PathBuf,
    /// Disk to write to, or an image of it. No other program may use it
    pub(crate) disk: PathBuf,
    #[command(flatten)]
    pub(crate) expected: Expected,
    /// File descriptor with the passphrase of the saved header, 64 hexadecimal digits; with it the header is authenticated
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,
    /// Also restore without a passphrase, or a header without an authentication token
    #[arg(long)]
    pub(crate) unauthenticated: bool,
    /// Also write to a disk without any LUKS header of the saved UUID
    #[arg(long)]
    pub(crate) replace_damaged: bool,
}
