//! Predictions and refusals for small generated images. The scenarios compare predictions of real images with OVMF's log
//! (tests/src/scenarios/measure.rs).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

use std::io::{Cursor, Write as _};

use eventlog::register::Hash;
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use predict::{Chain, Error, Firmware, Route, SecureBoot, image};

/// Offset and length of the EFI system partition in bytes.
const ESP_AT: usize = 1 << 20;
const ESP_LEN: usize = 4 << 20;
const DISK_LEN: usize = 8 << 20;
const SECTOR: usize = 512;

/// A PE image with these sections.
fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
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
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// A disk with one partition of this type, which contains these files.
fn disk(kind: [u8; 16], files: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
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
const ESP: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
const BOOT: &str = "EFI/BOOT/BOOTX64.EFI";

fn uki(more: &[(&str, &[u8])]) -> Vec<u8> {
    let kernel = pe(&[(".text", b"kernel")]);
    let own: [(&str, &[u8]); 4] = [(".osrel", b"ID=x\n"), (".cmdline", b" a b\0"), (".linux", &kernel), (".initrd", b"initrd")];
    pe(&[&own, more].concat())
}

fn shim() -> Vec<u8> {
    // Sizes of the allowed and the revoked list, then their offsets: the first bytes of a certificate, and no revocation.
    let vendor = [&[4_u32, 0, 16, 20].map(u32::to_le_bytes).concat()[..], b"\x30\x82\0\0"].concat();
    pe(&[(".text", b"shim"), (".vendor_cert", &vendor)])
}

fn with_grub(configuration: &str) -> Cursor<Vec<u8>> {
    let kernel = pe(&[(".text", b"kernel")]);
    let files: [(&str, &[u8]); 6] = [
        (BOOT, &shim()),
        ("EFI/BOOT/grubx64.efi", &pe(&[(".text", b"prefix=/EFI/debian")])),
        ("EFI/debian/grub.cfg", b"configfile /grub/grub.cfg\n"),
        ("grub/grub.cfg", configuration.as_bytes()),
        ("k/vmlinuz", &kernel),
        ("k/initrd", b"initrd"),
    ];
    disk(ESP, &files)
}

#[test]
fn uki_measures_its_sections_then_command_line_and_initrd() {
    let (chain, prediction) = image(disk(ESP, &[(BOOT, &uki(&[]))]), SecureBoot::On).unwrap();
    assert_eq!(chain, Chain::Uki);
    let hashed = |pcr: u32| prediction.0.iter().filter(move |event| event.pcr == pcr).map(|event| event.hashed.clone());
    let sections: Vec<Vec<u8>> = hashed(11).collect();
    assert_eq!(sections.len(), 8);
    assert_eq!(sections[2..6], [&b".osrel\0"[..], b"ID=x\n", b".cmdline\0", b" a b\0"].map(<[u8]>::to_vec));
    let stub: Vec<Vec<u8>> = hashed(9).collect();
    assert_eq!(stub[0], "a b\0".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    // The padded initrd, then an archive with /.extra/os-release.
    assert!(stub[1].starts_with(b"initrd\x00\x00070701") && stub[1].len().is_multiple_of(4));
    assert!(stub[1].windows(18).any(|window| window == b".extra/os-release\0"));
    assert_eq!(prediction.pcrs(Firmware::Tpm), [4, 5, 9, 11]);
}

#[test]
fn firmware_measures_the_kernel_of_a_uki_only_without_secure_boot() {
    let programs = |secure_boot| {
        let (_, prediction) = image(disk(ESP, &[(BOOT, &uki(&[]))]), secure_boot).unwrap();
        prediction.0.iter().filter(|event| event.what.contains("Authenticode")).count()
    };
    assert_eq!((programs(SecureBoot::On), programs(SecureBoot::Off)), (1, 2));
    let programs = |secure_boot| {
        let disk = with_grub("linux /k/vmlinuz a\ninitrd /k/initrd\nboot\n");
        image(disk, secure_boot).unwrap().1.0.iter().filter(|event| event.what.contains("Authenticode")).count()
    };
    assert_eq!((programs(SecureBoot::On), programs(SecureBoot::Off)), (3, 2));
}

#[test]
fn td_has_one_separator_and_a_tpm_has_one_for_each_pcr() {
    let (_, prediction) = image(disk(ESP, &[(BOOT, &uki(&[]))]), SecureBoot::On).unwrap();
    let separator = Hash::Sha384.digest(&[0; 4]);
    let count = prediction.0.iter().filter(|event| event.route == Route::Separator).count();
    assert_eq!((count, prediction.0[1].digest(Hash::Sha384)), (5, separator));
    let older: Vec<_> = prediction.events(Firmware::Td).filter(|event| event.route != Route::Separator).collect();
    assert_eq!(prediction.events(Firmware::TdOlder).collect::<Vec<_>>(), older);
    assert_eq!(prediction.rtmr(1, Firmware::Tpm), vec![0; 48], "no RTMRs without a CC protocol");
    assert_eq!(prediction.rtmr(3, Firmware::Td), vec![0; 48]);
    // With a TPM, the kernel's stub extends the TPM only.
    let digests: Vec<Vec<u8>> =
        (prediction.0.iter().filter(|event| event.pcr == 11)).map(|event| event.digest(Hash::Sha384)).collect();
    let sections = Hash::Sha384.replay(digests.iter().map(Vec::as_slice));
    assert_eq!(prediction.rtmr(2, Firmware::TdWithTpm), sections);
    assert_eq!(prediction.rtmr(1, Firmware::TdWithTpm), prediction.rtmr(1, Firmware::Td));
}

#[test]
fn grub_measures_commands_files_and_the_command_line() {
    let (chain, prediction) =
        image(with_grub("if linux /k/vmlinuz a  b; then\nif initrd /k/initrd; then\nboot\nfi\nfi\nhalt\n"), SecureBoot::On)
            .unwrap();
    assert_eq!(chain, Chain::Grub);
    let texts: Vec<String> = (prediction.0.iter().filter(|event| event.pcr == 8))
        .map(|event| String::from_utf8(event.hashed.clone()).unwrap())
        .collect();
    assert_eq!(texts, ["configfile /grub/grub.cfg", "linux /k/vmlinuz a b", "/k/vmlinuz a b", "initrd /k/initrd", "boot"]);
    let options = &prediction.0.iter().filter(|event| event.pcr == 9).nth(5).unwrap().hashed;
    assert_eq!(*options, "BOOT_IMAGE=/k/vmlinuz a b".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    assert_eq!(prediction.0.iter().filter(|event| event.pcr == 14).count(), 3);
}

#[test]
fn configurations_with_a_choice_are_refused_with_their_line() {
    for (configuration, line) in [
        ("set timeout=5\nlinux /k/vmlinuz\nboot\n", 1),
        ("linux /k/vmlinuz $root\nboot\n", 1),
        ("linux /k/vmlinuz\ninitrd /k/initrd /k/initrd\nboot\n", 2),
        ("linux /k/vmlinuz\nlinux /k/vmlinuz\nboot\n", 2),
        ("initrd /k/initrd\n", 1),
        ("boot\n", 1),
        ("menuentry 'x' {\n}\n", 1),
        ("if linux /k/vmlinuz\nboot\n", 1),
        ("linux /k/vmlinuz\n", 1),
        ("configfile /grub/grub.cfg\n", 1),
    ] {
        match image(with_grub(configuration), SecureBoot::On) {
            Err(Error::Configuration(number, _)) => assert_eq!(number, line, "{configuration}"),
            other => panic!("{configuration}: {other:?}"),
        }
    }
}

#[test]
fn images_that_are_not_supported_are_refused() {
    type Predicted = Result<(), String>;
    let predicted =
        |kind, files: &[(&str, &[u8])]| image(disk(kind, files), SecureBoot::On).map(|_| ()).map_err(|e| e.to_string());
    let whole = uki(&[]);
    let refused = |text: &str| Err(text.to_owned());
    let cases: [(&str, Predicted, Predicted); 9] = [
        ("no program", predicted(ESP, &[]), refused("the EFI system partition does not contain EFI/BOOT/BOOTX64.EFI")),
        ("no ESP", predicted([1; 16], &[]), refused("0 EFI system partitions, expected 1")),
        ("no PE", predicted(ESP, &[(BOOT, b"MZ")]), refused("EFI/BOOT/BOOTX64.EFI")),
        (
            "another loader",
            predicted(ESP, &[(BOOT, &pe(&[(".text", b"x")]))]),
            refused("EFI/BOOT/BOOTX64.EFI is neither a unified kernel image nor a shim"),
        ),
        (
            "a credential",
            predicted(ESP, &[(BOOT, &whole), ("loader/credentials/x.cred", b"x")]),
            refused("the effect of the file loader/credentials/x.cred is not predicted"),
        ),
        (
            "an addon",
            predicted(ESP, &[(BOOT, &whole), ("EFI/BOOT/BOOTX64.EFI.extra.d/x.addon.efi", b"x")]),
            refused("the effect of the file EFI/BOOT/BOOTX64.EFI.extra.d/x.addon.efi is not predicted"),
        ),
        (
            "profiles",
            predicted(ESP, &[(BOOT, &uki(&[(".profile", b"ID=a")]))]),
            refused("the unified kernel image has a section .profile, whose effect is not predicted"),
        ),
        (
            "a command line of two lines",
            predicted(ESP, &[(BOOT, &pe(&[(".osrel", b"x"), (".cmdline", b"a\nb"), (".linux", b"x"), (".initrd", b"x")]))]),
            refused("the command line of the unified kernel image contains other characters than printable ASCII"),
        ),
        ("supported", predicted(ESP, &[(BOOT, &whole)]), Ok(())),
    ];
    for (name, got, want) in cases {
        assert_eq!(got, want, "{name}");
    }
}
