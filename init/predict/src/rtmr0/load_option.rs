//! Boot options: `EFI_LOAD_OPTION` in `Boot0000` and others, and `BootOrder`.
//!
//! Source: UEFI 2.10, section 3.1.3 (load options) and chapter 10 (device paths).

use encoding::fields::{array, le_u16, le_u32};
use uuid::Uuid;

/// The largest option that is described, in bytes.
const OPTION_MAX: usize = 64 << 10;
/// The most nodes of a device path, and the longest description, in characters.
const NODES_MAX: usize = 64;
const TEXT_MAX: usize = 200;
/// `LOAD_OPTION_ACTIVE`.
const ACTIVE: u32 = 1;
/// edk2's mark of options that it made for a device, `8108ac4e-9f11-4d59-850e-e21a522c59b2`.
///
/// Source: edk2 `MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c`, `mBmAutoCreateBootOptionGuid`.
const AUTO_CREATED: [u8; 16] = [0x4e, 0xac, 0x08, 0x81, 0x11, 0x9f, 0x59, 0x4d, 0x85, 0x0e, 0xe2, 0x1a, 0x52, 0x2c, 0x59, 0xb2];
/// Type of the node that ends a device path.
const END: u8 = 0x7f;

/// `Boot0000` of firmware from edk2's OvmfPkg that found no other boot option, as with direct boot: "UiApp", the setup menu. The firmware
/// volume is OVMF's (`7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1`), the file `462caa21-7614-4503-836e-8ab6f4662331`.
#[must_use]
pub fn ui_app() -> Vec<u8> {
    const VOLUME: [u8; 16] = [0xc9, 0xbd, 0xb8, 0x7c, 0xeb, 0xf8, 0x34, 0x4f, 0xaa, 0xea, 0x3e, 0xe4, 0xaf, 0x65, 0x16, 0xa1];
    const FILE: [u8; 16] = [0x21, 0xaa, 0x2c, 0x46, 0x14, 0x76, 0x03, 0x45, 0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31];
    // Active, hidden, an application.
    let attributes: u32 = 0x109;
    let name: Vec<u8> = "UiApp\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let path = [&[4, 7, 20, 0][..], &VOLUME, &[4, 6, 20, 0], &FILE, &[END, 0xff, 4, 0]].concat();
    let length = u16::try_from(path.len()).unwrap_or(u16::MAX);
    [&attributes.to_le_bytes()[..], &length.to_le_bytes(), &name, &path].concat()
}

/// Describes the value of `BootOrder`: the numbers of the options. `None` when it has an odd length.
#[must_use]
pub fn describe_order(value: &[u8]) -> Option<String> {
    let (numbers, rest) = value.as_chunks::<2>();
    let shown = numbers.iter().take(NODES_MAX).map(|number| format!("{:04X}", u16::from_le_bytes(*number)));
    rest.is_empty().then(|| shown.collect::<Vec<_>>().join(","))
}

/// Describes a boot option: its name, its device path, and the length of its arguments. `None` when the bytes are not such an option.
#[must_use]
pub fn describe(option: &[u8]) -> Option<String> {
    if option.len() > OPTION_MAX {
        return None;
    }
    let (attributes, path) = (le_u32(option, 0)?, usize::from(le_u16(option, 4)?));
    let units = option.get(6..)?.as_chunks::<2>().0;
    let end = units.iter().position(|unit| *unit == [0, 0])?;
    let name = text(units.get(..end)?);
    let (path, arguments) = option.get(6 + 2 * (end + 1)..)?.split_at_checked(path)?;
    let inactive = if attributes & ACTIVE == 0 { ", inactive" } else { "" };
    let arguments = match arguments {
        [] => String::new(),
        arguments if arguments == AUTO_CREATED => ", made by firmware".to_owned(),
        arguments => format!(", {} bytes of arguments", arguments.len()),
    };
    Some(format!("{name:?} at {}{arguments}{inactive}", device_path(path)?))
}

/// Describes the nodes of a device path.
fn device_path(path: &[u8]) -> Option<String> {
    let (mut names, mut rest) = (Vec::new(), path);
    while let Some(length) = le_u16(rest, 2).map(usize::from).filter(|length| *length >= 4) {
        let (bytes, after) = rest.split_at_checked(length)?;
        let (head, data) = bytes.split_at_checked(4)?;
        if head.starts_with(&[END]) || names.len() == NODES_MAX {
            break;
        }
        names.push(node([*head.first()?, *head.get(1)?], data));
        rest = after;
    }
    let mut text = names.join("/");
    text.truncate(text.char_indices().nth(TEXT_MAX).map_or(text.len(), |(at, _)| at));
    Some(if text.is_empty() { "no device".to_owned() } else { text })
}

/// Describes one node; kinds that boot options of virtual machines seldom have by type and subtype.
fn node(kind: [u8; 2], data: &[u8]) -> String {
    let guid = || array(data, 0).map(|bytes| Uuid::from_bytes_le(bytes).to_string());
    let word = |at: usize| le_u32(data, at);
    let known = match kind {
        [1, 1] => data.first().zip(data.get(1)).map(|(function, device)| format!("Pci({device:#x},{function:#x})")),
        // PNP0A03: a PCI root bridge.
        [2, 1] => word(0).zip(word(4)).map(|(id, uid)| match id {
            0x0a03_41d0 | 0x0a08_41d0 => format!("PciRoot({uid:#x})"),
            id => format!("Acpi({id:#x},{uid:#x})"),
        }),
        [3, 2] => le_u16(data, 0).zip(le_u16(data, 2)).map(|(target, lun)| format!("Scsi({target:#x},{lun:#x})")),
        [3, 18] => le_u16(data, 0).map(|port| format!("Sata({port:#x})")),
        [3, 23] => word(0).map(|namespace| format!("NVMe({namespace:#x})")),
        [3, 11] => array::<6>(data, 0).map(|address| format!("MAC({})", encoding::hex::encode(&address))),
        [3, 12] => Some("IPv4".to_owned()),
        [3, 13] => Some("IPv6".to_owned()),
        [3, 24] => Some("Uri".to_owned()),
        [4, 1] => word(0).map(|partition| format!("partition {partition}")),
        [4, 4] => Some(text(data.as_chunks::<2>().0)),
        [4, 6] => guid().map(|guid| format!("FvFile({guid})")),
        [4, 7] => guid().map(|guid| format!("Fv({guid})")),
        _ => None,
    };
    known.unwrap_or_else(|| format!("Path({:#x},{:#x})", kind[0], kind[1]))
}

/// Printable ASCII of a text in UTF-16 up to a NUL; other characters become `?`.
fn text(units: &[[u8; 2]]) -> String {
    let units = units.iter().take_while(|unit| **unit != [0, 0]).take(TEXT_MAX);
    units.map(|unit| if let [low @ b' '..=b'~', 0] = unit { char::from(*low) } else { '?' }).collect()
}
