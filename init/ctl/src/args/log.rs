//! The arguments of `cvmctl log`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::bytes;

#[derive(Subcommand)]
pub(crate) enum Log {
    /// Replay logs, compare the results with a quote or PCRs, and print each register; exit code 0 only if all are equal
    Verify(LogVerify),
    /// Print the events of logs: register (`-` if none was extended), digest, type and description. `=`: the digest is of the description;
    /// `?`: the digest is of other data, so the description is not proved; `!`: the digest contradicts the description. Types are never
    /// hashed
    Show(LogShow),
}

#[derive(Args)]
pub(crate) struct LogShow {
    /// Logs of firmware (CCEL, binary_bios_measurements) or user space (tpm2-measure.log, rtmr-measure.log), or the array that
    /// systemd-pcrlock cel prints
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("registers").required(true).multiple(true).args(["quote", "pcrs"]))]
pub(crate) struct LogVerify {
    /// Logs of firmware (CCEL, binary_bios_measurements) and user space (tpm2-measure.log, rtmr-measure.log), or the array that
    /// systemd-pcrlock cel prints
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// TDX quote, whose four RTMRs are compared. Its signature is not verified; use cvmctl quote verify. A TDREPORT, which is unsigned,
    /// is accepted too
    #[arg(long, value_name = "FILE")]
    pub(crate) quote: Option<PathBuf>,
    /// Values of PCRs: output of tpm2_pcrread, or lines of number and hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(crate) pcrs: Option<PathBuf>,
    /// RTMRs to compare; default: all four
    #[arg(long = "rtmr", value_name = "N", value_delimiter = ',', requires = "quote")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..4))]
    pub(crate) rtmrs: Vec<u32>,
    /// PCRs to compare; default: all in the file
    #[arg(long = "pcr", value_name = "N", value_delimiter = ',', requires = "pcrs")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..24))]
    pub(crate) only_pcrs: Vec<u32>,
    /// Say too whether the digest of this command line, as /proc/cmdline has it, was extended; if not, the log is refused. A log does not
    /// say who extended a digest: root of the machine can
    #[arg(long, value_name = "PARAMETERS", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// RTMR2 as cvmctl measure predicts it, before the cap; one of several. If the log replays to another value at that point, it is refused.
    /// If it is equal, and MRTD and RTMR1 are the predicted ones too, the boot chain measured what the log lists until there
    #[arg(long, value_name = "HEX", value_delimiter = ',', requires = "quote", value_parser = bytes::<48>)]
    pub(crate) predicted_rtmr2: Vec<[u8; 48]>,
    /// Also print every event, as cvmctl log show does
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
