//! The arguments of `cvmctl measure`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::measure_explain::MeasureExplain;
use super::measure_rtmr0::MeasureRtmr0;
use super::{FactArgs, GuestArgs, OwnerArgs, TermArgs, bytes};

/// What `cvmctl measure` does beside predicting.
#[derive(Subcommand)]
pub(crate) enum MeasureCommand {
    /// Compare a machine's log with the prediction, and name the first event that differs and its usual cause; exit code 0 only if
    /// everything is equal
    Explain(MeasureExplain),
    /// Explain what RTMR0 of a boot pins, and print its value for policies; or predict it for a machine on QEMU. `proved`: the log contains the
    /// measured bytes; `predicted`: the digest is that of an input; `digest`: the register pins a digest, whose content is not known
    Rtmr0(MeasureRtmr0),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Measure {
    #[command(subcommand)]
    pub(crate) command: Option<MeasureCommand>,
    /// Disk image, raw. For an image without a boot loader, kernel, initrd and command line are read from the files beside it (.vmlinuz,
    /// .initrd, .cmdline), as mkosi writes them
    #[arg(required_unless_present = "kernel")]
    pub(crate) image: Option<PathBuf>,
    /// Kernel for direct boot, instead of an image
    #[arg(long, value_name = "FILE", conflicts_with = "image", requires = "cmdline")]
    pub(crate) kernel: Option<PathBuf>,
    /// Initrd for direct boot; default: none
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line, as /proc/cmdline will have it: OVMF and TDVF add " initrd=initrd" where QEMU gives them an initrd
    #[arg(long, value_name = "PARAMETERS", requires = "kernel", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// Firmware, code and variables in one file, to predict MRTD
    #[arg(long, value_name = "FILE", conflicts_with = "mrtd")]
    pub(crate) firmware: Option<PathBuf>,
    /// MRTD of the firmware, from a verified quote, if the firmware file is not available
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrtd: Option<[u8; 48]>,
    /// RTMR0 of the machine, from a verified quote, for the policy; default: any. It depends on memory map, ACPI tables, Secure Boot
    /// variables and boot options, so it changes with the number of CPUs, memory, devices and the version of the hypervisor. Current
    /// vaults drop the field; add --nodes-match rtmr0 if yours compare it
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr0: Option<[u8; 48]>,
    /// State of Secure Boot. If off, firmware also measures the kernel of a UKI as a program, and not the one of GRUB
    #[arg(long, value_name = "STATE", default_value = "on", conflicts_with = "kernel")]
    pub(crate) secure_boot: SecureBootState,
    /// Registers to predict: of a TD; of a TD with a TPM, where the kernel's EFI stub measures only into the TPM; or the PCRs of a TPM, with
    /// UEFI's separators, to compare with its log
    #[arg(long, value_name = "WHOSE", default_value = "td")]
    pub(crate) fold: Fold,
    /// Explain each event on stderr, in order
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

/// State of Secure Boot.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecureBootState {
    On,
    Off,
}

/// The registers to predict.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fold {
    Td,
    TdWithTpm,
    Tpm,
}
