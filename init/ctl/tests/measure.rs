//! `cvmctl measure`: a policy where every part is pinned, and none elsewhere.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

#[path = "../../predict/tests/images/mod.rs"]
mod images;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use images::{BOOT, ESP, disk, uki, with_grub};
use serde_json::Value;
use tempfile::TempDir;

/// Exit code, standard output, standard error.
type Output = (Option<i32>, String, String);

#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn cvmctl(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_cvmctl")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A folder with an image of each chain, a UKI, a kernel and an initrd.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let write = |name: &str, bytes: &[u8]| fs::write(files.path(name), bytes).unwrap();
        write("uki.raw", disk(ESP, &[(BOOT, &uki(&[]))]).get_ref());
        write("grub.raw", with_grub("linux /k/vmlinuz a\ninitrd /k/initrd\nboot\n").get_ref());
        write("uki.efi", &uki(&[]));
        write("kernel", &images::pe(&[(".text", b"kernel")]));
        write("initrd", b"initrd");
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Runs `cvmctl measure` for a chain.
    fn measure(&self, chain: &str, more: &[&str]) -> Output {
        let (image, kernel, initrd) = (self.path(chain), self.path("kernel"), self.path("initrd"));
        let direct = ["measure", "--kernel", &kernel, "--initrd", &initrd, "--cmdline", "a b"];
        let with_uki = ["measure", "--kernel", &image];
        let from_disk = ["measure", &image];
        let first = match chain {
            "direct" => &direct[..],
            "uki.efi" => &with_uki,
            _ => &from_disk,
        };
        cvmctl(&[first, more].concat())
    }

    fn json(&self, chain: &str, more: &[&str]) -> (Option<i32>, Value) {
        let (code, text, _) = self.measure(chain, &[more, &["--json"]].concat());
        (code, serde_json::from_str(&text).unwrap())
    }
}

/// A chain, further arguments, and the conditions of the policy that is printed; `None`: none is.
type Case<'a> = (&'a str, &'a [&'a str], Option<&'a [&'a str]>);

