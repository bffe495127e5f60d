//! What a machine will measure, from its image alone: the events that firmware, boot loader and kernel extend between the
//! firmware's own and the first program of the initrd, as PCRs of a TPM or RTMRs of a trust domain.
//!
//! It knows what it knows: firmware of edk2's kind, systemd-stub, Debian's shim and GRUB under a configuration without a menu, a kernel
//! that is booted directly. What it does not know it refuses. Nothing here decides who gets a key: a policy made of it does.

pub mod direct;
mod disk;
mod esp;
mod grub;
mod mrtd;
mod uki;

use eventlog::pe;
use eventlog::register::Hash;

pub use disk::{Chain, image};
pub use mrtd::{Error as MrtdError, mrtd};

/// Why nothing can be said of an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read.
    #[error("reading the image")]
    Read(#[from] std::io::Error),
    /// Its partition table.
    #[error("partition table")]
    Table(#[from] ondisk::gpt::Error),
    /// No EFI system partition, or two.
    #[error("{0} EFI system partitions, not one")]
    Esp(usize),
    /// A file that the chain starts with, or goes on with, is not there.
    #[error("the EFI system partition has no {0}")]
    NoFile(String),
    /// A file is larger than any kernel or initrd.
    #[error("{0} is too large")]
    TooLarge(String),
    /// A program is no PE image.
    #[error("{0}")]
    Program(String, #[source] pe::Error),
    /// The first program is neither a UKI nor a shim.
    #[error("{0} is neither a unified kernel image nor a shim")]
    Unknown(String),
    /// GRUB looks for its configuration elsewhere than where one is.
    #[error("the folder EFI/{0} of GRUB's configuration is not the one that is compiled into it")]
    Folder(String),
    /// A unified kernel image without the section.
    #[error("the unified kernel image has no section {0}")]
    NoSection(&'static str),
    /// A unified kernel image with something that is chosen at boot.
    #[error("the unified kernel image has a section {0}, whose effect is not predicted")]
    Section(&'static str),
    /// A command line with more than printable ASCII in it, which a stub may change before it hands it on.
    #[error("the unified kernel image's command line is not of printable ASCII alone")]
    CommandLine,
    /// A section that is longer in memory than in the file by more than its padding.
    #[error("section {0} of the unified kernel image is not whole in the file")]
    Memory(&'static str),
    /// Something beside the boot loader that it would take, and that changes what is measured.
    #[error("{0} beside the boot loader is not predicted")]
    UnexpectedFile(String),
    /// GRUB's configuration has what is not predicted.
    #[error("GRUB's configuration, line {0}: {1:?} is not predicted")]
    Configuration(usize, String),
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The PCR it goes to; [`Event::rtmr`] says which RTMR that is.
    pub pcr: u32,
    /// What it is, for people.
    pub what: String,
    /// What is hashed.
    pub hashed: Vec<u8>,
    /// A separator: firmware of a TD has one for all of RTMR1, a TPM's one for each PCR.
    pub separator: bool,
    /// By the kernel's EFI stub, which measures into a TPM where it finds one, and into RTMR2 only where there is none.
    pub stub: bool,
}

impl Event {
    fn new(pcr: u32, what: impl Into<String>, hashed: impl Into<Vec<u8>>) -> Self {
        Self { pcr, what: what.into(), hashed: hashed.into(), separator: false, stub: false }
    }

    /// A text that firmware measures as it stands.
    fn action(pcr: u32, text: &str) -> Self {
        Self::new(pcr, format!("the firmware says {text:?}"), text)
    }

    /// A program that firmware loads, by its Authenticode digest.
    fn program(pcr: u32, name: &str, image: &[u8]) -> Result<Self, Error> {
        let spans = pe::spans(image).map_err(|error| Error::Program(name.to_owned(), error))?;
        Ok(Self::new(pcr, format!("{name} is loaded (Authenticode)"), spans.concat()))
    }

    /// The RTMR that UEFI has for this PCR, 0 to 2; `None` for PCR 0, which MRTD stands for, and above 15.
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

    /// What is extended.
    #[must_use]
    pub fn digest(&self, hash: Hash) -> Vec<u8> {
        hash.digest(&self.hashed)
    }
}

/// Whether firmware verifies what it starts. The same image measures something else without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecureBoot {
    /// systemd-stub, which was verified with the kernel inside, starts it past firmware's checks, and so past its measurement. GRUB has shim
    /// verify the kernel, and shim measures it.
    #[default]
    On,
    /// systemd-stub has firmware load the kernel, which measures it. GRUB asks nobody.
    Off,
}

/// Whose registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Firmware {
    /// A TDVF: one separator for RTMR1 (edk2 since 2023, `OvmfPkg/Tcg/TdTcg2Dxe`).
    #[default]
    Td,
    /// The same in a TD that has a TPM as well, as on GCP: there RTMR2 lacks what the EFI stub measures.
    TdWithTpm,
    /// Firmware with a TPM, whose PCRs are folded as UEFI maps them: a separator for each PCR.
    Tpm,
}

/// What a machine will have measured when the first program of its initrd runs, from the moment when firmware starts the
/// first boot option: before that only firmware and its settings are measured, which an image does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction(pub Vec<Event>);

impl Prediction {
    /// RTMR1 or RTMR2; 48 bytes.
    #[must_use]
    pub fn rtmr(&self, number: u32, firmware: Firmware) -> Vec<u8> {
        replay(Hash::Sha384, self.events(firmware).filter(|event| event.rtmr() == Some(number)))
    }

    /// The events as this firmware has them.
    pub fn events(&self, firmware: Firmware) -> impl Iterator<Item = &Event> {
        self.0.iter().filter(move |event| match firmware {
            Firmware::Tpm => true,
            Firmware::Td => !event.separator || event.pcr == 4,
            Firmware::TdWithTpm => !event.stub && (!event.separator || event.pcr == 4),
        })
    }

    /// A PCR, as long as `hash` is.
    #[must_use]
    pub fn pcr(&self, number: u32, hash: Hash) -> Vec<u8> {
        replay(hash, self.0.iter().filter(|event| event.pcr == number))
    }

    /// The PCRs that are predicted whole: 0 to 3 and 7 have settings of the firmware in them. 5 has the partition table, which is that of the
    /// image only as long as nobody moves its second copy.
    #[must_use]
    pub fn pcrs(&self) -> Vec<u32> {
        (4..=15).filter(|pcr| self.0.iter().any(|event| event.pcr == *pcr && !event.separator) && *pcr != 7).collect()
    }
}

fn replay<'a>(hash: Hash, events: impl Iterator<Item = &'a Event>) -> Vec<u8> {
    let digests: Vec<Vec<u8>> = events.map(|event| event.digest(hash)).collect();
    hash.replay(digests.iter().map(Vec::as_slice))
}

/// What firmware says when it starts the first boot option, and the line it draws then between itself and what it starts.
fn firmware_begins() -> Vec<Event> {
    let separator = |pcr| Event { separator: true, ..Event::new(pcr, "separator", [0; 4]) };
    let mut events = vec![Event::action(4, "Calling EFI Application from Boot Option")];
    events.extend((2..=6).map(separator));
    events
}

/// What firmware says when the kernel takes over.
fn firmware_ends() -> [Event; 2] {
    ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"].map(|text| Event::action(5, text))
}

/// UTF-16, little endian, with so many NULs.
fn wide(text: &str, nuls: usize) -> Vec<u8> {
    text.encode_utf16().chain(std::iter::repeat_n(0, nuls)).flat_map(u16::to_le_bytes).collect()
}
