//! Predictions and refusals for small generated images. The scenarios compare predictions of real images with OVMF's log
//! (tests/src/scenarios/measure.rs).

use eventlog::register::Hash;
use predict::{Chain, Error, Firmware, Maker, Prediction, Route, SecureBoot, direct, image};

mod images;

use images::{BOOT, ESP, disk, pe, uki, with_grub, with_grub_and};

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
    let magic = |text: &'static str| predicted(ESP, &[(BOOT, &uki(&[(".sdmagic", text.as_bytes())]))]);
    let cases: [(&str, Predicted, Predicted); 15] = [
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
            refused("the effect of the file \"loader/credentials/x.cred\" is not predicted"),
        ),
        (
            "an addon",
            predicted(ESP, &[(BOOT, &whole), ("EFI/BOOT/BOOTX64.EFI.extra.d/x.addon.efi", b"x")]),
            refused("the effect of the file \"EFI/BOOT/BOOTX64.EFI.extra.d/x.addon.efi\" is not predicted"),
        ),
        (
            "a credential beside the image",
            predicted(ESP, &[(BOOT, &whole), ("EFI/BOOT/BOOTX64.EFI.extra.d/x.cred", b"x")]),
            refused("the effect of the file \"EFI/BOOT/BOOTX64.EFI.extra.d/x.cred\" is not predicted"),
        ),
        (
            "a global addon",
            predicted(ESP, &[(BOOT, &whole), ("loader/addons/x.addon.efi", b"x")]),
            refused("the effect of the file \"loader/addons/x.addon.efi\" is not predicted"),
        ),
        (
            "an extension",
            predicted(ESP, &[(BOOT, &whole), ("loader/extensions/x.raw", b"x")]),
            refused("the effect of the file \"loader/extensions/x.raw\" is not predicted"),
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
        (
            "an empty command line, in place of which the stub takes that of the host",
            predicted(ESP, &[(BOOT, &pe(&[(".osrel", b"x"), (".cmdline", b""), (".linux", b"x"), (".initrd", b"x")]))]),
            refused("the program has no section .cmdline"),
        ),
        (
            "a stub that takes an initrd of the host",
            magic("#### LoaderInfo: systemd-stub 261~rc1-1 ####\0"),
            refused(
                "the unified kernel image has systemd-stub 261, expected one before 261: it takes an initrd that the host offers firmware, \
                 which nothing may measure into RTMR2",
            ),
        ),
        ("the stub of Debian 13", magic("#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####\0"), Ok(())),
        ("supported", predicted(ESP, &[(BOOT, &whole)]), Ok(())),
    ];
    for (name, got, want) in cases {
        assert_eq!(got, want, "{name}");
    }
}

const GRUB: &str = "linux /k/vmlinuz a\ninitrd /k/initrd\nboot\n";

fn whats(prediction: &Prediction, firmware: Firmware, rtmr: u32) -> Vec<&str> {
    let events = prediction.0.iter().filter(|event| event.is_in_rtmr(firmware) && event.rtmr() == Some(rtmr));
    events.map(|event| event.what.as_str()).collect()
}

#[test]
fn grub_measures_nothing_into_rtmrs_without_a_tpm() {
    let (_, prediction) = image(with_grub(GRUB), SecureBoot::On).unwrap();
    // As Debian's GRUB 2.12-9+deb13u4 under the simulated CC protocol, and a public log of TDX hardware (trustee, CCEL_data_grub).
    assert_eq!(
        whats(&prediction, Firmware::Td, 2),
        [
            "shim: MokList (the vendor's certificate)",
            "shim: MokListX (the vendor's revocations)",
            "shim: MokListTrusted",
            "the kernel's EFI stub: command line (load options, UTF-16)",
            "the kernel's EFI stub: initrd",
        ]
    );
    let with_tpm = prediction.events(Firmware::TdWithTpm);
    let makers: Vec<Maker> = with_tpm.filter(|event| event.rtmr() == Some(2)).map(|event| event.maker).collect();
    assert_eq!(makers, [vec![Maker::Shim; 3], vec![Maker::Grub; 10]].concat());
    // PCRs 4 and 5 lack what OVMF tells the CC protocol alone, so they are not called whole.
    assert_eq!(prediction.pcrs(Firmware::TdWithTpm), [8, 9, 14]);
    assert_eq!(prediction.pcrs(Firmware::Td), [0; 0]);
    let programs = |firmware| prediction.pcr_events(firmware).filter(|event| event.what.contains("BOOTX64")).count();
    assert_eq!((programs(Firmware::Tpm), programs(Firmware::TdWithTpm)), (1, 0));
}

