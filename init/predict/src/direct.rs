//! Direct boot: the firmware starts the kernel without a boot loader, as with `qemu -kernel` under OVMF or a TDVF.

use super::{Error, Event, Prediction, firmware_begins, firmware_ends, wide};

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

impl Boot<'_> {
    /// Predicts the events.
    ///
    /// # Errors
    /// When the kernel is not a PE image.
    ///
    /// Source: edk2 `OvmfPkg/Library/GenericQemuLoadImageLib`; Linux `drivers/firmware/efi/libstub/efi-stub-helper.c`,
    /// `efi_measure_tagged_event`.
    pub fn predict(&self) -> Result<Prediction, Error> {
        let mut events = vec![Event::program(4, "the kernel", self.kernel)?];
        events.extend(firmware_begins());
        events.extend(stub(&wide(self.command_line, 1), self.initrd));
        events.extend(firmware_ends());
        Ok(Prediction(events))
    }
}

/// The events of the kernel's EFI stub: load options, then the initrd if there is one.
pub(crate) fn stub(load_options: &[u8], initrd: &[u8]) -> Vec<Event> {
    let of_stub =
        |what: &str, hashed: &[u8]| Event { stub: true, ..Event::new(9, format!("the kernel's EFI stub: {what}"), hashed) };
    let options = of_stub("command line (load options, UTF-16)", load_options);
    let initrd = (!initrd.is_empty()).then(|| of_stub("initrd", initrd));
    std::iter::once(options).chain(initrd).collect()
}
