//! What a difference between a log and a prediction usually means.

use eventlog::ccel::Event;
use eventlog::ccel::describe::{self, Hashed};
use predict::{Chain, Maker, Part, Route};

use super::compare::{Change, Divergence};
use super::shape::Predicted;

const SEPARATOR: u32 = 4;
const GPT: [u32; 2] = [0x8000_0006, 0x8000_000d];
const PROGRAM: u32 = 0x8000_0003;
const DRIVERS: [u32; 2] = [0x8000_0004, 0x8000_0005];
const ACTION: u32 = 0x8000_0007;
/// `EV_EFI_VARIABLE_BOOT`, in both forms, and `EV_PLATFORM_CONFIG_FLAGS`. edk2 measures them into RTMR0, and did not always.
const SETTINGS: [u32; 3] = [0x8000_0002, 0x8000_000c, 0xa];
/// Fields of the header of a partition table that differ if only the size of the disk does: its checksum, the place of the backup, and the
/// last usable block. UEFI 2.10, section 5.3.2.
const GPT_SIZE: [std::ops::Range<usize>; 3] = [16..20, 32..40, 48..56];
const GPT_HEADER: usize = 92;
/// What firmware measures when it starts a boot option.
const CALLING: &str = "Calling EFI Application";

/// Returns the usual cause. The texts of a log are claims of its writer, so the cause is one too.
pub(super) fn of(chain: Chain, divergence: &Divergence<'_>) -> String {
    let cause = match (divergence.found, divergence.expected) {
        (Some(found), expected) => of_firmware(chain, divergence.change, found, expected)
            .or_else(|| of_loader(chain, divergence.change, found, expected)),
        (None, Some(expected)) => Some(of_missing(expected)),
        (None, None) => None,
    };
    let other = || "an event that this predictor does not know: another image, or firmware of another kind".to_owned();
    cause.unwrap_or_else(other)
}

/// Events that only firmware makes.
fn of_firmware(chain: Chain, change: Change, found: &Event<'_>, expected: Option<&Predicted<'_>>) -> Option<String> {
    let text = describe::text(found);
    // Without a path, the text is the length of the data.
    let name = if text.starts_with('(') { String::new() } else { format!(" ({text})") };
    let wanted = expected.map(|expected| expected.event);
    let is_table = wanted.is_some_and(|event| event.what.contains("partition table"));
    let is_program = wanted.is_some_and(|event| event.what.contains("Authenticode"));
    let is_separator = wanted.is_some_and(|event| event.route == Route::Separator);
    let is_given = matches!(chain, Chain::Direct | Chain::DirectUki);
    Some(match found.kind {
        ACTION if is_given && is_program && text.starts_with(CALLING) => {
            "the firmware started a boot option, such as a disk, and not the kernel that the hypervisor was to give it".to_owned()
        }
        ACTION if text.starts_with("Returning from EFI Application") || text.starts_with(CALLING) => {
            "the boot order: firmware tried another boot option before the image, such as an empty disk or the network".to_owned()
        }
        kind if SETTINGS.contains(&kind) => {
            "the firmware: another generation or that of a cloud, which measures its settings into this register".to_owned()
        }
        kind if is_separator && !DRIVERS.contains(&kind) => {
            "the generation of the firmware: a TDVF from before edk2-stable202411 measures no separator into RTMR1. Predict with --fold \
             td-older: what still differs then is of the image"
                .to_owned()
        }
        SEPARATOR => "the generation of the firmware: it measures separators elsewhere than predicted".to_owned(),
        kind if GPT.contains(&kind) && is_table => of_table(found, wanted.map_or(&[][..], |event| &event.hashed)).to_owned(),
        kind if GPT.contains(&kind) => "firmware measured the partition table of another disk: the boot order".to_owned(),
        kind if DRIVERS.contains(&kind) => {
            format!("firmware loaded a driver{name}: the option ROM of a device, or a driver in a boot variable")
        }
        PROGRAM if is_program && change != Change::Additional => {
            format!("another program{name}: another image, or the file was signed or changed since")
        }
        PROGRAM if !is_given && wanted.is_some_and(|event| event.hashed.starts_with(CALLING.as_bytes())) => {
            format!("the hypervisor gave the firmware a kernel{name} (qemu -kernel), which runs before any disk: predict it with --kernel")
        }
        PROGRAM => format!("firmware started a further program{name}: a boot option of the host, or a fallback"),
        _ => return None,
    })
}

fn of_table(found: &Event<'_>, wanted: &[u8]) -> &'static str {
    if describe::hashed(found) != Hashed::Whole || found.data.len() != wanted.len() {
        return "another partition table: another image, or partitions were added to the disk";
    }
    let differs = |at: usize| found.data.get(at) != wanted.get(at);
    let is_size = |at: usize| at < GPT_HEADER && GPT_SIZE.iter().any(|field| field.contains(&at));
    if (0..wanted.len()).filter(|at| differs(*at)).all(is_size) {
        "the disk has another size than the image: its partition table was adapted. Predict from the disk as it is, or do not adapt it"
    } else {
        "another partition table: another image, or its partitions were changed, for example by systemd-repart"
    }
}

/// Events of shim, GRUB, systemd-stub and the kernel.
fn of_loader(chain: Chain, change: Change, found: &Event<'_>, expected: Option<&Predicted<'_>>) -> Option<String> {
    let text = describe::text(found);
    if text.starts_with("MokList") {
        return Some("shim's lists: a machine owner key is enrolled (mokutil), or shim is another build".to_owned());
    }
    let is_uki = matches!(chain, Chain::Uki | Chain::DirectUki);
    let maker = expected.map(|expected| expected.event.maker);
    if is_uki && change == Change::Additional {
        return Some(
            "systemd-stub measured more than the image contains: a command line of the host (boot option, SMBIOS), an add-on, a credential, \
             or a system extension"
                .to_owned(),
        );
    }
    let covers = |part: Part| expected.is_some_and(|expected| expected.event.covers.contains(&part));
    Some(match maker? {
        Maker::KernelStub if covers(Part::CommandLine) => "another kernel command line".to_owned(),
        Maker::KernelStub => "another initrd, or one that the boot loader put together in another way".to_owned(),
        Maker::SystemdStub => "a section of the unified kernel image differs: another image".to_owned(),
        Maker::Grub => {
            "GRUB ran other commands or read other files: another grub.cfg, kernel or initrd; without a TPM, it measures nothing"
                .to_owned()
        }
        Maker::Shim => "shim loaded another program or has other lists: another image, or enrolled keys".to_owned(),
        Maker::Firmware => return None,
    })
}

fn of_missing(expected: &Predicted<'_>) -> String {
    match expected.event.maker {
        Maker::KernelStub => {
            "the kernel's EFI stub measured nothing here: it measures into a TPM alone where there is one, and firmware may start the kernel \
             without it"
        }
        Maker::Grub => "GRUB measured nothing: it does so only where firmware drives a TPM",
        _ => "the log ends early: it was cut short, or read from a boot that did not get further",
    }
    .to_owned()
}
