//! The arguments of `cvmctl measure`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use predict::{Firmware, PageOrder, SecureBoot};

use super::measure_explain::MeasureExplain;
use super::measure_rtmr0::MeasureRtmr0;
use super::measure_verify::MeasureVerify;
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
    /// Compare a bundle that somebody published with an image that was rebuilt from source, and name each field that differs; exit code 0
    /// only if everything is equal
    Verify(MeasureVerify),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag of the command")]
pub(crate) struct Measure {
    #[command(subcommand)]
    pub(crate) command: Option<MeasureCommand>,
    /// Disk image, raw. For an image without a boot loader, kernel, initrd and command line are read from the files beside it (.vmlinuz,
    /// .initrd, .cmdline), as mkosi writes them
    #[arg(required_unless_present_any = ["kernel", "markdown"])]
    pub(crate) image: Option<PathBuf>,
    /// Kernel for direct boot, instead of an image: a kernel with --cmdline, or a unified kernel image, which contains all
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
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
    /// Order in which the hypervisor adds and measures the pages of the firmware: page by page, as upstream KVM does (Linux 6.16 and later),
    /// or all pages of a section and then their measurements, as KVM and QEMU 8.2 of Ubuntu 24.04 do
    #[arg(long, value_name = "ORDER", default_value = "interleaved", requires = "firmware")]
    pub(crate) page_order: Pages,
    /// MRTD of the firmware, from a verified quote, if the firmware file is not available
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) mrtd: Option<[u8; 48]>,
    /// RTMR0 of the machine, from a verified quote, for the policy; default: any. It depends on memory map, ACPI tables, Secure Boot
    /// variables and boot options, so it changes with the number of CPUs, memory, devices and the version of the hypervisor. Current
    /// vaults drop the field; add --nodes-match rtmr0 if yours compare it
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    pub(crate) rtmr0: Option<[u8; 48]>,
    /// State of Secure Boot. If off, firmware also measures the kernel of a UKI as a program, and not the one of GRUB
    #[arg(long, value_name = "STATE", default_value = "on")]
    pub(crate) secure_boot: SecureBootState,
    /// Whether a key in db signed the kernel of a direct boot. Where Secure Boot is on and refuses it, older firmware starts it all the same
    /// and does not measure it
    #[arg(long, value_name = "WHETHER", default_value = "verified")]
    pub(crate) kernel_signature: Signature,
    /// Firmware of the machine: of a TD; of a TD with a TPM, where the kernel's EFI stub measures only into the TPM; either from before
    /// edk2-stable202411 (-older), which measures no separator into RTMR1; or of a machine with a TPM alone, whose PCRs are predicted
    #[arg(long, value_name = "WHOSE", default_value = "td")]
    pub(crate) fold: Fold,
    /// Number of boot options that the firmware tries before the image and that fail, such as an empty disk. RTMR1 counts them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = boot_options, conflicts_with = "kernel")]
    pub(crate) failed_boot_options: usize,
    /// Print registers and events without a policy; exit code 0 also where no policy can pin the boot
    #[arg(long)]
    pub(crate) registers_only: bool,
    /// Write the measurements with every kind of firmware and state of Secure Boot as an in-toto statement, for signing and publication;
    /// no policy is printed. An existing file is replaced
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mrtd", "rtmr0", "secure_boot", "kernel_signature", "page_order", "fold"])]
    #[arg(conflicts_with_all = ["failed_boot_options", "registers_only", "verbose", "json", "markdown"])]
    #[arg(conflicts_with_all = ["GuestArgs", "FactArgs", "TermArgs", "OwnerArgs"])]
    pub(crate) bundle: Option<PathBuf>,
    /// Explain each event on stderr, in order
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print one JSON object with registers, PCRs, events, what pins each part, conditions on the firmware, and policy
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the tables of init/docs/predicting.md
    #[arg(long, conflicts_with_all = ["image", "kernel", "json"])]
    pub(crate) markdown: bool,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    #[command(flatten)]
    pub(crate) facts: FactArgs,
    #[command(flatten)]
    pub(crate) terms: TermArgs,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
}

/// The most boot options that fail: UEFI numbers them with 16 bits, but a machine with more than a few is a mistake.
pub(super) fn boot_options(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count <= 64).ok_or_else(|| "expected a number from 0 to 64".to_owned())
}

/// State of Secure Boot.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecureBootState {
    On,
    Off,
}

impl SecureBootState {
    pub(crate) const fn state(self) -> SecureBoot {
        match self {
            Self::On => SecureBoot::On,
            Self::Off => SecureBoot::Off,
        }
    }
}

/// Whether Secure Boot accepts the kernel of a direct boot.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Signature {
    Verified,
    NotVerified,
}

/// The order of pages in MRTD.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pages {
    Interleaved,
    TwoPass,
}

impl Pages {
    pub(crate) const fn order(self) -> PageOrder {
        match self {
            Self::Interleaved => PageOrder::Interleaved,
            Self::TwoPass => PageOrder::TwoPass,
        }
    }
}

/// The firmware whose registers are predicted.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fold {
    Td,
    TdOlder,
    TdWithTpm,
    TdWithTpmOlder,
    Tpm,
}

impl Fold {
    pub(crate) const fn firmware(self) -> Firmware {
        match self {
            Self::Td => Firmware::Td,
            Self::TdOlder => Firmware::TdOlder,
            Self::TdWithTpm => Firmware::TdWithTpm,
            Self::TdWithTpmOlder => Firmware::TdWithTpmOlder,
            Self::Tpm => Firmware::Tpm,
        }
    }
}
