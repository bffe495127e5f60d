//! `cvmctl measure rtmr0`, with the log and the quote of a trust domain (tests/logs/README.md).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// RTMR0 in the quote.
const RTMR0: &str = "2e3843265f8ecdd4e2282694747f6f2f111605c33f2a8882f5734ee6f3a6ce63d8f34aeef06093dcda76fa5f9d33d8d6";
const MRTD: &str = "b24d3b24e9e3c16012376b52362ca09856c4adecb709d5fac33addf1c47e193da075b125b6c364115771390a5461e217";

/// Exit code, standard output and standard error of `cvmctl measure rtmr0`.
#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn rtmr0(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cvmctl")).args(["measure", "rtmr0"]).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).display().to_string()
}

/// A file of the tests of `predict`, filled up to its length.
fn golden(name: &str, length: usize, fill: u8) -> Vec<u8> {
    let mut bytes = fs::read(file(&format!("../predict/tests/rtmr0/{name}"))).unwrap();
    bytes.resize(length, fill);
    bytes
}

/// The parts of a TDVF that RTMR0 depends on: the empty variable store of Debian's OVMF, and a descriptor with the sections of dstack.
fn firmware(folder: &TempDir) -> String {
    let mut bytes = golden("debian.vars", 0x84000, 0xff);
    // The header of the store's working block.
    let block: [u8; 32] = encoding::hex::decode("2b29589e687c7d49a0ce6500fd9f1b952caf2c64feffffffe00f000000000000").unwrap();
    bytes[0x41000..0x41020].copy_from_slice(&block);
    bytes.extend(b"TDVF");
    bytes.extend([16 + 32 * 5, 1, 5_u32].map(u32::to_le_bytes).as_flattened());
    let sections: [(u32, u64, u64, u32); 5] = [
        (0x84000, 0xffc0_0000, 0x84000, 1),
        (0, 0x81_0000, 0x1_0000, 3),
        (0, 0x80_b000, 0x2000, 3),
        (0, 0x80_9000, 0x2000, 2),
        (0, 0x80_0000, 0x6000, 3),
    ];
    for (size, address, memory, kind) in sections {
        bytes.extend([0, size].map(u32::to_le_bytes).as_flattened());
        bytes.extend([address, memory].map(u64::to_le_bytes).as_flattened());
        bytes.extend([kind, 0].map(u32::to_le_bytes).as_flattened());
    }
    let table: [u8; 36] =
        encoding::hex::decode("160035657ae44a989847865e4685a7bf8ec22800de82b596b21ff745baeaa366c55a082d").unwrap();
    let offset = u32::try_from(16 + 32 * 5 + 4 + table.len() + 32).unwrap();
    bytes.extend(offset.to_le_bytes());
    bytes.extend(table);
    bytes.extend([0; 32]);
    let path = folder.path().join("OVMF.fd");
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// A copy of fw_cfg's files, each as `raw` in a folder of its name.
fn acpi(folder: &TempDir) -> PathBuf {
    let files = [
        ("etc/table-loader", "acpi-table-loader", 4096),
        ("etc/acpi/rsdp", "acpi-rsdp", 20),
        ("etc/acpi/tables", "acpi-tables", 131_072),
    ];
    let root = folder.path().join("fw_cfg");
    for (name, source, length) in files {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("raw"), golden(source, length, 0)).unwrap();
    }
    root
}

fn boot() -> [String; 4] {
    ["--log".to_owned(), file("tests/logs/dstack.ccel"), "--quote".to_owned(), file("tests/logs/dstack.quote")]
}

fn with<'a>(boot: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    boot.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

#[test]
fn log_of_a_trusted_boot_is_explained_and_gives_the_value() {
    let boot = boot();
    let (code, out, err) = rtmr0(&with(&boot, &[]));
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.ends_with(&format!("Secure Boot: absent\nvalid only with the firmware of MRTD {MRTD}\nRTMR0 {RTMR0}\n")),
        "{out}"
    );
    assert_eq!(out.lines().filter(|line| line.starts_with("digest ")).count(), 5, "{out}");
    assert!(out.contains("proved     d607c0efb41c0d75 variable KEK: empty\n"), "{out}");
    assert!(err.contains("warning: THE FIRMWARE HAS NO SECURE BOOT"), "{err}");
    assert!(err.contains("note: the signature of the quote was not verified"), "{err}");
    let (code, out, _) = rtmr0(&with(&boot, &["--json"]));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["rtmr0"].as_str(), json["mrtd"].as_str()), (Some(0), Some(RTMR0), Some(MRTD)));
    assert_eq!((&json["secure_boot"], &json["signature_verified"]), (&"absent".into(), &false.into()));
    assert_eq!(json["events"].as_array().unwrap().len(), 13);
    assert_eq!((&json["events"][0]["event"], &json["events"][0]["proof"]), (&"EV_EFI_HANDOFF_TABLES2".into(), &"digest".into()));
}

#[test]
fn inputs_turn_digests_into_predictions() {
    let folder = tempfile::tempdir().unwrap();
    let (boot, firmware) = (boot(), firmware(&folder));
    let (code, out, err) = rtmr0(&with(&boot, &["--firmware", &firmware, "--without-secure-boot", "--direct-boot"]));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().filter(|line| line.starts_with("predicted ")).count(), 10, "{out}");
    assert!(out.starts_with("predicted  8ae1e425351df799 TD HOB for 65536 MiB of memory\n"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("digest ") && line.contains("ACPI")).count(), 3, "{out}");
}

