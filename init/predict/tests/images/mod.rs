//! Small disk images of each boot chain, for tests of this crate and of cvmctl.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

use std::io::{Cursor, Write as _};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

/// Offset and length of the EFI system partition in bytes.
const ESP_AT: usize = 1 << 20;
const ESP_LEN: usize = 4 << 20;
const DISK_LEN: usize = 8 << 20;
const SECTOR: usize = 512;

/// A PE image with these sections.
pub(crate) fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let table = 0x58 + 112 + 16 * 8;
    let headers = (table + 40 * sections.len()).next_multiple_of(512);
    let mut image = vec![0; headers];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x40;
    image[0x40..0x44].copy_from_slice(b"PE\0\0");
    image[0x46] = u8::try_from(sections.len()).unwrap();
    image[0x54] = 112 + 128;
    image[0x58..0x5a].copy_from_slice(&0x20b_u16.to_le_bytes());
    image[0x58 + 60..0x58 + 64].copy_from_slice(&u32::try_from(headers).unwrap().to_le_bytes());
    image[0x58 + 108] = 16;
    // Names of more than 8 bytes are in the string table, after zero symbols.
    let mut strings = vec![0; 4];
    for (number, (name, data)) in sections.iter().enumerate() {
        let at = table + 40 * number;
        let short = if name.len() > 8 { format!("/{}", strings.len()) } else { (*name).to_owned() };
        if name.len() > 8 {
            strings.extend(format!("{name}\0").into_bytes());
        }
        image[at..at + short.len()].copy_from_slice(short.as_bytes());
        let (start, length) = (u32::try_from(image.len()).unwrap(), u32::try_from(data.len()).unwrap());
        for (offset, field) in [(8, length), (16, length), (20, start)] {
            image[at + offset..at + offset + 4].copy_from_slice(&field.to_le_bytes());
        }
        image.extend_from_slice(data);
    }
    let symbols = u32::try_from(image.len()).unwrap();
    image[0x4c..0x50].copy_from_slice(&symbols.to_le_bytes());
    image.extend(strings);
    image
}

/// The checksum of GPT: CRC-32.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// A disk with one partition of this type, which contains these files.
pub(crate) fn disk(kind: [u8; 16], files: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
    let mut esp = Cursor::new(vec![0; ESP_LEN]);
    format_volume(&mut esp, FormatVolumeOptions::new()).unwrap();
    {
        let fat = FileSystem::new(&mut esp, FsOptions::new()).unwrap();
        for (path, content) in files {
            let parts: Vec<&str> = path.split('/').collect();
            for end in 1..parts.len() {
                drop(fat.root_dir().create_dir(&parts[..end].join("/")).unwrap());
            }
            fat.root_dir().create_file(path).unwrap().write_all(content).unwrap();
        }
    }
    let mut entries = vec![0; 128 * 128];
    entries[..16].copy_from_slice(&kind);
    entries[16..32].copy_from_slice(&[7; 16]);
    let lba = |at: usize| u64::try_from(at / SECTOR).unwrap().to_le_bytes();
    entries[32..40].copy_from_slice(&lba(ESP_AT));
    entries[40..48].copy_from_slice(&lba(ESP_AT + ESP_LEN - SECTOR));
    let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for at in [SECTOR, DISK_LEN - SECTOR, 34 * SECTOR, DISK_LEN - 34 * SECTOR] {
        header.extend(lba(at));
    }
    header.extend([9; 16]);
    header.extend(lba(2 * SECTOR));
    header.extend([128_u32, 128, crc(&entries)].map(u32::to_le_bytes).concat());
    let sum = crc(&header).to_le_bytes();
    header[16..20].copy_from_slice(&sum);
    let mut disk = vec![0; DISK_LEN];
    disk[SECTOR..SECTOR + header.len()].copy_from_slice(&header);
    disk[2 * SECTOR..2 * SECTOR + entries.len()].copy_from_slice(&entries);
    disk[ESP_AT..ESP_AT + ESP_LEN].copy_from_slice(esp.get_ref());
    Cursor::new(disk)
}

/// c12a7328-f81f-11d2-ba4b-00a0c93ec93b.
pub(crate) const ESP: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
pub(crate) const BOOT: &str = "EFI/BOOT/BOOTX64.EFI";

pub(crate) fn uki(more: &[(&str, &[u8])]) -> Vec<u8> {
    let kernel = pe(&[(".text", b"kernel")]);
    let own: [(&str, &[u8]); 4] = [(".osrel", b"ID=x\n"), (".cmdline", b" a b\0"), (".linux", &kernel), (".initrd", b"initrd")];
    pe(&[&own, more].concat())
}

pub(crate) fn shim() -> Vec<u8> {
    // Sizes of the allowed and the revoked list, then their offsets: the first bytes of a certificate, and no revocation.
    let vendor = [&[4_u32, 0, 16, 20].map(u32::to_le_bytes).concat()[..], b"\x30\x82\0\0"].concat();
    pe(&[(".text", b"shim"), (".vendor_cert", &vendor)])
}

pub(crate) fn with_grub(configuration: &str) -> Cursor<Vec<u8>> {
    with_grub_and(configuration, &[])
}

/// The same with more files.
pub(crate) fn with_grub_and(configuration: &str, more: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
    let kernel = pe(&[(".text", b"kernel")]);
    let files: [(&str, &[u8]); 6] = [
        (BOOT, &shim()),
        ("EFI/BOOT/grubx64.efi", &pe(&[(".text", b"prefix=/EFI/debian")])),
        ("EFI/debian/grub.cfg", b"configfile /grub/grub.cfg\n"),
        ("grub/grub.cfg", configuration.as_bytes()),
        ("k/vmlinuz", &kernel),
        ("k/initrd", b"initrd"),
    ];
    disk(ESP, &[&files[..], more].concat())
}
