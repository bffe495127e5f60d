//! The arguments of `cvmctl measure rtmr0`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent flag of the command line")]
#[command(group = ArgGroup::new("sources").required(true).multiple(true).args(["log", "firmware"]))]
pub(crate) struct MeasureRtmr0 {
    /// Log of a boot that you trust: its CCEL. Each event is explained
    #[arg(long, value_name = "FILE", requires = "quote")]
    pub(crate) log: Option<PathBuf>,
    /// TDX quote of the same boot, whose RTMR0 the log must replay to. Its signature is not verified; use cvmctl quote verify first
    #[arg(long, value_name = "FILE", requires = "log")]
    pub(crate) quote: Option<PathBuf>,
    /// Firmware, code and variables in one file, to predict memory map, variable store and the variables of Secure Boot
    #[arg(long, value_name = "FILE")]
    pub(crate) firmware: Option<PathBuf>,
    /// Memory of the machine, as QEMU's -m: a number with M, G or T. Default with --log: found by trying sizes
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "firmware")]
    pub(crate) memory: Option<u64>,
    /// Memory below 4 GiB, as QEMU's max-ram-below-4g; default: that of machine q35
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "memory")]
    pub(crate) memory_below_4g: Option<u64>,
    /// The firmware is built without Secure Boot, so that the variable SecureBoot does not exist
    #[arg(long, requires = "firmware")]
    pub(crate) without_secure_boot: bool,
    /// Certificate in db, DER or PEM, that admits the first program. With Secure Boot on, firmware extends its entry
    #[arg(long, value_name = "FILE", requires = "firmware")]
    pub(crate) admitted_by: Option<PathBuf>,
    /// Folder with QEMU's files of ACPI tables: etc/table-loader, etc/acpi/rsdp, etc/acpi/tables; or with a copy of
    /// /sys/firmware/qemu_fw_cfg/by_name
    #[arg(long, value_name = "FOLDER")]
    pub(crate) acpi: Option<PathBuf>,
    /// Folder with BootOrder and the boot options, as in /sys/firmware/efi/efivars
    #[arg(long, value_name = "FOLDER", conflicts_with = "direct_boot")]
    pub(crate) boot_variables: Option<PathBuf>,
    /// The hypervisor passes the kernel, and firmware finds nothing else to boot from: its setup menu is the one boot option
    #[arg(long)]
    pub(crate) direct_boot: bool,
    /// The firmware is from before edk2-stable202411, and extends its second separator into RTMR0 rather than RTMR1
    #[arg(long)]
    pub(crate) second_separator: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses a size of memory.
fn size(text: &str) -> Result<u64, String> {
    let malformed = || format!("expected a number with M, G or T, as in 512M or 16G, got {text:?}");
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'M')) => (text.get(..at), 20),
        Some((at, 'G')) => (text.get(..at), 30),
        Some((at, 'T')) => (text.get(..at), 40),
        _ => (None, 0),
    };
    let number: u64 = digits.and_then(encoding::text::decimal).ok_or_else(malformed)?;
    number.checked_mul(1 << shift).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn size_of_memory_has_a_unit() {
        for (text, want) in [("512M", Some(512 << 20)), ("16G", Some(16 << 30)), ("1T", Some(1 << 40))] {
            assert_eq!(size(text).ok(), want, "{text}");
        }
        for text in ["", "G", "16", "016G", "1.5G", "-1G", "16GiB", "16g", "99999999999T"] {
            let message = size(text).unwrap_err();
            assert!(message.starts_with("expected a number with M, G or T"), "{message}");
        }
    }
}
