//! `cvmctl measure --bundle` and `cvmctl measure verify`, with small generated images.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

#[path = "../../predict/tests/images/mod.rs"]
mod images;
#[path = "../../predict/tests/images/firmware.rs"]
mod tdvf;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use images::{BOOT, ESP, disk, pe, uki, with_grub};

#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn cvmctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cvmctl")).args(arguments).output().unwrap()
}

/// A folder with the files of a test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// The bytes of the bundle for these arguments.
    fn publish(&self, arguments: &[&str]) -> Vec<u8> {
        let file = self.path("bundle.json");
        let output = cvmctl(&[&["measure"], arguments, &["--bundle", &file]].concat());
        assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(file).unwrap()
    }

    /// Exit code and result of the comparison of a bundle with these arguments.
    fn verify(&self, bundle: &[u8], arguments: &[&str]) -> (Option<i32>, Value) {
        let file = self.write("given.json", bundle);
        let output = cvmctl(&[&["measure", "verify", &file], arguments, &["--json"]].concat());
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| String::from_utf8_lossy(&output.stderr).into());
        (output.status.code(), json)
    }

    /// The fields that differ, with the place of events in place of their number.
    fn differing(&self, bundle: &[u8], arguments: &[&str]) -> BTreeSet<String> {
        let statement: Value = serde_json::from_slice(bundle).unwrap();
        let (code, json) = self.verify(bundle, arguments);
        let differences = json["differences"].as_array().unwrap();
        assert_eq!((code, &json["equal"]), (Some(i32::from(!differences.is_empty())), &differences.is_empty().into()));
        let path = |one: &Value| -> String {
            assert_ne!(one["expected"], one["found"]);
            let keys: Vec<&str> = one["path"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
            match keys[..] {
                ["predicate", "variants", variant, "events", number, ref rest @ ..] => {
                    let events = &statement["predicate"]["variants"][variant]["events"];
                    let what = events[number.parse::<usize>().unwrap()]["what"].as_str().unwrap_or("another event");
                    format!("{variant}/{what}/{}", rest.join("."))
                }
                ["predicate", "variants", ref rest @ ..] => rest.join("/").replace("/firmware/", "/"),
                _ => keys.join("."),
            }
        };
        differences.iter().map(path).collect()
    }
}

/// The set of these paths, where `{a,b}` in a path stands for each of its alternatives.
fn paths(patterns: &[&str]) -> BTreeSet<String> {
    fn expand(pattern: &str, all: &mut BTreeSet<String>) {
        match pattern.split_once('{').map(|(before, rest)| (before, rest.split_once('}').unwrap())) {
            Some((before, (choices, after))) => {
                choices.split(',').for_each(|choice| expand(&format!("{before}{choice}{after}"), all));
            }
            None => drop(all.insert(pattern.to_owned())),
        }
    }
    let mut all = BTreeSet::new();
    for pattern in patterns {
        expand(pattern, &mut all);
    }
    all
}

