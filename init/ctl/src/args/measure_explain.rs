//! The arguments of `cvmctl measure explain`.

use std::path::PathBuf;

use clap::Args;

use super::measure::boot_options;
use super::{Fold, SecureBootState, Signature};

#[derive(Args)]
pub(crate) struct MeasureExplain {
    /// Disk image, raw, as in cvmctl measure
    #[arg(required_unless_present = "kernel")]
    pub(crate) image: Option<PathBuf>,
    /// Kernel for direct boot, instead of an image: a kernel with --cmdline, or a unified kernel image
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub(crate) kernel: Option<PathBuf>,
    /// Initrd for direct boot; default: none
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line, as /proc/cmdline has it
    #[arg(long, value_name = "PARAMETERS", requires = "kernel", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// State of Secure Boot in the prediction, as in cvmctl measure
    #[arg(long, value_name = "STATE", default_value = "on")]
    pub(crate) secure_boot: SecureBootState,
    /// Whether a key in db signed the kernel of a direct boot, as in cvmctl measure
    #[arg(long, value_name = "WHETHER", default_value = "verified")]
    pub(crate) kernel_signature: Signature,
    /// Firmware in the prediction, as in cvmctl measure; default: td, and tpm for the log of a TPM
    #[arg(long, value_name = "WHOSE")]
    pub(crate) fold: Option<Fold>,
    /// Number of boot options that fail before the image, as in cvmctl measure
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = boot_options, conflicts_with = "kernel")]
    pub(crate) failed_boot_options: usize,
    /// Log of the machine: its CCEL; can be repeated, for rtmr-measure.log. Predictions end before the events of user space
    #[arg(long = "log", value_name = "FILE", required = true)]
    pub(crate) logs: Vec<PathBuf>,
    /// TDX quote or TDREPORT of the machine: the logs must replay to it. Its signature is not verified; use cvmctl quote verify
    #[arg(long, value_name = "FILE")]
    pub(crate) quote: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
