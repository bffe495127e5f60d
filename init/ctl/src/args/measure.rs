//! The arguments of `cvmctl measure` and `cvmctl log`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{FactArgs, GuestArgs, OwnerArgs, TermArgs, bytes};

#[derive(Args)]
pub(crate) struct Measure {
    /// The disk image, raw. One without a boot loader is booted directly, and its kernel, initrd and command line stand beside it
    /// (.vmlinuz, .initrd, .cmdline), as mkosi writes them
    #[arg(required_unless_present = "kernel")]
    pub(crate) image: Option<PathBuf>,
    /// A kernel that is booted directly, without an image
    #[arg(long, value_name = "FILE", conflicts_with = "image", requires = "cmdline")]
    pub(crate) kernel: Option<PathBuf>,
    /// Its initrd
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line, as /proc/cmdline will have it: OVMF and TDVF add " initrd=initrd" where QEMU gives them an initrd
    #[arg(long, value_name = "PARAMETERS", requires = "kernel", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// The firmware that starts it, code and variables in one file: predicts MRTD
    #[arg(long, value_name = "FILE", conflicts_with = "mrtd")]
    pub(crate) firmware: Option<PathBuf>,
    /// The MRTD of firmware that somebody else builds, from a quote that was believed
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrtd: Option<[u8; 48]>,
    /// The RTMR0 of the machine that will boot the image, from a quote that was believed, for the policy. It pins the memory map that the
    /// host gives the firmware, the host's ACPI tables, Secure Boot variables and boot options: another number of CPUs, other memory,
    /// another device or another version of the hypervisor is another RTMR0. Today's vaults drop the field: give
    /// --nodes-match rtmr0 too, where yours match it
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr0: Option<[u8; 48]>,
    /// The firmware's Secure Boot. Off, the kernel of a UKI is measured as a program too, and GRUB's is not
    #[arg(long, value_name = "STATE", default_value = "on", conflicts_with = "kernel")]
    pub(crate) secure_boot: SecureBootState,
    /// Whose registers: a TD's; those of a TD that has a TPM as well, where the kernel's EFI stub measures only into that; or a TPM's PCRs as
    /// UEFI maps them, with a separator for each, to compare with its log
    #[arg(long, value_name = "WHOSE", default_value = "td")]
    pub(crate) fold: Fold,
    /// Explain each event on stderr, in its order
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print one JSON object with registers, PCRs, events and policy
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
    #[command(flatten)]
    pub(crate) terms: TermArgs,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

/// Whether firmware verifies what it starts.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecureBootState {
    On,
    Off,
}

/// Whose registers are made of the events.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fold {
    Td,
    TdWithTpm,
    Tpm,
}

#[derive(Subcommand)]
pub(crate) enum Log {
    /// Replay logs and compare the registers with a quote or with PCRs, a line for each; exit code 0 only if all agree
    Verify(LogVerify),
    /// Print the events of logs for people: register (- if it was extended nowhere), digest, kind, and what the log says of it. Behind `=`
    /// is what was measured; behind `?` is the word of whoever wrote the log, since something else was measured; behind `!` is a lie
    Show(LogShow),
}

#[derive(Args)]
pub(crate) struct LogShow {
    /// A firmware's log (CCEL, binary_bios_measurements) or one of user space (tpm2-measure.log, rtmr-measure.log)
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("registers").required(true).multiple(true).args(["quote", "pcrs"]))]
pub(crate) struct LogVerify {
    /// The logs: a firmware's (CCEL, binary_bios_measurements) and those of user space (tpm2-measure.log, rtmr-measure.log)
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// A TDX quote or a TDREPORT, whose four RTMRs must be what the logs make. Not verified here: that is cvmctl quote verify
    #[arg(long, value_name = "FILE")]
    pub(crate) quote: Option<PathBuf>,
    /// Values of PCRs, as tpm2_pcrread prints them or a number and hexadecimal digits a line
    #[arg(long, value_name = "FILE")]
    pub(crate) pcrs: Option<PathBuf>,
    /// Only these of the quote's RTMRs
    #[arg(long = "rtmr", value_name = "N", value_delimiter = ',', requires = "quote")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..4))]
    pub(crate) rtmrs: Vec<u32>,
    /// Only these PCRs of the file
    #[arg(long = "pcr", value_name = "N", value_delimiter = ',', requires = "pcrs")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..24))]
    pub(crate) only_pcrs: Vec<u32>,
    /// Say too whether the firmware measured this command line, as /proc/cmdline has it; if not, the log is refused
    #[arg(long, value_name = "PARAMETERS", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// Print every event too, as cvmctl log show does
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
