//! One measurement: what is hashed, who measures it, and into which log of the firmware it goes.

use eventlog::pe;
use eventlog::register::Hash;

use crate::{Error, Firmware};

/// The program that measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Maker {
    /// The firmware. MRTD measures it.
    Firmware,
    /// Debian's shim.
    Shim,
    /// GRUB.
    Grub,
    /// systemd-stub, the first code of a unified kernel image.
    SystemdStub,
    /// The kernel's EFI stub.
    KernelStub,
}

impl Maker {
    /// All programs, in the order in which they run.
    pub const ALL: [Self; 5] = [Self::Firmware, Self::Shim, Self::Grub, Self::SystemdStub, Self::KernelStub];

    /// Returns the name for operators.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Shim => "shim",
            Self::Grub => "GRUB",
            Self::SystemdStub => "systemd-stub",
            Self::KernelStub => "the kernel's EFI stub",
        }
    }
}

/// Where an event goes: into RTMRs through `EFI_CC_MEASUREMENT_PROTOCOL`, into PCRs through `EFI_TCG2_PROTOCOL`, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To each protocol that exists: shim, systemd-stub, and the firmware's actions.
    Each,
    /// To the CC protocol alone where it exists, else to the TPM: programs and partition tables that firmware loads.
    ///
    /// Source: edk2 `SecurityPkg/Library/DxeTpm2MeasureBootLib`, `Tcg2MeasurePeImage`, `Tcg2MeasureGptTable`.
    CcElseTpm,
    /// To the TPM alone where one exists, else to the CC protocol: the kernel's EFI stub.
    ///
    /// Source: Linux `drivers/firmware/efi/libstub/efi-stub-helper.c`, `efi_measure_tagged_event`.
    TpmElseCc,
    /// To each protocol, but only where a TPM exists: GRUB registers its verifier only then.
    ///
    /// Source: GRUB 2.12 `grub-core/commands/tpm.c`, `GRUB_MOD_INIT`, `grub_tpm_present`; seen with Debian's 2.12-9+deb13u4.
    OnlyWithTpm,
    /// A separator before the first boot option: one for each PCR, one for RTMR1, none for RTMR1 in older firmware.
    Separator,
}

/// What an image brings, of which each part must be pinned by a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A program that runs before the kernel: shim, GRUB, or systemd-stub.
    Loader,
    /// The kernel.
    Kernel,
    /// The initrd.
    Initrd,
    /// The kernel's command line.
    CommandLine,
}

impl Part {
    /// The parts that a policy must pin. [`Part::Loader`] is a means to that.
    pub const PINNED: [Self; 3] = [Self::Kernel, Self::Initrd, Self::CommandLine];

    /// Returns the name for operators.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loader => "boot loader",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::CommandLine => "command line",
        }
    }
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
    /// The program that measures.
    pub maker: Maker,
    /// Into which registers the event goes, by the protocols that the firmware offers.
    pub route: Route,
    /// The parts of the image that the hashed bytes contain: another part has another digest.
    pub covers: Vec<Part>,
}

impl Event {
    pub(crate) fn new(maker: Maker, pcr: u32, what: impl Into<String>, hashed: impl Into<Vec<u8>>) -> Self {
        let route = match maker {
            Maker::Firmware | Maker::Shim | Maker::SystemdStub => Route::Each,
            Maker::Grub => Route::OnlyWithTpm,
            Maker::KernelStub => Route::TpmElseCc,
        };
        Self { pcr, what: what.into(), hashed: hashed.into(), maker, route, covers: Vec::new() }
    }

    /// An `EV_EFI_ACTION`: firmware measures the text.
    pub(crate) fn action(pcr: u32, text: &str) -> Self {
        Self::new(Maker::Firmware, pcr, format!("firmware action {text:?}"), text)
    }

    /// A program that firmware or shim loads, by its Authenticode digest.
    pub(crate) fn program(maker: Maker, name: &str, image: &[u8]) -> Result<Self, Error> {
        let spans = pe::spans(image).map_err(|error| Error::Program(name.to_owned(), error))?;
        let event = Self::new(maker, 4, format!("{name} is loaded (Authenticode)"), spans.concat());
        Ok(if maker == Maker::Firmware { Self { route: Route::CcElseTpm, ..event } } else { event })
    }

    pub(crate) fn covering(self, parts: &[Part]) -> Self {
        Self { covers: parts.to_vec(), ..self }
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

    /// Whether the event is extended into [`Event::rtmr`] with this firmware.
    #[must_use]
    pub const fn is_in_rtmr(&self, firmware: Firmware) -> bool {
        firmware.has_cc()
            && match self.route {
                Route::Each | Route::CcElseTpm => true,
                Route::TpmElseCc => !firmware.has_tpm(),
                Route::OnlyWithTpm => firmware.has_tpm(),
                // One of the TPM's separators stands for that of RTMR1.
                Route::Separator => self.pcr == 4 && !firmware.is_older(),
            }
    }

    /// Whether the event is extended into its PCR with this firmware.
    #[must_use]
    pub const fn is_in_pcr(&self, firmware: Firmware) -> bool {
        firmware.has_tpm() && (!firmware.has_cc() || !matches!(self.route, Route::CcElseTpm))
    }
}