#[test]
fn boot_options_that_fail_are_counted_in_rtmr1() {
    let (_, prediction) = image(disk(ESP, &[(BOOT, &uki(&[]))]), SecureBoot::On).unwrap();
    let (calling, returning) = (
        "firmware action \"Calling EFI Application from Boot Option\"",
        "firmware action \"Returning from EFI Application from Boot Option\"",
    );
    let before = whats(&prediction, Firmware::Td, 1);
    let failed = prediction.clone().after_failed_boot_options(2);
    let after = whats(&failed, Firmware::Td, 1);
    assert_eq!(after[..6], [calling, "separator", returning, calling, returning, calling]);
    assert_eq!(after[6..], before[2..]);
    assert_eq!(prediction.clone().after_failed_boot_options(0), prediction);
}

#[test]
fn uki_of_the_hypervisor_is_measured_as_from_disk_but_before_the_boot_option() {
    let file = uki(&[]);
    assert!(direct::is_uki(&file) && !direct::is_uki(&pe(&[(".text", b"x")])) && !direct::is_uki(b""));
    for secure_boot in [SecureBoot::On, SecureBoot::Off] {
        let (_, disk) = image(disk(ESP, &[(BOOT, &file)]), secure_boot).unwrap();
        let direct = direct::uki(&file, secure_boot).unwrap();
        assert_eq!(whats(&direct, Firmware::Td, 2), whats(&disk, Firmware::Td, 2));
        assert_eq!(direct.rtmr(2, Firmware::TdWithTpm), disk.rtmr(2, Firmware::TdWithTpm));
        let mut want = whats(&disk, Firmware::Td, 1);
        want.splice(..4, ["the unified kernel image is loaded (Authenticode)", want[0], want[1]]);
        assert_eq!(whats(&direct, Firmware::Td, 1), want);
    }
    assert!(matches!(direct::uki(&pe(&[(".text", b"x")]), SecureBoot::On), Err(Error::NoSection(".initrd"))));
}

#[test]
fn programs_that_nothing_in_the_chain_starts_change_only_the_partition() {
    // Firmware starts them only for a boot option of the host, and then RTMR1 contains them.
    let plain = image(disk(ESP, &[(BOOT, &uki(&[]))]), SecureBoot::On).unwrap();
    for other in [
        "EFI/Linux/other.efi",
        "EFI/systemd/systemd-bootx64.efi",
        "EFI/BOOT/grubx64.efi",
        "EFI/BOOT/fbx64.efi",
        "loader/loader.conf",
    ] {
        let disk = disk(ESP, &[(BOOT, &uki(&[])), (other, &uki(&[(".sbat", b"x")]))]);
        assert_eq!(image(disk, SecureBoot::On).unwrap(), plain, "{other}");
    }
}

#[test]
fn files_that_shim_looks_for_are_refused() {
    for name in ["EFI/BOOT/fbx64.efi", "EFI/BOOT/FBX64.EFI", "EFI/BOOT/revocations_sbat.efi", "EFI/BOOT/shim_certificate_0.efi"] {
        let refused = image(with_grub_and(GRUB, &[(name, b"x")]), SecureBoot::On).unwrap_err().to_string();
        assert_eq!(refused, format!("the effect of the file {name:?} is not predicted"));
    }
    assert!(
        image(with_grub_and(GRUB, &[("EFI/BOOT/mmx64.efi", b"x")]), SecureBoot::On).is_ok(),
        "MokManager starts for a variable"
    );
    assert!(image(with_grub_and(GRUB, &[("EFI/BOOT/grub.cfg", b"x")]), SecureBoot::On).is_err(), "a second configuration");
}
