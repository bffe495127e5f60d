//! The arguments of `cvmctl header`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Header {
    /// Check the header of a disk by the rules of the guest, one line for each rule; exit code 0 only if the guest would open the disk
    Check(HeaderCheck),
    /// Save the header area of a disk (its first 16 MiB) to a new file, if the guest would accept it; exit code 2 if not
    Save(HeaderSave),
    /// Write a saved header area back to its disk, in an order that survives a power cut; exit code 2 if it is not accepted
    Restore(HeaderRestore),
}

/// The guest's configuration of the disk.
#[derive(Args)]
pub(crate) struct Expected {
    /// Parameters of the guest's command line, separated by spaces; the defaults of the guest apply to keys that are not given
    #[arg(long, value_name = "PARAMETERS", default_value = "", allow_hyphen_values = true)]
    pub(crate) cmdline: String,
    /// The name of the disk in cvm.data; without it, the disk that has none
    #[arg(long, value_name = "NAME")]
    pub(crate) disk_name: Option<String>,
}

#[derive(Args)]
pub(crate) struct HeaderCheck {
    /// Disk, or a file with at least its first 16 MiB
    pub(crate) disk: PathBuf,
    #[command(flatten)]
    pub(crate) expected: Expected,
    /// A descriptor to read the disk's passphrase from, 64 hexadecimal digits: then the header authentication is verified
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
