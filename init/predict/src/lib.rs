//! Prediction of measurements from a disk image: the events that firmware, boot loader and kernel extend, from the start of the first boot
//! option to the first program of the initrd, as PCRs of a TPM or RTMRs of a trust domain.
//!
//! Supported are firmware of the edk2 family, systemd-stub, Debian's shim and GRUB with a configuration without a menu, and direct boot of
//! a kernel. Everything else is refused. The predictions are input for policies; this crate makes no decision about keys.

mod chain;
mod compare;
pub mod direct;
mod disk;
mod esp;
mod event;
mod firmware;
mod grub;
mod mrtd;
mod pins;
mod prediction;
pub mod rtmr0;
mod sample;
mod table;
mod uki;

use eventlog::pe;

pub use chain::Chain;
pub use compare::{Divergence, Logged, compare, register};
pub use disk::image;
pub use event::{Event, Maker, Part, Route};
pub use firmware::Firmware;
pub use mrtd::{Error as MrtdError, PageOrder, mrtd};
pub use pins::{Attack, Condition, Named, Pins, State, pins};
pub use prediction::Prediction;
pub use table::markdown;

/// Why an image is not predicted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read.
    #[error("reading the image")]
    Read(#[from] std::io::Error),
    /// The partition table is malformed.
    #[error("partition table")]
    Table(#[from] ondisk::gpt::Error),
    /// No EFI system partition, or two.
    #[error("{0} EFI system partitions, expected 1")]
    Esp(usize),
    /// A file of the boot chain is missing.
    #[error("the EFI system partition does not contain {0}")]
    NoFile(String),
    /// A file or directory exceeds the limit.
    #[error("{0} is too large")]
    TooLarge(String),
    /// A program is not a PE image.
    #[error("{0}")]
    Program(String, #[source] pe::Error),
    /// The first program is neither a UKI nor a shim.
    #[error("{0} is neither a unified kernel image nor a shim")]
    Unknown(String),
    /// GRUB's configuration is in another directory than the one that is compiled into GRUB.
    #[error("GRUB's configuration is in {0:?} in the folder EFI, but that directory is not compiled into GRUB")]
    GrubDirectory(String),
    /// A program lacks a section.
    #[error("the program has no section {0}")]
    NoSection(&'static str),
    /// A unified kernel image with a section that the machine selects or that changes the order of events.
    #[error("the unified kernel image has a section {0}, whose effect is not predicted")]
    Section(&'static str),
    /// A newer systemd-stub than the predicted one: its version.
    #[error(
        "the unified kernel image has systemd-stub {0}, expected one before {STUB_END}: it takes an initrd that the host \
             offers firmware, which nothing may measure into RTMR2"
    )]
    Stub(u32),
    /// A command line with other characters than printable ASCII, which systemd-stub may change.
    #[error("the command line of the unified kernel image contains other characters than printable ASCII")]
    CommandLine,
    /// A section that is longer in memory than in the file by more than its padding.
    #[error("section {0} of the unified kernel image is not whole in the file")]
    Memory(&'static str),
    /// A file that the boot loader would load, and that changes the measurements.
    #[error("the effect of the file {0:?} is not predicted")]
    UnexpectedFile(String),
    /// A line of GRUB's configuration that is not supported.
    #[error("GRUB's configuration, line {0}: {1:?} is not predicted")]
    Configuration(usize, String),
}

/// The first version of systemd-stub that is not predicted.
///
/// Source: systemd pull request 41748 (`initrd_read_previous`), in version 261.
const STUB_END: u32 = 261;

/// Whether Secure Boot is on. It changes the measurements of the same image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecureBoot {
    /// systemd-stub, which firmware verified together with the kernel inside, starts the kernel without firmware, so firmware does not
    /// measure it. With GRUB, shim verifies and measures the kernel.
    #[default]
    On,
    /// systemd-stub loads the kernel through firmware, which measures it. With GRUB, no program measures the kernel as a PE image.
    Off,
}

/// Encodes a text in little-endian UTF-16 with `nuls` NULs.
fn wide(text: &str, nuls: usize) -> Vec<u8> {
    text.encode_utf16().chain(std::iter::repeat_n(0, nuls)).flat_map(u16::to_le_bytes).collect()
}
