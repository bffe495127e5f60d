//! `cvmctl log` and `cvmctl measure`, with logs that real firmware wrote (tests/logs/README.md).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::engine::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use eventlog::ccel::{Event, Log, describe};
use eventlog::register::Hash;
use serde_json::{Value, json};

#[expect(clippy::disallowed_methods, reason = "the program under test is a program")]
fn cvmctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cvmctl")).args(arguments).output().unwrap()
}

fn log(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs").join(name).display().to_string()
}

/// Exit code and standard output.
fn cvmctl_text(arguments: &[&str]) -> (Option<i32>, String) {
    let output = cvmctl(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn logs_of_a_real_boot_replay_to_its_pcrs() {
    let (firmware, user, pcrs) = (log("direct.log"), log("direct.user.log"), log("direct.pcrs"));
    let line = fs::read_to_string(log("direct.cmdline")).unwrap();
    let (code, text) = cvmctl_text(&["log", "verify", &firmware, &user, "--pcrs", &pcrs, "--cmdline", &line]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ok    the digest of that command line was extended into PCR9 (as the kernel's EFI stub hashes it); by whom is not known"), "{text}");
    assert!(text.contains("-     PCR10 is not compared"), "{text}");
    assert!(text.ends_with("the logs replay\n"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok    PCR")).count(), 23);
    let (code, text) = cvmctl_text(&["log", "verify", &log("grub.log"), "--pcrs", &log("grub.pcrs")]);
    assert_eq!(code, Some(0), "{text}");
    // Base64, as in attestation evidence.
    let dir = tempfile::tempdir().unwrap();
    let (text_form, bytes) = (dir.path().join("log.txt"), fs::read(log("grub.log")).unwrap());
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for form in [format!("{digits}\n"), STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
        fs::write(&text_form, form).unwrap();
        let (code, text) = cvmctl_text(&["log", "verify", &text_form.display().to_string(), "--pcrs", &log("grub.pcrs")]);
        assert_eq!(code, Some(0), "{text}");
    }
}

#[test]
fn what_does_not_replay_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| -> String {
        let path: PathBuf = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (firmware, user, pcrs) = (log("direct.log"), log("direct.user.log"), log("direct.pcrs"));
    // Without the user-space log, PCR 15 does not replay.
    let (code, text) = cvmctl_text(&["log", "verify", &firmware, "--pcrs", &pcrs]);
    assert_eq!(code, Some(1));
    assert!(text.contains("WRONG PCR15 sha384 is "), "{text}");
    // One letter of a description changed: the digest contradicts it.
    let lie = fs::read_to_string(&user).unwrap().replace("leave-initrd", "leave-initrc");
    let (code, text) = cvmctl_text(&["log", "verify", &firmware, &file("lie.log", lie.as_bytes()), "--pcrs", &pcrs]);
    assert_eq!((code, text.lines().filter(|line| line.starts_with("LIES ")).count()), (Some(1), 1), "{text}");
    // Another command line.
    let (code, text) = cvmctl_text(&["log", "verify", &firmware, &user, "--pcrs", &pcrs, "--cmdline", "quiet"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("WRONG no event has the digest of that command line"), "{text}");
    assert!(text.ends_with("the logs replay, WITHOUT that command line\n"), "{text}");
    // A description changed whose digest is of other data.
    let mut bytes = fs::read(log("grub.log")).unwrap();
    let (line_of, command) = (
        |text: &str| text.lines().find(|line| line.contains("grub_cmd: ") && line.contains(" initrd ")).unwrap().to_owned(),
        b"grub_cmd: initrd",
    );
    let (_, text) = cvmctl_text(&["log", "show", &log("grub.log")]);
    // Only the hashed part is vouched for.
    assert!(
        line_of(&text).contains(" = initrd /") && line_of(&text).ends_with(" (behind \"grub_cmd: \", which is not hashed)"),
        "{text}"
    );
    let at = bytes.windows(command.len()).position(|window| window == command).unwrap() + command.len() + 1;
    bytes[at] ^= 1;
    let (_, text) = cvmctl_text(&["log", "show", &file("changed", &bytes)]);
    assert!(line_of(&text).contains(" ? grub_cmd: initrd"), "{text}");
    // An empty log replays to zero registers but proves nothing.
    let report = file("report", &[0; 1024]);
    let (code, text) = cvmctl_text(&["log", "verify", &file("nothing", b""), "--quote", &report]);
    assert_eq!(code, Some(1));
    assert!(text.contains("WRONG the logs have no event that was measured"), "{text}");
    // A truncated log is reported as such, and not as an unknown format.
    let output = cvmctl(&["log", "show", &file("short", &fs::read(&firmware).unwrap()[..400])]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("event log: the record at byte") && message.contains("is truncated") && !message.contains("user space"),
        "{message}"
    );
    // Without registers to compare, the result is a failure.
    let (code, text) = cvmctl_text(&["log", "verify", &firmware, &user, "--pcrs", &file("empty", b"# none\n")]);
    assert_eq!((code, text.ends_with("the logs do NOT replay\n")), (Some(1), true), "{text}");
    // So is an extended register that is not compared, unless an option excludes it.
    let zeros = file("zeros", format!("16 {}\n", "00".repeat(48)).as_bytes());
    let (code, text) = cvmctl_text(&["log", "verify", &user, "--pcrs", &zeros]);
    assert_eq!(code, Some(1));
    assert!(text.contains("WRONG PCR15 has events and was compared with nothing"), "{text}");
    let (code, _) = cvmctl_text(&["log", "verify", &firmware, &user, "--pcrs", &pcrs, "--pcr", "4,9,15"]);
    assert_eq!(code, Some(0));
    // SHA-1 proves nothing.
    let sha1 = file("sha1", format!("15 {}\n", "00".repeat(20)).as_bytes());
    let (_, text) = cvmctl_text(&["log", "verify", &user, "--pcrs", &sha1]);
    assert!(text.contains("WRONG PCR15 has events and was compared in SHA-1 alone"), "{text}");
    // Records of two boots are refused.
    let two = fs::read_to_string(&user).unwrap();
    let id = two.split_once("bootId\":\"").unwrap().1[..32].to_owned();
    let two = two.replacen(&id, &"0".repeat(32), 1);
    let (code, text) = cvmctl_text(&["log", "verify", &firmware, &file("two", two.as_bytes()), "--pcrs", &pcrs]);
    assert_eq!(code, Some(1));
    assert!(text.contains("WRONG the records are of 2 boots"), "{text}");
    // Control characters in a log are escaped.
    let cursor = fs::read_to_string(&user).unwrap().replace("\"phase\"", "\"\\u001b[1A\"");
    let (_, text) = cvmctl_text(&["log", "show", &file("cursor", cursor.as_bytes())]);
    assert!(text.contains("?[1A") && !text.contains('\u{1b}'), "{text}");
    // A byte of the last SHA-384: 40 bytes of text, their length, and SHA-512 with its number are behind it.
    let mut bytes = fs::read(&firmware).unwrap();
    let at = bytes.len() - 40 - 4 - 66 - 10;
    bytes[at] ^= 1;
    let (code, _) = cvmctl_text(&["log", "verify", &file("changed", &bytes), &user, "--pcrs", &pcrs]);
    assert_eq!(code, Some(1));
    // A file that is not a log.
    let output = cvmctl(&["log", "show", &file("noise", b"\xff\xfe")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not an event log"));
}

/// A log with one event in each of RTMR0 to RTMR2, and the TDREPORT of a domain that measured them, two more into RTMR3, and the cap into RTMR2.
fn domain() -> (Vec<u8>, String, Vec<u8>) {
    let of = |data: &[u8]| Hash::Sha384.digest(data);
    let mut log = [&1_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[0; 20], &33_u32.to_le_bytes()].concat();
    log.extend(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0c\0\x30\0\0");
    for (register, data) in [(1_u32, b"platform".as_slice()), (2, b"kernel"), (3, b"a b\0")] {
        log.extend([register, 13, 1].map(u32::to_le_bytes).concat());
        log.extend([&0xc_u16.to_le_bytes()[..], &of(data), &4_u32.to_le_bytes(), b"text"].concat());
    }
    log.extend([0xff; 100]);
    let cap = r#"{"cvm-init":"leave-initrd"}"#;
    let events = [r#"{"arguments":[],"cvm-init":"debug"}"#, cap];
    let record = |register: u32, text: &str| {
        let digest: String = of(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let quoted = serde_json::to_string(text).unwrap();
        format!(
            "\x1e{{\"rtmr\":{register},\"digests\":[{{\"hashAlg\":\"sha384\",\"digest\":\"{digest}\"}}],\"content_type\":\"systemd\",\"content\":{{\"string\":{quoted}}}}}\n"
        )
    };
    let one = |digests: &[Vec<u8>]| Hash::Sha384.replay(digests.iter().map(Vec::as_slice));
    let registers = [
        one(&[of(b"platform")]),
        one(&[of(b"kernel")]),
        one(&[of(b"a b\0"), of(cap.as_bytes())]),
        one(&events.map(|text| of(text.as_bytes()))),
    ];
    let mut report = vec![0; 1024];
    for (number, register) in registers.iter().enumerate() {
        report[720 + 48 * number..768 + 48 * number].copy_from_slice(register);
    }
    (log, events.map(|text| record(3, text)).concat() + &record(2, cap), report)
}

#[test]
fn logs_of_a_trust_domain_replay_to_its_four_registers() {
    let dir = tempfile::tempdir().unwrap();
    let (ccel, user, report) = domain();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (name, content) in [("ccel", ccel), ("user", user.into_bytes()), ("report", report)] {
        fs::write(path(name), content).unwrap();
    }
    let verify = |more: &[&str]| cvmctl_text(&[&["log", "verify"], more, &["--quote", &path("report")]].concat());
    let (code, text) = verify(&[&path("ccel"), &path("user"), "--cmdline", "a b"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok    RTMR")).count(), 4);
    // The registers of a genuine quote are found; this log is of another domain.
    let quote = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/dcap-qvl/tdx_quote");
    let rtmr2: String = fs::read(&quote).unwrap()[472..520].iter().map(|byte| format!("{byte:02x}")).collect();
    let (code, text) = cvmctl_text(&["log", "verify", &path("ccel"), "--quote", &quote.display().to_string()]);
    assert_eq!((code, text.contains(&format!("WRONG RTMR2 sha384 is {rtmr2}"))), (Some(1), true), "{text}");
    let output = cvmctl(&["log", "verify", &path("ccel"), "--quote", &path("ccel")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a TDX quote or a TDREPORT"));
    // The firmware log alone does not replay to RTMR3 nor, after the cap, to RTMR2.
    let (code, text) = verify(&[&path("ccel")]);
    assert_eq!(code, Some(1));
    assert!(text.contains("WRONG RTMR2 sha384") && text.contains("WRONG RTMR3 sha384"), "{text}");
    assert!(text.contains("and the logs have no event of it"), "{text}");
    let (code, text) = verify(&[&path("ccel"), "--rtmr", "0,1", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["registers"].as_array().unwrap().len(), &json["replays"]), (Some(0), 2, &Value::Bool(true)));
}

#[test]
fn who_extended_a_digest_is_known_only_from_a_prediction() {
    let dir = tempfile::tempdir().unwrap();
    let (ccel, user, report) = domain();
    let path = |name: &str| dir.path().join(name).display().to_string();
    // The firmware's log alone, and RTMR2 before the cap.
    let (before, after) = (Hash::Sha384.replay([Hash::Sha384.digest(b"a b\0").as_slice()]), report[816..864].to_vec());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (name, content) in [("ccel", ccel), ("user", user.into_bytes()), ("report", report)] {
        fs::write(path(name), content).unwrap();
    }
    let verify = |more: &[&str]| {
        cvmctl_text(
            &[&["log", "verify", &path("ccel"), &path("user"), "--quote", &path("report"), "--cmdline", "a b"], more].concat(),
        )
    };
    let extended =
        "ok    the digest of that command line was extended into RTMR2 (as systemd-stub hashes it); by whom is not known";
    let unsigned = "-     the RTMRs are of a TDREPORT, which is UNSIGNED: nothing proves that a machine had them";
    let (code, text) = verify(&[]);
    assert!(code == Some(0) && text.contains(extended) && text.contains(unsigned), "{text}");
    assert!(text.ends_with("the logs replay, to an UNSIGNED TDREPORT\n"), "{text}");
    let (code, text) = verify(&["--predicted-rtmr2", &format!("{},{}", "00".repeat(48), hex(&before))]);
    assert!(code == Some(0) && text.contains("ok    RTMR2 before the cap is the predicted one"), "{text}");
    assert!(
        text.contains("ok    the command line was measured by the boot chain of the prediction, if MRTD and RTMR1"),
        "{text}"
    );
    // Another prediction, and the value after the cap.
    for other in ["ab".repeat(48), hex(&after)] {
        let (code, text) = verify(&["--predicted-rtmr2", &other]);
        assert!(
            code == Some(1) && text.contains(&format!("WRONG RTMR2 before the cap is {}, which is not predicted", hex(&before))),
            "{text}"
        );
        assert!(
            text.contains(extended) && text.ends_with("the logs replay, to an UNSIGNED TDREPORT, NOT to the predicted RTMR2\n"),
            "{text}"
        );
    }
    let (_, text) = verify(&["--predicted-rtmr2", &hex(&before), "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    // MRTD and RTMR1 were not compared, so it is not known yet.
    assert_eq!(json["command_line"]["by_boot_chain"], Value::Null, "{json:#}");
    assert_eq!(json["command_line"]["by_boot_chain_if"], json!(["mrtd", "rtmr1", "policy"]), "{json:#}");
    assert_eq!((&json["predicted_rtmr2"], &json["evidence"]["signed"]), (&Value::Bool(true), &Value::Bool(false)), "{json:#}");
    let (_, text) = verify(&["--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&json["command_line"]["extended"], &json["command_line"]["by_boot_chain_if"]),
        (&Value::Bool(true), &Value::Null),
        "{json:#}"
    );
    // A log that does not replay proves nothing about the prediction.
    let (code, text) =
        cvmctl_text(&["log", "verify", &path("ccel"), "--quote", &path("report"), "--predicted-rtmr2", &hex(&before)]);
    assert!(code == Some(1) && text.contains("WRONG RTMR2 does not replay, so it is not compared with the prediction"), "{text}");
    // A log, as root can write it, in which the digest is extended after the cap: not by the boot chain.
    let of = |data: &[u8]| Hash::Sha384.digest(data);
    let events: [&[u8]; 3] = [b"section", br#"{"cvm-init":"leave-initrd"}"#, b"a b\0"];
    let mut late = domain().0[..65].to_vec();
    for data in events {
        late.extend([3, 13, 1].map(u32::to_le_bytes).concat());
        late.extend([&0xc_u16.to_le_bytes()[..], &of(data), &4_u32.to_le_bytes(), b"text"].concat());
    }
    let mut report = vec![0; 1024];
    report[816..864].copy_from_slice(&Hash::Sha384.replay(events.map(of).iter().map(Vec::as_slice)));
    fs::write(path("ccel"), late).unwrap();
    fs::write(path("user"), "").unwrap();
    fs::write(path("report"), report).unwrap();
    let (code, text) = verify(&["--predicted-rtmr2", &hex(&Hash::Sha384.replay([of(b"section").as_slice()]))]);
    assert!(
        code == Some(0) && text.contains("ok    RTMR2 before the cap is the predicted one") && text.contains(extended),
        "{text}"
    );
}

/// The array that `systemd-pcrlock cel` would print for a log of firmware: events that are not extended are left out.
fn array_of(log: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let parsed = Log::parse(log).unwrap();
    let record = |(number, event): (usize, &Event<'_>)| {
        let digests =
            Hash::ALL.into_iter().filter_map(|hash| Some(json!({ "hashAlg": hash.name(), "digest": hex(event.digest(hash)?) })));
        json!({
            "pcr": event.register, "recnum": number + 1, "digests": digests.collect::<Vec<_>>(), "content_type": "pcclient_std",
            "content": { "event_type": describe::kind(event.kind), "event_data": hex(event.data) },
        })
    };
    let extended = parsed.events.iter().filter(|event| event.is_extended());
    Value::from(extended.enumerate().map(record).collect::<Vec<_>>()).to_string()
}

#[test]
fn arrays_of_systemd_and_records_of_nv_indexes_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let line = fs::read_to_string(log("direct.cmdline")).unwrap();
    fs::write(path("array"), array_of(&fs::read(log("direct.log")).unwrap())).unwrap();
    let nv = "\x1e{\"nv_index\":30474502,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":\"".to_owned()
        + &"ab".repeat(32)
        + "\"}],\"content_type\":\"systemd\",\"content\":{\"nvIndexName\":\"hardware\",\"string\":\"text\",\"eventType\":\"product-id\"}}\n";
    fs::write(path("user"), fs::read_to_string(log("direct.user.log")).unwrap() + &nv).unwrap();
    let (array, user, pcrs) = (path("array"), path("user"), log("direct.pcrs"));
    let arguments = ["log", "verify", &array, &user, "--pcrs", &pcrs, "--cmdline", &line];
    let (code, text) = cvmctl_text(&arguments);
    assert!(code == Some(0) && text.ends_with("the logs replay\n"), "{text}");
    assert!(text.contains("-     1 records of NvPCRs or without a register are not compared"), "{text}");
    let (_, text) = cvmctl_text(&["log", "show", &path("user")]);
    assert!(
        text.lines().any(|line| line.starts_with("NvPCR  abababab") && line.ends_with("product-id                       ? text")),
        "{text}"
    );
    // One digit of a digest.
    let changed = fs::read_to_string(path("array")).unwrap().replacen("\"digest\":\"", "\"digest\":\"0", 1);
    fs::write(path("array"), &changed).unwrap();
    let output = cvmctl(&arguments);
    assert!(String::from_utf8_lossy(&output.stderr).contains("record 1: the sha"), "{output:?}");
}

#[test]
fn machine_that_boots_directly_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("kernel"), tiny_kernel()).unwrap();
    fs::write(path("initrd"), "initrd").unwrap();
    let (kernel, initrd) = (path("kernel"), path("initrd"));
    let predicted = ["measure", "--kernel", &kernel, "--initrd", &initrd, "--cmdline", "a b", "--json"];
    let json: Value = serde_json::from_str(&cvmctl_text(&predicted).1).unwrap();
    // The machine's log: the predicted digests; its TDREPORT.
    let (mut log, mut registers) = (domain().0[..65].to_vec(), [vec![0; 48], vec![0; 48], vec![0; 48]]);
    let mut with_tpm = log.clone();
    for event in json["events"].as_array().unwrap() {
        let digest: Vec<u8> = event["sha384"]
            .as_str()
            .unwrap()
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let Some(rtmr) = event["rtmr"].as_u64() else { continue };
        let head = [u32::try_from(rtmr).unwrap() + 1, 13, 1].map(u32::to_le_bytes).concat();
        let record = [&head[..], &0xc_u16.to_le_bytes(), &digest, &4_u32.to_le_bytes(), b"text"].concat();
        log.extend(&record);
        // With a TPM, the kernel's EFI stub measures into it alone.
        with_tpm.extend(record.iter().filter(|_| rtmr == 1));
        let register = &mut registers[usize::try_from(rtmr).unwrap()];
        *register = Hash::Sha384.extend(register, &digest);
    }
    let mut report = vec![0; 1024];
    for (number, value) in registers.iter().enumerate() {
        report[720 + 48 * number..768 + 48 * number].copy_from_slice(value);
    }
    fs::write(path("log"), &log).unwrap();
    fs::write(path("report"), &report).unwrap();
    let explain = |line: &str, more: &[&str]| {
        cvmctl_text(
            &[&["measure", "explain", "--kernel", &kernel, "--initrd", &initrd, "--cmdline", line, "--log", &path("log")], more]
                .concat(),
        )
    };
    let (code, text) = explain("a b", &["--quote", &path("report")]);
    assert!(code == Some(0) && text.ends_with("everything that is predicted is equal\n"), "{text}");
    assert!(text.contains("ok    RTMR2 equal: 2 events; the logs replay to the quote") && text.contains("UNSIGNED"), "{text}");
    let (code, text) = explain("a c", &[]);
    assert!(code == Some(1) && text.contains("usual cause: another kernel command line"), "{text}");
    assert!(text.contains("WRONG RTMR2 diverges at event 4 of the log; equal before it: 0 events"), "{text}");
    let (code, text) = explain("a b", &["--fold", "td-older"]);
    assert!(code == Some(1) && text.contains("equal if predicted for: td with Secure Boot on"), "{text}");
    // The log does not replay to the quote.
    report[720 + 50] ^= 1;
    fs::write(path("report"), &report).unwrap();
    let (code, text) = explain("a b", &["--quote", &path("report"), "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &json["equal"], &json["registers"][1]["replays"]),
        (Some(1), &Value::Bool(false), &Value::Bool(false)),
        "{json:#}"
    );
    // Nothing was predicted for RTMR2 and nothing logged, and the quote has a value of it.
    report[720 + 50] ^= 1;
    fs::write(path("report"), &report).unwrap();
    fs::write(path("with-tpm"), &with_tpm).unwrap();
    let (quote, log_of_td, kernel_alone) = (path("report"), path("with-tpm"), ["measure", "explain", "--kernel", &kernel]);
    let arguments = ["--cmdline", "a b", "--fold", "td-with-tpm", "--log", &log_of_td, "--quote", &quote];
    let (code, text) = cvmctl_text(&[&kernel_alone[..], &arguments].concat());
    assert!(code == Some(1) && text.contains("WRONG RTMR2 is not explained"), "{text}");
    assert!(text.ends_with("the machine is NOT as predicted\n"), "{text}");
    // Two logs of firmware, and one that is none.
    let output =
        cvmctl(&["measure", "explain", "--kernel", &kernel, "--cmdline", "a", "--log", &path("log"), "--log", &path("log")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected one log of firmware among the files of --log, found 2"));
    let output = cvmctl(&["measure", "explain", "--kernel", &kernel, "--cmdline", "a", "--log", &kernel]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not an event log"), "{output:?}");
}

/// The smallest PE image: headers only.
fn tiny_kernel() -> Vec<u8> {
    let mut kernel = vec![0; 0x200];
    kernel[..2].copy_from_slice(b"MZ");
    kernel[0x3c] = 0x40;
    kernel[0x40..0x44].copy_from_slice(b"PE\0\0");
    kernel[0x58..0x5a].copy_from_slice(&0x20b_u16.to_le_bytes());
    kernel[0x58 + 60..0x58 + 64].copy_from_slice(&0x200_u32.to_le_bytes());
    kernel
}

#[test]
fn a_kernel_that_is_booted_directly_is_predicted() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("kernel"), tiny_kernel()).unwrap();
    fs::write(path("initrd"), "initrd").unwrap();
    let (kernel, initrd) = (path("kernel"), path("initrd"));
    let direct = ["measure", "--kernel", &kernel, "--initrd", &initrd, "--cmdline", "a b"];
    let (code, text) = cvmctl_text(&[&direct[..], &["--json", "--mrtd", &"ab".repeat(48)]].concat());
    let json: Value = serde_json::from_str(&text).unwrap();
    // Made with Python 3.11 hashlib on 2026-11-23: e(e(bytes(48), "a b\0".encode("utf-16le")), b"initrd") where
    // e = lambda r, d: sha384(r + sha384(d).digest()).digest().
    let rtmr2 = "a89221932ef7fa9af6140f3dff1c733ee085ae619c8b0b26\
        ad39d66f3cdd0c863dd51977f24d6d5b6beec203c534c29c";
    assert_eq!((code, json["rtmr2"].as_str().unwrap()), (Some(0), rtmr2));
    let tdx = &json["policy"]["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"];
    assert_eq!((&tdx["rtmr2"], &tdx["rtmr3"]), (&json["rtmr2"], &Value::Null));
    // e(rtmr2, b'{"cvm-init":"leave-initrd"}'), made the same way.
    assert_eq!(
        json["rtmr2_after_cap"].as_str().unwrap(),
        "c6e3b87b392a7d08853f4d62e26558a39c8a2314980b8324a5053d2523a0ff8c4da96d10cd146c846a85f6027db97706"
    );
    assert_eq!(tdx["mrtd"].as_str().unwrap(), "ab".repeat(48));
    // Without the firmware MRTD is unknown, and the policy has a placeholder that nodes refuse.
    let (_, text) = cvmctl_text(&direct);
    let policy: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(policy["principals"]["tees"][0]["Tee"]["measurements"][0]["Tdx"]["mrtd"], Value::Null);
}