#[test]
fn policy_is_printed_only_where_every_part_is_pinned() {
    let files = Files::new();
    let (rtmr0, mrtd) = ("0f".repeat(48), "ab".repeat(48));
    let named = ["--rtmr0", &rtmr0, "--nodes-match", "rtmr0"];
    let both = ["no-tpm-driver", "no-legacy-loader"];
    let of_grub = ["no-legacy-loader", "rtmr0-with-secure-boot"];
    let cases: [Case<'_>; 25] = [
        ("uki.raw", &[], Some(&both[1..])),
        ("uki.raw", &["--secure-boot", "off"], Some(&both[1..])),
        ("uki.raw", &["--fold", "td-with-tpm"], Some(&both[1..])),
        ("uki.raw", &["--fold", "td-older"], Some(&both[1..])),
        ("uki.raw", &["--failed-boot-options", "1"], Some(&both[1..])),
        ("uki.raw", &["--fold", "tpm"], None),
        ("uki.efi", &[], Some(&[])),
        ("uki.efi", &["--secure-boot", "off"], Some(&both[..1])),
        ("uki.efi", &["--secure-boot", "off", "--fold", "td-with-tpm"], None),
        ("uki.efi", &["--fold", "td-with-tpm"], Some(&[])),
        ("direct", &[], Some(&both[..1])),
        ("direct", &["--secure-boot", "off"], Some(&both[..1])),
        ("direct", &["--fold", "td-older"], Some(&both[..1])),
        ("direct", &["--kernel-signature", "not-verified"], None),
        ("direct", &["--fold", "td-with-tpm"], None),
        ("direct", &["--fold", "td-with-tpm-older"], None),
        ("direct", &[&["--fold", "td-with-tpm"], &named[..]].concat(), None),
        ("grub.raw", &[], None),
        ("grub.raw", &["--secure-boot", "off"], None),
        ("grub.raw", &["--fold", "td-with-tpm"], None),
        ("grub.raw", &["--fold", "td-with-tpm", "--secure-boot", "off"], None),
        ("grub.raw", &named[..2], None),
        ("grub.raw", &named, Some(&of_grub)),
        ("grub.raw", &[&named[..], &["--fold", "td-with-tpm"]].concat(), Some(&of_grub)),
        ("grub.raw", &[&named[..], &["--secure-boot", "off"]].concat(), None),
    ];
    for (chain, more, conditions) in cases {
        let name = format!("{chain} {more:?}");
        let more = [more, &["--mrtd", &mrtd]].concat();
        let (code, stdout, stderr) = files.measure(chain, &more);
        let (json_code, json) = files.json(chain, &more);
        assert_eq!(code, json_code, "{name}");
        let unpinned = json.pointer("/unpinned").unwrap().as_array().unwrap();
        let Some(conditions) = conditions else {
            assert_eq!((code, stdout.as_str(), json.pointer("/policy")), (Some(2), "", Some(&Value::Null)), "{name}");
            assert!(stderr.contains("no policy") && !unpinned.is_empty(), "{name}: {stderr}");
            let (code, stdout, _) = files.measure(chain, &[&more[..], &["--registers-only"]].concat());
            assert_eq!((code, stdout.as_str()), (Some(0), ""), "{name}");
            continue;
        };
        let registers = serde_json::from_str::<Value>(&stdout).unwrap();
        let tdx = registers.pointer("/principals/tees/0/Tee/measurements/0/Tdx").unwrap();
        for register in ["mrtd", "rtmr1", "rtmr2"] {
            assert_eq!(tdx.get(register), json.get(register), "{name} {register}");
            assert_ne!(tdx.get(register).unwrap().as_str().unwrap(), "00".repeat(48), "{name} {register}");
        }
        let found: Vec<&str> = json
            .pointer("/conditions")
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .map(|condition| condition.get("name").unwrap().as_str().unwrap())
            .collect();
        assert_eq!((code, found.as_slice(), unpinned.len()), (Some(0), conditions, 0), "{name}");
        let notes = json.pointer("/notes").unwrap().as_array().unwrap();
        for note in notes {
            assert!(stderr.contains(note.as_str().unwrap()), "{name}: {note}");
        }
        let is_aml_named = notes.iter().any(|note| note.as_str().unwrap().contains("AML"));
        assert_eq!(is_aml_named, !more.contains(&"--rtmr0"), "{name}: {notes:?}");
        for condition in conditions {
            let register = if condition.starts_with("rtmr0") { "RTMR0" } else { "MRTD" };
            assert!(stderr.contains(&format!("condition {condition}: {register} must be")), "{name}: {stderr}");
        }
    }
}

#[test]
fn no_policy_has_a_register_of_zeros() {
    let files = Files::new();
    for more in [&[][..], &["--json"]] {
        let zeros = "00".repeat(48);
        let (code, stdout, stderr) = files.measure("uki.efi", &[&["--mrtd", &zeros], more].concat());
        assert!(code == Some(1) && stdout.is_empty() && stderr.contains("all zero"), "{stdout} {stderr}");
    }
}

#[test]
fn refusal_says_what_is_open_and_what_to_do() {
    let files = Files::new();
    let (_, _, stderr) = files.measure("direct", &["--fold", "td-with-tpm"]);
    let lines: Vec<&str> = stderr.lines().skip_while(|line| !line.starts_with("no policy")).collect();
    let open = "is not pinned: with Secure Boot on and with a TPM, a host can replace the";
    assert_eq!(
        lines,
        [
            "no policy for direct boot with --fold td-with-tpm: expected kernel, initrd and command line each to be pinned by a register \
             that the policy names"
                .to_owned(),
            format!("initrd {open} initrd before anything measures it into a named register"),
            format!("command line {open} command line before anything measures it into a named register"),
            "instead: boot without a TPM under a firmware that has no driver for one (--fold td), or a unified kernel image (--kernel UKI, \
             or an image with one)"
                .to_owned(),
            "--registers-only prints registers and events without a policy".to_owned(),
        ]
    );
    let (_, _, stderr) = files.measure("grub.raw", &[]);
    assert!(
        stderr.contains("kernel is not pinned: with Secure Boot off and without a TPM, a host can replace the kernel"),
        "{stderr}"
    );
}