/// The firmware of another build has its stack elsewhere, so no memory fits; its empty variable store is the same.
#[test]
fn memory_that_no_size_explains_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (boot, firmware) = (boot(), firmware(&folder));
    let mut bytes = fs::read(&firmware).unwrap();
    // The address of the second section, in its third field.
    let at = 0x84000 + 16 + 32 + 8;
    assert_eq!(bytes[at..at + 4], 0x81_0000_u32.to_le_bytes());
    bytes[at..at + 4].copy_from_slice(&0x82_0000_u32.to_le_bytes());
    fs::write(&firmware, bytes).unwrap();
    let (code, out, err) = rtmr0(&with(&boot, &["--firmware", &firmware, "--without-secure-boot"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("warning: No size of memory of a q35 machine gives the TD HOB"), "{err}");
    assert!(out.starts_with("digest ") && out.contains("\npredicted  344bc51c980ba621 "), "{out}");
}

#[test]
fn input_that_contradicts_the_log_gives_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let (boot, firmware) = (boot(), firmware(&folder));
    let acpi = acpi(&folder).display().to_string();
    for (arguments, want) in [
        (vec!["--firmware", &firmware], "error: the log has no such event as predicted: variable SecureBoot: OFF"),
        (
            vec!["--firmware", &firmware, "--without-secure-boot", "--memory", "32G"],
            "error: the log has no such event as predicted: TD HOB for 32768 MiB of memory",
        ),
        (vec!["--acpi", &acpi], "error: the log has no such event as predicted: ACPI: etc/acpi/tables, 131072 bytes (2 CPUs; "),
    ] {
        let (code, out, err) = rtmr0(&with(&boot, &arguments));
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(want) && !out.contains("RTMR0 "), "{out}{err}");
    }
}

#[test]
fn log_of_another_boot_proves_nothing() {
    let other = file("../predict/tests/rtmr0/trustee-grub.ccel");
    let quote = file("tests/logs/dstack.quote");
    let (code, out, err) = rtmr0(&["--log", &other, "--quote", &quote]);
    assert_eq!(code, Some(1));
    assert!(err.contains("error: the log replays to RTMR0 cec0a104") && err.contains(&format!("the quote has {RTMR0}")), "{err}");
    let events: Vec<&str> = out.lines().filter(|line| !line.starts_with("Secure Boot: ")).collect();
    assert!(events.len() == 20 && events.iter().all(|line| line.starts_with("not proved ")), "{out}");
    assert!(out.ends_with("\nSecure Boot: unknown\n"), "{out}");
    let (_, out, _) = rtmr0(&["--log", &other, "--quote", &quote, "--json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["rtmr0"], &json["replays"], &json["secure_boot"]), (&Value::Null, &false.into(), &"unknown".into()));
}

#[test]
fn report_without_signature_is_named_so() {
    let folder = tempfile::tempdir().unwrap();
    // A TDREPORT has the fields of the quote's body at 512.
    let quote = fs::read(file("tests/logs/dstack.quote")).unwrap();
    let mut report = vec![0; 1024];
    report[512..912].copy_from_slice(&quote[168..568]);
    let path = folder.path().join("report");
    fs::write(&path, report).unwrap();
    let log = file("tests/logs/dstack.ccel");
    let (code, _, err) = rtmr0(&["--log", &log, "--quote", &path.display().to_string()]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("warning: this is a TDREPORT, which is not signed"), "{err}");
}

#[test]
fn prediction_needs_all_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let (firmware, acpi) = (firmware(&folder), acpi(&folder).display().to_string());
    let (code, _, err) = rtmr0(&["--firmware", &firmware]);
    assert_eq!(code, Some(1));
    assert!(err.contains("give --memory, --acpi, --direct-boot or --boot-variables"), "{err}");
    let whole = ["--firmware", &firmware, "--memory", "16G", "--acpi", &acpi, "--direct-boot"];
    let (code, out, err) = rtmr0(&whole);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("warning: SECURE BOOT IS OFF") && err.contains("No boot was compared with this prediction"), "{err}");
    assert!(out.contains(" ACPI: etc/tpm/log, 65536 bytes\n"), "{out}");
    let (_, json, _) = rtmr0(&[&whole[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(out.ends_with(&format!("RTMR0 {}\n", json["rtmr0"].as_str().unwrap())), "{out}");
    assert_eq!((&json["source"], &json["signature_verified"]), (&"prediction".into(), &Value::Null));
}

#[test]
fn boot_variables_are_read_from_a_copy_of_efivars() {
    let folder = tempfile::tempdir().unwrap();
    let (firmware, acpi) = (firmware(&folder), acpi(&folder).display().to_string());
    let variables = folder.path().join("efivars");
    fs::create_dir(&variables).unwrap();
    let write = |name: &str, content: &[u8]| {
        fs::write(variables.join(format!("{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c")), content).unwrap();
    };
    let path = variables.display().to_string();
    let arguments = ["--firmware", &firmware, "--memory", "16G", "--acpi", &acpi, "--boot-variables", &path];
    write("BootCurrent", &[6, 0, 0, 0, 1, 0]);
    assert!(rtmr0(&arguments).2.contains("boot variables: BootOrder is missing"));
    write("BootOrder", &[7, 0, 0, 0, 1, 0]);
    assert!(rtmr0(&arguments).2.contains("boot variables: BootOrder names Boot0001, which is missing"));
    write("Boot0001", &[7, 0]);
    assert!(rtmr0(&arguments).2.contains("Boot0001-8be4df61"), "shorter than its attributes");
    write("Boot0001", &[&[7, 0, 0, 0][..], &[1, 0, 0, 0, 0, 0, b'x', 0, 0, 0]].concat());
    let (code, out, err) = rtmr0(&arguments);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(" BootOrder: 0001\n") && out.contains(" Boot0001: \"x\" at no device\n"), "{out}");
}
