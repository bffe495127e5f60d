//! Direct boot: the firmware starts the kernel without a boot loader, as with `qemu -kernel` under OVMF or a TDVF.

use eventlog::pe;

use super::{Error, Event, Maker, Part, Prediction, SecureBoot, firmware, uki, wide};

/// Kernel, initrd and command line of the hypervisor.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// A PE image with the EFI stub. QEMU before 10.0 patches the setup header in memory, which changes RTMR1.
    pub kernel: &'a [u8],
    /// The initrd; empty: none, and no event for it.
    pub initrd: &'a [u8],
    /// The command line as in `/proc/cmdline`. OVMF appends ` initrd=initrd` to that of QEMU when there is an initrd.
    pub command_line: &'a str,
}

/// Whether firmware with Secure Boot accepts the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KernelSignature {
    /// Secure Boot is off, or a key in `db` signed the kernel: firmware loads and measures it.
    #[default]
    Verified,
    /// Secure Boot is on, and no key in `db` signed the kernel: OVMF starts it by its older loader, which measures nothing. The kernel's
    /// EFI stub then measures the initrd alone.
    ///
    /// Source: edk2 `OvmfPkg/Library/X86QemuLoadImageLib`, seen with OVMF of Debian 13.
    NotVerified,
}

impl Boot<'_> {
    /// Predicts the events where Secure Boot is off or accepts the kernel.
    ///
    /// # Errors
    /// When the kernel is not a PE image.
    ///
    /// Source: edk2 `OvmfPkg/Library/GenericQemuLoadImageLib`; Linux `drivers/firmware/efi/libstub/efi-stub-helper.c`,
    /// `efi_measure_tagged_event`.
    pub fn predict(&self) -> Result<Prediction, Error> {
        self.predict_with(KernelSignature::Verified)
    }

    /// Predicts the events.
    ///
    /// # Errors
    /// When the kernel is not a PE image.
    pub fn predict_with(&self, signature: KernelSignature) -> Result<Prediction, Error> {
        let kernel = Event::program(Maker::Firmware, "the kernel", self.kernel)?.covering(&[Part::Kernel]);
        let events = match signature {
            KernelSignature::Verified => {
                let mut events = vec![kernel];
                events.extend(firmware::begins());
                events.extend(stub(&wide(self.command_line, 1), self.initrd));
                events
            }
            KernelSignature::NotVerified => {
                let mut events = firmware::begins();
                events.extend(of_initrd(self.initrd));
                events
            }
        };
        Ok(Prediction(events.into_iter().chain(firmware::ends()).collect()))
    }
}

/// Whether a kernel file is a unified kernel image.
#[must_use]
pub fn is_uki(kernel: &[u8]) -> bool {
    pe::sections(kernel).is_ok_and(|sections| uki::is_uki(&sections))
}

/// Predicts the events of `qemu -kernel UKI` without `-initrd` and `-append`. With Secure Boot a key in `db` must have signed the image: it
/// does not boot otherwise.
///
/// # Errors
/// When the file is not a unified kernel image, or contains a part that is not predicted.
pub fn uki(image: &[u8], secure_boot: SecureBoot) -> Result<Prediction, Error> {
    const NAME: &str = "the unified kernel image";
    let sections = pe::sections(image).map_err(|error| Error::Program(NAME.to_owned(), error))?;
    let mut events = vec![Event::program(Maker::Firmware, NAME, image)?.covering(&uki::PARTS)];
    events.extend(firmware::begins());
    events.extend(uki::events(&sections, secure_boot)?);
    events.extend(firmware::ends());
    Ok(Prediction(events))
}

/// The events of the kernel's EFI stub: load options, then the initrd if there is one.
pub(crate) fn stub(load_options: &[u8], initrd: &[u8]) -> Vec<Event> {
    let what = "the kernel's EFI stub: command line (load options, UTF-16)";
    let options = Event::new(Maker::KernelStub, 9, what, load_options).covering(&[Part::CommandLine]);
    std::iter::once(options).chain(of_initrd(initrd)).collect()
}

fn of_initrd(initrd: &[u8]) -> Option<Event> {
    let event = Event::new(Maker::KernelStub, 9, "the kernel's EFI stub: initrd", initrd).covering(&[Part::Initrd]);
    (!initrd.is_empty()).then_some(event)
}
