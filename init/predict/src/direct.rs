//! A kernel that firmware starts itself, with no boot loader between: `qemu -kernel` under OVMF or a TDVF.

use super::{Error, Event, Prediction, firmware_begins, firmware_ends, wide};

/// Kernel, initrd and command line as the hypervisor is given them.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// A PE image with the EFI stub. QEMU before 10.0 patches its setup header before firmware sees it, and RTMR1 is another then.
    pub kernel: &'a [u8],
    /// Empty: none, and none is measured.
    pub initrd: &'a [u8],
    /// Exactly what the kernel is given, as its `/proc/cmdline` has it. OVMF adds ` initrd=initrd` to what QEMU says where there is an initrd.
    pub command_line: &'a str,
}

impl Boot<'_> {
    /// What is measured.
    ///
    /// # Errors
    /// When the kernel is no PE image.
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

/// The kernel's EFI stub: load options as it was given them, then the initrd if there is one.
pub(crate) fn stub(load_options: &[u8], initrd: &[u8]) -> Vec<Event> {
    let of_stub =
        |what: &str, hashed: &[u8]| Event { stub: true, ..Event::new(9, format!("the kernel's EFI stub: {what}"), hashed) };
    let options = of_stub("command line (load options, UTF-16)", load_options);
    let initrd = (!initrd.is_empty()).then(|| of_stub("initrd", initrd));
    std::iter::once(options).chain(initrd).collect()
}
