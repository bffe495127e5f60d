//! The boot chains: which programs start one another, decided by the first program that the firmware starts.

use eventlog::pe;

use crate::esp::Files;
use crate::{Error, Event, Maker, Part, Prediction, Route, SecureBoot, firmware, grub, uki};

/// The program that firmware starts from a disk without a boot entry.
pub(crate) const FIRST: &str = "EFI/BOOT/BOOTX64.EFI";

/// A boot chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chain {
    /// Firmware, then one unified kernel image with systemd-stub from a disk.
    Uki,
    /// Firmware, then shim, GRUB and the kernel from a disk.
    Grub,
    /// Firmware, then the kernel that the hypervisor gives it.
    Direct,
    /// Firmware, then a unified kernel image that the hypervisor gives it.
    DirectUki,
}

impl Chain {
    /// All boot chains.
    pub const ALL: [Self; 4] = [Self::Uki, Self::DirectUki, Self::Direct, Self::Grub];

    /// Returns the name for operators.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uki => "unified kernel image",
            Self::Grub => "shim and GRUB",
            Self::Direct => "direct boot",
            Self::DirectUki => "direct boot of a unified kernel image",
        }
    }
}

/// Predicts the events of the chain in these files, on a disk with this partition table (`UEFI_GPT_DATA`).
///
/// Other programs in the files change nothing: firmware starts them only if a boot option of the host names them, and then RTMR1 contains
/// them. A file that a program of the chain itself would look for is refused.
pub(crate) fn events(table: Vec<u8>, files: &impl Files, secure_boot: SecureBoot) -> Result<(Chain, Prediction), Error> {
    let first = files.read(FIRST)?;
    let sections = pe::sections(&first).map_err(|error| Error::Program(FIRST.to_owned(), error))?;
    let mut events = firmware::begins();
    events.push(Event { route: Route::CcElseTpm, ..Event::new(Maker::Firmware, 5, "the disk's partition table", table) });
    let program = Event::program(Maker::Firmware, FIRST, &first)?;
    let chain = if uki::is_uki(&sections) {
        uki::check_files(files)?;
        events.push(program.covering(&uki::PARTS));
        events.extend(uki::events(&sections, secure_boot)?);
        Chain::Uki
    } else if grub::is_shim(&sections) {
        events.push(program.covering(&[Part::Loader]));
        events.extend(grub::events(&sections, files, secure_boot)?);
        Chain::Grub
    } else {
        return Err(Error::Unknown(FIRST.to_owned()));
    };
    events.extend(firmware::ends());
    Ok((chain, Prediction(events)))
}