/// The bytes with the last bit of the last `needle` in them changed.
fn changed(bytes: &[u8], needle: &[u8]) -> Vec<u8> {
    let at = bytes.windows(needle.len()).rposition(|window| window == needle).unwrap() + needle.len() - 1;
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

fn statement(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// A direct boot: its files, and the arguments that name them.
fn direct(folder: &Folder) -> Vec<String> {
    let kernel = folder.write("kernel", pe(&[(".text", b"kernel")]));
    let initrd = folder.write("initrd", "initrd");
    ["--kernel", &kernel, "--initrd", &initrd, "--cmdline", "a b"].map(str::to_owned).to_vec()
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn the_bundle_of_an_image_is_these_bytes() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundle/uki.json");
    let folder = Folder::new();
    let image = folder.write("image.raw", disk(ESP, &[(BOOT, &uki(&[]))]).into_inner());
    let bundle = folder.publish(&[&image]);
    let actual = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uki.json");
    fs::write(&actual, &bundle).unwrap();
    // The version of the program is the one field that changes with a release.
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let want = fs::read_to_string(golden).unwrap().replace("\"version\":\"0.2.0\"", &version);
    assert!(bundle == want.as_bytes(), "other bytes than tests/bundle/uki.json: if they are meant, take {}", actual.display());
    // Elsewhere, with another name, at another time.
    let other = Folder::new();
    let copy = other.path("copy");
    fs::copy(&image, &copy).unwrap();
    assert_eq!(other.publish(&[&copy]), bundle);
    assert_eq!(folder.differing(&bundle, &[&image]), paths(&[]));
}

#[test]
fn registers_are_those_of_an_independent_computation() {
    let folder = Folder::new();
    // The smallest PE image: headers only, of which Authenticode skips the checksum and the certificate table's entry.
    let mut kernel = vec![0; 0x200];
    kernel[..2].copy_from_slice(b"MZ");
    kernel[0x3c] = 0x40;
    kernel[0x40..0x44].copy_from_slice(b"PE\0\0");
    kernel[0x58..0x5a].copy_from_slice(&0x20b_u16.to_le_bytes());
    kernel[0x58 + 60..0x58 + 64].copy_from_slice(&0x200_u32.to_le_bytes());
    let (kernel, initrd) = (folder.write("kernel", kernel), folder.write("initrd", "initrd"));
    let line = format!("a roothash={}", "5a".repeat(32));
    let bundle = statement(&folder.publish(&["--kernel", &kernel, "--initrd", &initrd, "--cmdline", &line]));
    // tests/bundle/direct.py with Python's hashlib.
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundle/direct.json")).unwrap();
    let independent: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(bundle["subject"], independent["subject"]);
    let predicate = &bundle["predicate"];
    assert_eq!(predicate["rootHash"], "5a".repeat(32));
    for (path, want) in independent["registers"].as_object().unwrap() {
        assert_eq!(predicate.pointer(path).unwrap_or_else(|| panic!("{path}")), want, "{path}");
    }
    assert_eq!(independent["registers"].as_object().unwrap().len(), 13);
}

const TDS: &str = "{td,td-older,td-with-tpm,td-with-tpm-older}";
const BANKS: &str = "{sha256,sha384}";

#[test]
fn a_changed_part_of_a_direct_boot_is_named_with_its_registers_and_events() {
    let folder = Folder::new();
    let arguments = direct(&folder);
    let bundle = folder.publish(&words(&arguments));
    assert_eq!(folder.differing(&bundle, &words(&arguments)), paths(&[]));

    folder.write("kernel", changed(&fs::read(folder.path("kernel")).unwrap(), b"kernel"));
    let kernel = "secureBoot{On,Off}";
    assert_eq!(
        folder.differing(&bundle, &words(&arguments)),
        paths(&[
            "subject.0.digest.sha256",
            &format!("{kernel}/{TDS}/rtmr1"),
            &format!("{kernel}/tpm/pcrs/{BANKS}/4"),
            &format!("{kernel}/the kernel is loaded (Authenticode)/digest.{BANKS}"),
        ])
    );
    direct(&folder);

    folder.write("initrd", "initrc");
    let every = "secureBoot{On,Off,OnKernelNotInDb}";
    assert_eq!(
        folder.differing(&bundle, &words(&arguments)),
        paths(&[
            "subject.1.digest.sha256",
            &format!("{every}/{{td,td-older}}/{{rtmr2,rtmr2AfterCap}}"),
            &format!("{every}/{{td-with-tpm,td-with-tpm-older,tpm}}/pcrs/{BANKS}/9"),
            &format!("{every}/the kernel's EFI stub: initrd/digest.{BANKS}"),
        ])
    );
    direct(&folder);

    let other = words(&arguments).into_iter().map(|word| if word == "a b" { "a c" } else { word }).collect::<Vec<_>>();
    assert_eq!(
        folder.differing(&bundle, &other),
        paths(&[
            "predicate.commandLine",
            &format!("{kernel}/{{td,td-older}}/{{rtmr2,rtmr2AfterCap}}"),
            &format!("{kernel}/{{td-with-tpm,td-with-tpm-older,tpm}}/pcrs/{BANKS}/9"),
            &format!("{kernel}/the kernel's EFI stub: command line (load options, UTF-16)/digest.{BANKS}"),
        ])
    );
}

#[test]
fn a_changed_byte_of_a_disk_is_named_with_its_registers_and_events() {
    let folder = Folder::new();
    let whole = disk(ESP, &[(BOOT, &uki(&[]))]).into_inner();
    let image = folder.write("image.raw", &whole);
    let bundle = folder.publish(&[&image]);
    let file = "subject.0.digest.sha256";

    folder.write("image.raw", changed(&whole, b"initrd"));
    let both = "secureBoot{On,Off}";
    let program = format!("{both}/EFI/BOOT/BOOTX64.EFI is loaded (Authenticode)/digest.{BANKS}");
    let firmware = format!("{both}/{TDS}/rtmr1");
    let initrd = [
        file,
        &firmware,
        &format!("{both}/tpm/pcrs/{BANKS}/{{4,9,11}}"),
        &format!("{both}/{TDS}/{{rtmr2,rtmr2AfterCap}}"),
        &format!("{both}/td-with-tpm{{,-older}}/pcrs/{BANKS}/{{9,11}}"),
        &program,
        &format!("{both}/systemd-stub: section .initrd/digest.{BANKS}"),
        &format!("{both}/the kernel's EFI stub: initrd/digest.{BANKS}"),
    ];
    assert_eq!(folder.differing(&bundle, &[&image]), paths(&initrd));

    // A byte of the disk that nothing measures: only the digest of the file differs.
    let mut padded = whole.clone();
    padded[6 << 20] ^= 1;
    folder.write("image.raw", padded);
    assert_eq!(folder.differing(&bundle, &[&image]), paths(&[file]));
    assert_eq!(folder.differing(&bundle, &[&image, "--without-file-digests"]), paths(&[]));
    let (code, json) = folder.verify(&bundle, &[&image, "--without-file-digests"]);
    assert_eq!((code, &json["not_compared"]), (Some(0), &json!(["subject"])));
}

#[test]
fn the_bundle_says_what_pins_the_boot_and_what_does_not() {
    let folder = Folder::new();
    let arguments = direct(&folder);
    let bundle = statement(&folder.publish(&words(&arguments)));
    let pins = |bundle: &Value, variant: &str, firmware: &str, set: &str| {
        bundle["predicate"]["variants"][variant]["firmware"][firmware]["pins"][set].clone()
    };
    let (usual, with_rtmr0) = ("mrtd+rtmr1+rtmr2", "mrtd+rtmr0+rtmr1+rtmr2");
    // With a TPM the kernel's EFI stub extends no RTMR, so nothing that a vault compares has command line and initrd.
    for set in [usual, with_rtmr0] {
        let with_tpm = pins(&bundle, "secureBootOn", "td-with-tpm", set);
        assert_eq!((&with_tpm["initrd"], &with_tpm["commandLine"]), (&json!([]), &json!([])));
        let td = pins(&bundle, "secureBootOn", "td", set);
        // An unmeasured kernel could measure the genuine initrd and command line: their register alone pins nothing.
        let both = json!(["RTMR1", "RTMR2"]);
        assert_eq!((&td["kernel"], &td["initrd"], &td["commandLine"]), (&json!(["RTMR1"]), &both, &both));
        assert!(td["conditions"].as_array().unwrap().contains(&"no-tpm-driver".into()), "{td}");
    }
    let image = folder.write("image.raw", disk(ESP, &[(BOOT, &uki(&[]))]).into_inner());
    let bundle = statement(&folder.publish(&[&image]));
    for variant in ["secureBootOn", "secureBootOff"] {
        for firmware in ["td", "td-older", "td-with-tpm", "td-with-tpm-older"] {
            let uki = pins(&bundle, variant, firmware, usual);
            // A host adds words and credentials, which systemd-stub measures into RTMR2.
            for (part, by) in
                [("kernel", json!(["RTMR1"])), ("initrd", json!(["RTMR1", "RTMR2"])), ("commandLine", json!(["RTMR1", "RTMR2"]))]
            {
                assert_eq!(uki[part], by, "{variant} {firmware} {part}");
            }
        }
        assert_eq!(pins(&bundle, variant, "tpm", usual)["kernel"], json!([]));
    }
    // A host can reproduce what GRUB measures and run a kernel of its own, unless RTMR0 has the state of Secure Boot.
    let image = folder.write("image.raw", with_grub("linux /k/vmlinuz a b\ninitrd /k/initrd\nboot\n").into_inner());
    let bundle = statement(&folder.publish(&[&image]));
    for firmware in ["td", "td-with-tpm"] {
        assert_eq!(pins(&bundle, "secureBootOn", firmware, usual)["kernel"], json!([]));
        assert_ne!(pins(&bundle, "secureBootOn", firmware, with_rtmr0)["kernel"], json!([]));
    }
}

#[test]
fn lines_name_what_differs_and_the_exit_code_tells() {
    let folder = Folder::new();
    let image = folder.write("image.raw", with_grub("linux /k/vmlinuz a b\ninitrd /k/initrd\nboot\n").into_inner());
    let bundle = folder.path("bundle.json");
    let output = cvmctl(&["measure", &image, "--bundle", &bundle]);
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success()
            && summary.contains("secureBootOff td, ")
            && summary.contains(": not for a policy without RTMR0: a host can replace kernel, "),
        "{summary}"
    );
    let verify = || {
        let output = cvmctl(&["measure", "verify", &bundle, &image]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, lines, notes) = verify();
    assert_eq!((code, lines.as_str()), (Some(0), "the bundle describes this image\n"));
    assert!(notes.starts_with("the file contains no signature"), "{notes}");
    // An image that is not predicted is an error, not a difference.
    folder.write("image.raw", changed(&fs::read(&image).unwrap(), b"/k/initrd\nboot"));
    let (code, lines, error) = verify();
    assert_eq!((code, lines.as_str()), (Some(1), ""));
    assert!(error.contains("GRUB's configuration, line 3"), "{error}");
    folder.write("image.raw", with_grub("linux /k/vmlinuz a c\ninitrd /k/initrd\nboot\n").into_inner());
    let (code, lines, _) = verify();
    assert_eq!(code, Some(1));
    let line =
        "WRONG predicate.commandLine: expected BOOT_IMAGE=/k/vmlinuz a b (bundle), found BOOT_IMAGE=/k/vmlinuz a c (image)";
    assert!(lines.lines().any(|found| found == line), "{lines}");
    assert!(lines.contains("WRONG subject.0 (disk).digest.sha256: expected "), "{lines}");
    assert!(lines.ends_with(" fields differ: the bundle does not describe this image\n"), "{lines}");
    // A bundle of somebody else does not fill the terminal, and controls nothing in it.
    let hostile = vec![format!("\u{1b}[2J{}", "x".repeat(1000)); 100];
    folder.write("bundle.json", {
        let mut statement = statement(&fs::read(&bundle).unwrap());
        (statement["subject"], statement["predicate"]["firmware"]) = (json!(hostile), json!({}));
        statement.to_string()
    });
    let (code, lines, notes) = verify();
    assert_eq!((code, lines.lines().filter(|line| line.starts_with("WRONG ")).count()), (Some(1), 64));
    assert!(lines.contains("\\u001b[2J") && lines.lines().all(|line| line.len() < 400 && !line.contains('\u{1b}')), "{lines}");
    assert!(lines.contains(" more: see --json\n") && notes.contains("give --firmware FILE, or --without-firmware"), "{notes}");
}

/// A change of a statement.
type Change<'a> = &'a dyn Fn(&mut Value);

#[test]
fn a_tampered_bundle_is_refused_by_the_field() {
    let folder = Folder::new();
    let arguments = direct(&folder);
    let bundle = folder.publish(&words(&arguments));
    let tampered = |change: Change<'_>| {
        let mut statement = statement(&bundle);
        change(&mut statement);
        folder.differing(statement.to_string().as_bytes(), &words(&arguments))
    };
    let td = "/predicate/variants/secureBootOn/firmware/td";
    let at = |pointer: &str| format!("{td}{pointer}");
    let cases: [(Change<'_>, &str); 10] = [
        (&|all| *all.pointer_mut(&at("/rtmr1")).unwrap() = "ab".repeat(48).into(), "secureBootOn/td/rtmr1"),
        (&|all| *all.pointer_mut(&at("/rtmr2")).unwrap() = "ab".into(), "secureBootOn/td/rtmr2"),
        (&|all| *all.pointer_mut(&at("/rtmr2")).unwrap() = Value::Null, "secureBootOn/td/rtmr2"),
        (
            &|all| *all.pointer_mut(&at("/pins/mrtd+rtmr1+rtmr2/kernel/0")).unwrap() = "RTMR2".into(),
            "secureBootOn/td/pins/mrtd+rtmr1+rtmr2/kernel/0",
        ),
        (&|all| drop(all.pointer_mut(td).unwrap().as_object_mut().unwrap().remove("rtmr1")), "secureBootOn/td/rtmr1"),
        (&|all| all["predicate"]["more"] = 1.into(), "predicate.more"),
        (&|all| all["annotations"] = json!({}), "annotations"),
        (&|all| all["predicate"]["firmware"] = json!({ "mrtd": "ab".repeat(48) }), "predicate.firmware"),
        (&|all| all["predicate"]["tool"]["name"] = "other".into(), "predicate.tool.name"),
        (&|all| all["subject"] = json!([]), "subject.0"),
    ];
    for (change, field) in cases {
        let found = tampered(change);
        assert!(found.contains(field) && found.len() <= 2, "{field}: {found:?}");
    }
    // Another version of the program says the same; --without-file-digests is not for registers.
    assert_eq!(tampered(&|all| all["predicate"]["tool"]["version"] = "9.9.9".into()), paths(&[]));
    let mut registers = statement(&bundle);
    *registers.pointer_mut(&at("/rtmr1")).unwrap() = "ab".repeat(48).into();
    let arguments = [&words(&arguments)[..], &["--without-file-digests"]].concat();
    assert_eq!(folder.differing(registers.to_string().as_bytes(), &arguments), paths(&["secureBootOn/td/rtmr1"]));
}

#[test]
fn a_statement_in_an_envelope_is_compared_and_its_signature_is_not_called_good() {
    let folder = Folder::new();
    let arguments = direct(&folder);
    let bundle = folder.publish(&words(&arguments));
    let envelope = json!({
        "payloadType": "application/vnd.in-toto+json",
        "payload": STANDARD.encode(&bundle),
        "signatures": [{ "keyid": "", "sig": STANDARD.encode("no signature") }],
    });
    let sigstore = json!({ "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope });
    for (form, file) in [("dsse", envelope), ("sigstore", sigstore)] {
        let (code, json) = folder.verify(file.to_string().as_bytes(), &words(&arguments));
        assert_eq!((code, &json["form"], &json["signature_verified"]), (Some(0), &form.into(), &false.into()));
        let output = cvmctl(&[&["measure", "verify", &folder.path("given.json")], &words(&arguments)[..]].concat());
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("signature not verified by cvmctl: use "));
    }
}

#[test]
fn files_that_are_no_bundle_are_refused() {
    let folder = Folder::new();
    let arguments = direct(&folder);
    let text = String::from_utf8(folder.publish(&words(&arguments))).unwrap();
    let long = format!("{}{text}", " ".repeat(4 << 20));
    let cases = [
        (text.replace("measurements/v1", "measurements/v2"), "expected version 1, found 2"),
        (text.replacen("\"rtmr1\":", "\"rtmr1\":null,\"rtmr1\":", 1), "repeated key at line 1 column"),
        (
            text.replacen("in-toto.io/Statement/v1", "in-toto.io/Statement/v2", 1),
            "_type: expected https://in-toto.io/Statement/v1, found",
        ),
        (text[..text.len() - 1].to_owned(), "EOF while parsing"),
        ("[".repeat(1000), "recursion limit exceeded"),
        (String::new(), "EOF while parsing"),
        (long, "too large"),
    ];
    for (file, message) in cases {
        let (code, error) = folder.verify(file.as_bytes(), &words(&arguments));
        assert_eq!(code, Some(1));
        assert!(error.as_str().is_some_and(|error| error.contains(message)), "{message}: {error}");
    }
}

#[test]
fn the_mrtd_of_a_firmware_is_compared_in_both_page_orders() {
    let folder = Folder::new();
    // Two measured pages: with one, both orders are the same.
    let pages = |file: &mut Vec<u8>| [4, 16].into_iter().for_each(|field| file[4096 + 16 + field + 1] = 0x20);
    let (arguments, firmware) = (direct(&folder), folder.write("fw", tdvf::firmware(pages)));
    let with = |more: &[&'static str]| [words(&arguments), more.to_vec()].concat();
    let bundle = folder.publish(&[words(&arguments), vec!["--firmware", &firmware]].concat());
    let mrtd = &statement(&bundle)["predicate"]["firmware"]["mrtd"];
    assert_ne!(mrtd["interleaved"], mrtd["two-pass"]);
    let given = [words(&arguments), vec!["--firmware", &firmware]].concat();
    assert_eq!(folder.differing(&bundle, &given), paths(&[]));
    // Without the file, nothing of it may be called equal unless the caller says so.
    assert_eq!(folder.differing(&bundle, &with(&[])), paths(&["predicate.firmware"]));
    assert_eq!(folder.differing(&bundle, &with(&["--without-firmware"])), paths(&[]));
    let changed = |file: &mut Vec<u8>| {
        pages(file);
        file[100] ^= 1;
    };
    folder.write("fw", tdvf::firmware(changed));
    let want = paths(&["predicate.firmware.digest.sha256", "predicate.firmware.mrtd.{interleaved,two-pass}"]);
    assert_eq!(folder.differing(&bundle, &given), want);
}

#[test]
fn arguments_of_a_policy_are_refused_with_a_bundle() {
    for more in [&["--secure-boot", "off"][..], &["--json"], &["--owner-sub", "a", "--issuer", "https://i.example"]] {
        let output = cvmctl(&[&["measure", "image.raw", "--bundle", "/nonexistent/x"], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
