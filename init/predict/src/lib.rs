//! Prediction of measurements from a disk image: the events that firmware, boot loader and kernel extend, from the start of the first boot
//! option to the first program of the initrd, as PCRs of a TPM or RTMRs of a trust domain.
//!
//! Supported are firmware of the edk2 family, systemd-stub, Debian's shim and GRUB with a configuration without a menu, and direct boot of
//! a kernel. Everything else is refused. The predictions are input for policies; this crate makes no decision about keys.

pub mod direct;
mod disk;
mod esp;
mod grub;
mod mrtd;
pub mod rtmr0;
mod uki;

use eventlog::pe;
use eventlog::register::Hash;

pub use disk::{Chain, image};
pub use mrtd::{Error as MrtdError, mrtd};

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
    #[error("GRUB's configuration is in EFI/{0}, but that directory is not compiled into GRUB")]
    GrubDirectory(String),
    /// A program lacks a section.
    #[error("the program has no section {0}")]
    NoSection(&'static str),
    /// A unified kernel image with a section that the machine selects or that changes the order of events.
    #[error("the unified kernel image has a section {0}, whose effect is not predicted")]
    Section(&'static str),
    /// A command line with other characters than printable ASCII, which systemd-stub may change.
    #[error("the command line of the unified kernel image contains other characters than printable ASCII")]
    CommandLine,
    /// A section that is longer in memory than in the file by more than its padding.
    #[error("section {0} of the unified kernel image is not whole in the file")]
    Memory(&'static str),
    /// A file that the boot loader would load, and that changes the measurements.
    #[error("the effect of the file {0} is not predicted")]
    UnexpectedFile(String),
    /// A line of GRUB's configuration that is not supported.
    #[error("GRUB's configuration, line {0}: {1:?} is not predicted")]
    Configuration(usize, String),
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The extended PCR; [`Event::rtmr`] is the RTMR.
    pub pcr: u32,
    /// A description for operators.
    pub what: String,
    /// The hashed bytes.
    pub hashed: Vec<u8>,
    /// Whether this is a separator: a TD's firmware has one for RTMR1, that with a TPM has one for each PCR.
    pub separator: bool,
    /// Whether the kernel's EFI stub measures this: into the TPM if there is one, else into RTMR2.
    pub stub: bool,
}

impl Event {
    fn new(pcr: u32, what: impl Into<String>, hashed: impl Into<Vec<u8>>) -> Self {
        Self { pcr, what: what.into(), hashed: hashed.into(), separator: false, stub: false }
    }

    /// An `EV_EFI_ACTION`: firmware measures the text.
    fn action(pcr: u32, text: &str) -> Self {
        Self::new(pcr, format!("firmware action {text:?}"), text)
    }

    /// A program that firmware loads, by its Authenticode digest.
    fn program(pcr: u32, name: &str, image: &[u8]) -> Result<Self, Error> {
        let spans = pe::spans(image).map_err(|error| Error::Program(name.to_owned(), error))?;
        Ok(Self::new(pcr, format!("{name} is loaded (Authenticode)"), spans.concat()))
    }

    /// Returns the RTMR that UEFI maps this PCR to, 0 to 2; `None` for PCR 0, which maps to MRTD, and above 15.
    ///
    /// Source: UEFI 2.10, section 38.4.1.
    #[must_use]
    pub const fn rtmr(&self) -> Option<u32> {
        match self.pcr {
            1 | 7 => Some(0),
            2..=6 => Some(1),
            8..=15 => Some(2),
            _ => None,
        }
    }

    /// Returns the extended digest.
    #[must_use]
    pub fn digest(&self, hash: Hash) -> Vec<u8> {
        hash.digest(&self.hashed)
    }
}

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

/// The kind of firmware, which decides about separators and the events of the EFI stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Firmware {
    /// A TDVF: one separator for RTMR1 (edk2 since 2023, `OvmfPkg/Tcg/TdTcg2Dxe`).
    #[default]
    Td,
    /// A TDVF in a TD that also has a TPM, as on GCP: the EFI stub does not extend RTMR2.
    TdWithTpm,
    /// Firmware with a TPM: a separator for each PCR.
    Tpm,
}

/// The predicted events, from the start of the first boot option to the first program of the initrd. Earlier events measure firmware and
/// its settings, which do not depend on the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction(pub Vec<Event>);

impl Prediction {
    /// Returns RTMR1 or RTMR2; 48 bytes.
    #[must_use]
    pub fn rtmr(&self, number: u32, firmware: Firmware) -> Vec<u8> {
        replay(Hash::Sha384, self.events(firmware).filter(|event| event.rtmr() == Some(number)))
    }

    /// Returns the events with this firmware.
    pub fn events(&self, firmware: Firmware) -> impl Iterator<Item = &Event> {
        self.0.iter().filter(move |event| match firmware {
            Firmware::Tpm => true,
            Firmware::Td => !event.separator || event.pcr == 4,
            Firmware::TdWithTpm => !event.stub && (!event.separator || event.pcr == 4),
        })
    }

    /// Returns a PCR in the bank of `hash`.
    #[must_use]
    pub fn pcr(&self, number: u32, hash: Hash) -> Vec<u8> {
        replay(hash, self.0.iter().filter(|event| event.pcr == number))
    }

    /// Returns the PCRs that are predicted whole: 0 to 3 and 7 contain firmware settings. PCR 5 contains the partition table, which
    /// changes when its backup is moved to the end of a larger disk.
    #[must_use]
    pub fn pcrs(&self) -> Vec<u32> {
        (4..=15).filter(|pcr| self.0.iter().any(|event| event.pcr == *pcr && !event.separator) && *pcr != 7).collect()
    }
}

fn replay<'a>(hash: Hash, events: impl Iterator<Item = &'a Event>) -> Vec<u8> {
    let digests: Vec<Vec<u8>> = events.map(|event| event.digest(hash)).collect();
    hash.replay(digests.iter().map(Vec::as_slice))
}

/// The events of firmware when it starts the first boot option: an action, and the separators.
fn firmware_begins() -> Vec<Event> {
    let separator = |pcr| Event { separator: true, ..Event::new(pcr, "separator", [0; 4]) };
    let mut events = vec![Event::action(4, "Calling EFI Application from Boot Option")];
    events.extend((2..=6).map(separator));
    events
}

/// The events of firmware when the kernel exits boot services.
fn firmware_ends() -> [Event; 2] {
    ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"].map(|text| Event::action(5, text))
}

/// Encodes a text in little-endian UTF-16 with `nuls` NULs.
fn wide(text: &str, nuls: usize) -> Vec<u8> {
    text.encode_utf16().chain(std::iter::repeat_n(0, nuls)).flat_map(u16::to_le_bytes).collect()
}
