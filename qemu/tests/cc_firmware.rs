//! The driver's digests (`qemu/cc-firmware`) are those of another implementation, and its log ends where it is full. The same sources run
//! as a program of the host.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use encoding::hex;
use eventlog::ccel::Log;
use eventlog::pe;
use eventlog::register::Hash;
use qemu::{CcRecorder, Register};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// Compiles the program; the folder lives as long as the program is used.
fn compile() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("host");
    let source = |name: &str| Path::new(TOP).join(name);
    // The sanitizers end the program at a read outside of its input or a wrong shift.
    let status = Command::new("gcc")
        .args(["-std=gnu23", "-Wall", "-Wextra", "-Werror", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover"])
        .arg("-I")
        .arg(source("cc-firmware"))
        .arg("-o")
        .arg(&program)
        .arg(source("tests/host.c"))
        .args(["authenticode.c", "log.c", "sha384.c"].map(|name| source("cc-firmware").join(name)))
        .status();
    assert!(status.unwrap().success(), "gcc");
    (folder, program)
}

fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Vec<String> {
    String::from_utf8(output(program, arguments, input).stdout).unwrap().lines().map(str::to_owned).collect()
}

fn output(program: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn sha384_is_right_for_each_length_up_to_eight_blocks() {
    let (_folder, program) = compile();
    let input: Vec<u8> = (0..1024u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let want: Vec<String> = (0..=input.len()).map(|length| hex::encode(&Hash::Sha384.digest(&input[..length]))).collect();
    // One part; parts that end at, before and behind the end of a block.
    for part in ["4096", "1", "111", "127", "128", "129"] {
        assert_eq!(run(&program, &["sha384", part], &input), want, "parts of {part} bytes");
    }
}

/// systemd's boot loader in the tools tree: a PE32+ program with ten sections.
const PROGRAM: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

fn authenticode(image: &[u8]) -> Option<String> {
    let spans = pe::spans(image).ok()?;
    Some(hex::encode(&Hash::Sha384.digest(&spans.concat())))
}

#[test]
fn authenticode_digest_is_right() {
    let (_folder, program) = compile();
    let image = std::fs::read(PROGRAM).unwrap();
    assert_eq!(run(&program, &["program"], &image), [authenticode(&image).unwrap()]);
    // Bytes behind the last section count.
    let longer = [image.as_slice(), &[1; 24]].concat();
    assert_eq!(run(&program, &["program"], &longer), [authenticode(&longer).unwrap()]);
    assert_ne!(authenticode(&longer), authenticode(&image));
    // A certificate table at the end does not: signing does not change the digest.
    let mut signed = [image.as_slice(), &[2; 64]].concat();
    let pe = usize::try_from(u32::from_le_bytes(image[0x3c..0x40].try_into().unwrap())).unwrap();
    let entry = pe + 24 + 112 + 4 * 8;
    signed[entry..entry + 4].copy_from_slice(&u32::try_from(image.len()).unwrap().to_le_bytes());
    signed[entry + 4..entry + 8].copy_from_slice(&64u32.to_le_bytes());
    assert_eq!(run(&program, &["program"], &signed), [authenticode(&image).unwrap()]);
}

#[test]
fn a_file_whose_headers_point_outside_is_unsupported() {
    let (_folder, program) = compile();
    let image = std::fs::read(PROGRAM).unwrap();
    let pe = usize::try_from(u32::from_le_bytes(image[0x3c..0x40].try_into().unwrap())).unwrap();
    let optional = pe + 24;
    let sections = optional + usize::from(image[pe + 20]);
    let with = |at: usize, bytes: &[u8]| {
        let mut image = image.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    for (name, image) in [
        ("no byte", Vec::new()),
        ("no headers", image[..0x40].to_vec()),
        ("cut in its headers", image[..optional + 100].to_vec()),
        ("cut in its sections", image[..image.len() / 2].to_vec()),
        ("headers far away", with(0x3c, &[0xff; 4])),
        ("32 bits", with(optional, &[0x0b, 0x01])),
        ("no certificate table", with(optional + 108, &[4, 0, 0, 0])),
        ("no bytes of headers", with(optional + 60, &[0; 4])),
        ("headers longer than the file", with(optional + 60, &[0xff; 4])),
        ("certificates longer than the file", with(optional + 112 + 36, &[0xff; 4])),
        ("65535 sections", with(pe + 6, &[0xff; 2])),
        ("optional header of 65535 bytes", with(pe + 20, &[0xff; 2])),
        ("section behind the end", with(sections + 20, &[0xff; 4])),
        ("section longer than the file", with(sections + 16, &[0xff; 4])),
    ] {
        assert_eq!(run(&program, &["program"], &image), ["unsupported"], "{name}");
    }
}

/// UEFI's `EFI_VOLUME_FULL`.
const FULL: &str = "800000000000000b";

#[test]
fn a_full_log_counts_as_truncated_and_registers_are_extended() {
    let (_folder, program) = compile();
    for (read, last) in [("0", 0), ("1", 30)] {
        let output = output(&program, &["log", read], b"");
        let text = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 64);
        let good = |name: &str, count: usize| format!("{name}: 0, truncated 0, final events {count}");
        let full = |name: &str, truncated: u8| format!("{name}: {FULL}, truncated {truncated}, final events {last}");
        for (number, line) in lines.iter().take(61).enumerate() {
            // A full table of final events is no gap in the log itself.
            let is_read = read == "1";
            let want =
                if is_read && number >= last { full("whole", 0) } else { good("whole", if is_read { number + 1 } else { 0 }) };
            assert_eq!(*line, want, "event {number}");
        }
        assert_eq!(lines[61], if read == "1" { full("rest", 0) } else { good("rest", 0) });
        assert_eq!(lines[62..], [full("no place", 1), full("later", 1)]);

        // The host has the whole log, and registers that also have what is not logged.
        let recorder = CcRecorder::start().unwrap();
        let measured = recorder.measured();
        UnixStream::connect(recorder.socket()).unwrap().write_all(&output.stdout).unwrap();
        assert_eq!(measured.registers_at_exit(Duration::from_secs(10)), None, "boot services did not end");
        let bytes = measured.log();
        assert_eq!(bytes.len(), 64 << 10);
        let log = Log::parse(&bytes).unwrap();
        let logged = |register: u32| {
            let events = log.events.iter().filter(|event| event.is_extended() && event.register == register);
            let digests: Vec<Vec<u8>> = events.map(|event| event.digest(Hash::Sha384).unwrap().to_vec()).collect();
            Register::from_bytes(&Hash::Sha384.replay(digests.iter().map(Vec::as_slice)))
        };
        let extended = |register: Register, text: &str| register.extended(Register::of(text.as_bytes()));
        let [rtmr0, rtmr1, rtmr2, rtmr3] = measured.registers().unwrap();
        assert_eq!(rtmr0, extended(Register::ZERO, "later"));
        assert_eq!(rtmr1, (0..61).fold(Register::ZERO, |register, _| extended(register, "whole")));
        assert_eq!(rtmr1, logged(2));
        assert_eq!(rtmr2, extended(logged(3), "no place"));
        assert_eq!(rtmr3, Register::ZERO);
    }
}
