//! Tests of the console.

use super::*;
use std::os::unix::net::UnixStream;

const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(10);

fn console() -> (Console, UnixStream) {
    let (machine, reader) = UnixStream::pair().unwrap();
    let typing = reader.try_clone().unwrap();
    (Console::open(reader, Some(Box::new(typing)), None).unwrap(), machine)
}

fn texts(printed: &[u8]) -> Vec<String> {
    let console = Console::open(io::Cursor::new(printed.to_vec()), None, None).unwrap();
    assert_eq!(console.wait_for_end(LATE), Ok(None));
    assert_eq!(console.raw(), printed);
    console.lines().into_iter().map(|line| line.text).collect()
}

#[test]
fn lines_lose_line_ends_and_escape_sequences() {
    let cases: [(&[u8], &[&str]); 6] = [
        (b"one\r\ntwo\n", &["one", "two"]),
        (b"\x1b[0;32m  OK  \x1b[0m done\n", &["  OK   done"]),
        (b"\x1b]0;title\x07a\x1b]1;b\x1b\\c\n", &["ac"]),
        (b"\x1bc\x1b(Bplain\n", &["plain"]),
        (b"cut \x1b[3\nnext\n", &["cut ", "next"]),
        (b"\xff\n", &["\u{fffd}"]),
    ];
    for (printed, want) in cases {
        assert_eq!(texts(printed), want, "{}", String::from_utf8_lossy(printed));
    }
}

#[test]
fn wait_for_finds_a_line_printed_before_or_after() {
    let (console, mut machine) = console();
    machine.write_all(b"early\n").unwrap();
    assert_eq!(console.wait_for("arl", LATE).unwrap().text, "early");
    let printer = std::thread::spawn(move || machine.write_all(b"la").and_then(|()| machine.write_all(b"te\n")));
    let late = console.wait_for("late", LATE).unwrap();
    assert_eq!((late.text.as_str(), late.number), ("late", 1));
    printer.join().unwrap().unwrap();
}

#[test]
fn wait_for_after_skips_what_came_before() {
    let (console, mut machine) = console();
    machine.write_all(b"same 1\nsame 2\n").unwrap();
    let first = console.wait_for("same", LATE).unwrap();
    assert_eq!(console.wait_for_after(&first, "same", LATE).unwrap().text, "same 2");
}

#[test]
fn a_second_source_cuts_no_line_and_ends_with_the_console() {
    let (console, mut machine) = console();
    let (mut port, reader) = UnixStream::pair().unwrap();
    console.add(move || Ok(reader)).unwrap();
    machine.write_all(b"half a ").unwrap();
    console.wait_for_prompt("half a ", LATE).unwrap();
    port.write_all(b"report\n").unwrap();
    assert_eq!(console.wait_for("", LATE).unwrap().text, "report");
    machine.write_all(b"line\n").unwrap();
    drop(machine);
    assert_eq!(console.wait_for("half", LATE).unwrap().text, "half a line");
    assert!(!console.wait_for("late", SOON).unwrap_err().ended);
    port.write_all(b"late\n").unwrap();
    drop(port);
    assert_eq!(console.wait_for_end(LATE), Ok(None));
    assert_eq!(console.raw(), b"half a line\nreport\nlate\n");
}

#[test]
fn wait_for_says_what_was_missing_and_what_came_last() {
    let (console, mut machine) = console();
    machine.write_all(b"booting\nhalf a li").unwrap();
    console.wait_for_prompt("half a li", LATE).unwrap();
    let missing = console.wait_for("login:", SOON).unwrap_err();
    assert_eq!((missing.ended, missing.pattern.as_str()), (false, "login:"));
    assert_eq!(missing.last, ["booting", "half a li"]);
    drop(machine);
    let missing = console.wait_for("login:", LATE).unwrap_err();
    assert!(missing.ended);
    assert!(missing.to_string().contains("the console ended; last lines:\n  | booting\n"));
}

#[test]
fn a_kernel_panic_ends_the_wait_while_the_machine_hangs() {
    let (console, mut machine) = console();
    machine.write_all(b"[ 1.2] Kernel panic - not syncing: VFS\r\n").unwrap();
    assert_eq!(console.wait_for_end(LATE).unwrap().unwrap().text, "[ 1.2] Kernel panic - not syncing: VFS");
}

#[test]
fn send_types_into_the_machine() {
    let (console, mut machine) = console();
    console.send("root\n").unwrap();
    let mut typed = [0; 5];
    machine.read_exact(&mut typed).unwrap();
    assert_eq!(&typed, b"root\n");
}
