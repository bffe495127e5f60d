//! Logs of other people's machines (tests/logs/public/README.md): each is read, and replays to its registers where these are public.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::path::Path;
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn cvmctl(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cvmctl")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn public(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs/public").join(name).display().to_string()
}

#[test]
fn every_log_is_shown_with_all_its_events() {
    // Name, events, of which the digest proves the text, registers, and a line of the output.
    let cases = [
        (
            "cos-113.ccel",
            43,
            28,
            "RTMR0 RTMR1 RTMR2",
            "RTMR1  5a10026c9ad41d1f EV_EFI_BOOT_SERVICES_APPLICATION ? \\EFI\\BOOT\\BOOTX64.EFI",
        ),
        ("evidence-api.ccel", 98, 70, "RTMR0 RTMR1 RTMR2", "EV_EFI_VARIABLE_AUTHORITY"),
        ("trustee-grub.ccel", 37, 16, "RTMR0 RTMR1 RTMR2", "LOADED_IMAGE::LoadOptions"),
        ("trustee-ovmf.ccel", 20, 10, "RTMR0 RTMR1 RTMR2", "EV_SEPARATOR"),
        ("trustee-td-shim.ccel", 5, 2, "RTMR0 RTMR1", "td_payload"),
        // SM3, which this project does not compute.
        ("trustee-csv.ccel", 82, 0, "RTMR0 RTMR1 RTMR2", "EV_EFI_VARIABLE_DRIVER_CONFIG    ? SecureBoot"),
        // Events of the running system in RTMR3.
        ("trustee-alibaba.ccel", 87, 47, "RTMR0 RTMR1 RTMR2 RTMR3", "RTMR3 "),
        ("dstack.ccel", 18, 10, "RTMR0 RTMR1", "RTMR1 "),
        ("dstack.json", 28, 10, "RTMR0 RTMR1 RTMR2 RTMR3", "LIUM_MINER_HOTKEY"),
        ("crypto-agile.log", 26, 22, "PCR0 PCR1 PCR2 PCR3 PCR4 PCR5 PCR6 PCR7", "EV_S_CRTM_VERSION"),
        ("moklisttrusted.log", 96, 74, "PCR0 PCR1 PCR14 PCR2 PCR3 PCR4 PCR5 PCR6 PCR7 PCR8 PCR9", "MokListTrusted"),
        ("sd-boot-fedora37.log", 27, 19, "PCR0 PCR1 PCR12 PCR2 PCR3 PCR4 PCR5 PCR6 PCR7 PCR9", "PCR12 "),
        ("tpm12.log", 40, 0, "PCR0 PCR1 PCR2 PCR3 PCR4 PCR5 PCR6 PCR7", "tpm12.log: SHA-1 digests alone, UNVERIFIED"),
        ("uefi-sha1.log", 17, 0, "PCR0 PCR1 PCR2 PCR3 PCR4 PCR5 PCR6 PCR7", "uefi-sha1.log: SHA-1 digests alone, UNVERIFIED"),
    ];
    for (name, events, proved, registers, line) in cases {
        let (code, text) = cvmctl(&["log", "show", &public(name)]);
        assert!(code == Some(0) && text.contains(line), "{name}: {text}");
        let (_, json) = cvmctl(&["log", "show", "--json", &public(name)]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let all = json["events"].as_array().unwrap();
        let mut found: Vec<&str> =
            all.iter().filter(|event| event["extended"] == true).filter_map(|event| event["register"].as_str()).collect();
        found.sort_unstable();
        found.dedup();
        let honest = all.iter().filter(|event| event["honest"] == true).count();
        assert_eq!((all.len(), honest, found.join(" ").as_str()), (events, proved, registers), "{name}");
    }
}

#[test]
fn logs_replay_to_their_quotes() {
    for (logs, quote) in [("cos-113.ccel", "cos-113.quote"), ("dstack.json", "dstack.quote")] {
        let (code, text) = cvmctl(&["log", "verify", &public(logs), "--quote", &public(quote)]);
        assert!(code == Some(0) && text.lines().filter(|line| line.starts_with("ok    RTMR")).count() == 4, "{logs}: {text}");
        assert!(text.ends_with("the logs replay\n"), "{logs}: {text}");
    }
    // The kernel of this machine extended its integrity measurements into RTMR2; their log is another one.
    let (code, text) = cvmctl(&["log", "verify", &public("evidence-api.ccel"), "--quote", &public("evidence-api.quote")]);
    assert!(code == Some(1) && text.contains("WRONG RTMR2 sha384 is 247eed9f"), "{text}");
    let (code, text) =
        cvmctl(&["log", "verify", &public("evidence-api.ccel"), "--quote", &public("evidence-api.quote"), "--rtmr", "0,1,3"]);
    assert!(code == Some(0), "{text}");
    // The quote of another machine.
    let (code, text) = cvmctl(&["log", "verify", &public("dstack.ccel"), "--quote", &public("cos-113.quote")]);
    assert!(code == Some(1) && text.ends_with("the logs do NOT replay\n"), "{text}");
}

#[test]
fn logs_of_sha1_replay_and_are_not_verified() {
    let (code, text) = cvmctl(&["log", "verify", &public("tpm12.log"), "--pcrs", &public("tpm12.pcrs")]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("SHA-1 PCR7 sha1 9a16fae33d3c795d1d88ba0e456a3df0bef8e587: the logs make it, and SHA-1 verifies nothing"),
        "{text}"
    );
    assert!(!text.contains("ok    ") && text.ends_with("the logs replay in SHA-1 alone: UNVERIFIED\n"), "{text}");
}
