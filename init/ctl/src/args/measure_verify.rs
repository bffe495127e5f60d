//! The arguments of `cvmctl measure verify`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct MeasureVerify {
    /// Bundle of cvmctl measure --bundle: the statement, a DSSE envelope, or a Sigstore bundle of cosign attest-blob. Its signature is not
    /// verified; use ssh-keygen -Y verify or cosign
    pub(crate) bundle: PathBuf,
    /// Disk image, raw, as in cvmctl measure
    #[arg(required_unless_present = "kernel")]
    pub(crate) image: Option<PathBuf>,
    /// Kernel for direct boot, or a unified kernel image, instead of an image
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub(crate) kernel: Option<PathBuf>,
    /// Initrd for direct boot; default: none
    #[arg(long, value_name = "FILE", requires = "cmdline")]
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line, as /proc/cmdline has it; default: that of the unified kernel image
    #[arg(long, value_name = "PARAMETERS", requires = "kernel", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// Firmware, code and variables in one file, if the bundle has its MRTD
    #[arg(long, value_name = "FILE")]
    pub(crate) firmware: Option<PathBuf>,
    /// Do not compare the firmware's digest and MRTD
    #[arg(long, conflicts_with = "firmware")]
    pub(crate) without_firmware: bool,
    /// Do not compare the digests of the files: an image whose root, empty space or other unmeasured part was built otherwise is accepted
    /// if everything that it measures, and so the root hash, is equal
    #[arg(long)]
    pub(crate) without_file_digests: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