#[test]
fn state_that_is_predicted_is_named() {
    let files = Files::new();
    for (more, want) in [
        (&[][..], "unified kernel image: predicted for --fold td, with Secure Boot on; "),
        (&["--secure-boot", "off", "--fold", "td-older"], "predicted for --fold td-older, with Secure Boot off; "),
    ] {
        let (_, _, stderr) = files.measure("uki.raw", more);
        assert!(stderr.contains(want), "{more:?}: {stderr}");
    }
}

#[test]
fn policy_without_mrtd_says_that_it_pins_nothing() {
    let files = Files::new();
    let (code, _, stderr) = files.measure("uki.raw", &[]);
    assert!(
        code == Some(0) && stderr.contains("without MRTD the host chooses the firmware, and no register pins anything"),
        "{stderr}"
    );
}

#[test]
fn arguments_that_do_not_fit_the_kernel_are_refused() {
    let files = Files::new();
    for (chain, more, want) in [
        ("uki.efi", &["--cmdline", "a"][..], "is a unified kernel image, which contains initrd and command line"),
        ("uki.efi", &["--initrd", "/dev/null"], "is a unified kernel image, which contains initrd and command line"),
        ("uki.efi", &["--kernel-signature", "not-verified"], "is for a kernel that the hypervisor gives"),
        ("uki.raw", &["--kernel-signature", "not-verified"], "is for a kernel that the hypervisor gives"),
        ("uki.raw", &["--failed-boot-options", "65"], "expected a number from 0 to 64"),
        ("uki.raw", &["--page-order", "two-pass"], "--firmware"),
    ] {
        let (code, stdout, stderr) = files.measure(chain, more);
        assert!(code != Some(0) && stdout.is_empty() && stderr.contains(want), "{chain} {more:?}: {stderr}");
    }
    let kernel = files.path("kernel");
    let (code, _, stderr) = cvmctl(&["measure", "--kernel", &kernel]);
    assert!(code != Some(0) && stderr.contains("give its command line with --cmdline"), "{stderr}");
    let (code, _, stderr) = cvmctl(&["measure", &files.path("uki.efi")]);
    assert!(code != Some(0) && stderr.contains("is a program (MZ) and no disk image"), "{stderr}");
}

#[test]
fn pcrs_of_a_td_with_a_tpm_are_those_that_firmware_does_not_touch() {
    let files = Files::new();
    let pcrs = |fold: &str| {
        let (_, json) = files.json("uki.raw", &["--fold", fold, "--registers-only"]);
        json.pointer("/pcrs/sha256")
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .map(|pcr| pcr.parse().unwrap())
            .collect::<BTreeSet<u32>>()
    };
    assert_eq!(pcrs("tpm"), BTreeSet::from([4, 5, 9, 11]));
    assert_eq!(pcrs("td-with-tpm"), BTreeSet::from([9, 11]));
    assert_eq!(pcrs("td"), BTreeSet::new());
}

#[test]
fn zero_registers_are_in_no_policy() {
    let (zero, one) = ("00".repeat(48), "11".repeat(48));
    for (rtmr1, rtmr2, name) in [(&zero, &one, "rtmr1"), (&one, &zero, "rtmr2")] {
        let (code, stdout, stderr) = cvmctl(&["policy", "--mrtd", &one, "--rtmr1", rtmr1, "--rtmr2", rtmr2]);
        let place = format!("/principals/tees/0/Tee/measurements/0/Tdx/{name}: all zero");
        assert!(code != Some(0) && stdout.is_empty() && stderr.contains(&place), "{stderr}");
    }
}

#[test]
fn tables_are_printed() {
    let (code, text, _) = cvmctl(&["measure", "--markdown"]);
    assert!(code == Some(0) && text.starts_with("| chain | Secure Boot |"), "{text}");
}
