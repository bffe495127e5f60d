//! `cvmctl explain`: the table of error codes as text, JSON and Markdown.

use std::fmt::Write as _;
use std::process::ExitCode;

use failure::{ErrorCode, FailureAction, RANGES, RETIRED, Range};
use serde_json::{Value, json};

use crate::args::Explain;
use crate::run::Error;
use crate::show;

/// What `init/docs/error-codes.md` says before its tables.
const INTRODUCTION: &str = "\
# Error codes
<!-- Generated from the table of error codes. Do not edit: run `cvmctl explain --markdown > init/docs/error-codes.md`. -->

A boot that fails ends with one line on the console:

    cvm-init: E<code> <phase>: <cause>: <cause> (<what happens next>)

`cvmctl explain E53` prints the row of one code, `cvmctl explain` all codes, `--json` either for programs. A number keeps its meaning in
all versions.

The machine then reboots if another try may help, and powers off otherwise. `cvm.fail=reboot`, `poweroff` or `halt` decides it for every
failure after the command line was read; `halt` leaves the console readable. PID 1 retries what may pass until `cvm.vault.timeout` is
over, and prints every five seconds what it waits for. An answer from a vault's address is never final, because the host chooses who
answers there: after the timeout the machine reboots. PID 1 never formats or resets anything because something else failed. Pauses
between two boots are left to the platform.

Pending writes get 5 s at the end, and the kernel 20 s to shut its drivers down; then PID 1 resets the machine, also one that was to be
powered off. A crash of PID 1 is E99. `cvm.watchdog` resets a machine that makes no progress.
";

/// No code has this number, or the text is no code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownCode {
    #[error("{0:?} is no error code: give one as the failure line prints it, E53 or 53")]
    Text(String),
    #[error("no error code E{number}: the nearest are {first} to {last} ({title}). cvmctl explain lists all")]
    Number { number: u8, first: ErrorCode, last: ErrorCode, title: &'static str },
}

/// A code that is in use, or one that was.
#[derive(Debug, PartialEq, Eq)]
enum Code {
    Used(ErrorCode),
    Retired(u8, &'static str),
}

/// Prints one code, or all.
pub(crate) fn explain(args: &Explain) -> Result<ExitCode, Error> {
    match &args.code {
        _ if args.markdown => show::lines(&[markdown().trim_end().to_owned()])?,
        Some(text) => match (find(text)?, args.json) {
            (code, true) => show::json(&object(&code))?,
            (code, false) => show::lines(&block(&code))?,
        },
        None if args.json => show::json(&json!({ "codes": every().map(|code| object(&code)).collect::<Vec<_>>() }))?,
        None => show::lines(&RANGES.iter().flat_map(list).collect::<Vec<_>>())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads `E53`, `e53` or `53`.
fn find(text: &str) -> Result<Code, UnknownCode> {
    let digits = text.strip_prefix(['E', 'e']).unwrap_or(text);
    let number = digits.parse().map_err(|_| UnknownCode::Text(text.to_owned()))?;
    let retired = || RETIRED.iter().find(|(retired, _)| *retired == number);
    if let Some(code) = ErrorCode::from_number(number) {
        return Ok(Code::Used(code));
    }
    if let Some((number, meaning)) = retired() {
        return Ok(Code::Retired(*number, meaning));
    }
    let away = |range: &&Range| range.numbers.start().saturating_sub(number).max(number.saturating_sub(*range.numbers.end()));
    let unknown = RANGES.iter().min_by_key(away).and_then(|range| {
        let (first, last) = (used(range).next()?, used(range).last()?);
        Some(UnknownCode::Number { number, first, last, title: range.title })
    });
    Err(unknown.unwrap_or_else(|| UnknownCode::Text(text.to_owned())))
}

fn used(range: &Range) -> impl Iterator<Item = ErrorCode> {
    ErrorCode::ALL.iter().copied().filter(|code| range.numbers.contains(&code.number()))
}

fn every() -> impl Iterator<Item = Code> {
    let retired = RETIRED.iter().map(|(number, meaning)| Code::Retired(*number, meaning));
    ErrorCode::ALL.iter().copied().map(Code::Used).chain(retired)
}

fn action(code: ErrorCode) -> &'static str {
    match code.action() {
        Some(FailureAction::PowerOff) => "power off",
        Some(FailureAction::Reboot) => "reboot",
        Some(FailureAction::Halt) => "halt",
        None => code.condition().unwrap_or("by the error"),
    }
}

/// One code in full.
fn block(code: &Code) -> Vec<String> {
    match code {
        Code::Used(code) => vec![
            format!("{code} (usual phase {}, {})", code.phase(), code.name()),
            format!("  meaning: {}", code.meaning()),
            format!("  action:  {}", action(*code)),
            format!("  advice:  {}", code.advice()),
        ],
        Code::Retired(number, meaning) => {
            vec![format!("E{number} (no longer used)"), format!("  meaning: in earlier versions: {meaning}")]
        }
    }
}

/// The codes of a range, a line each.
fn list(range: &Range) -> Vec<String> {
    let heading = format!("E{} to E{}: {}", range.numbers.start(), range.numbers.end(), range.title);
    std::iter::once(heading).chain(used(range).map(|code| format!("  {code}  {}", code.meaning()))).collect()
}

fn object(code: &Code) -> Value {
    match code {
        Code::Used(code) => json!({
            "code": code.to_string(), "name": code.name(), "phase": code.phase().as_str(),
            "action": code.action().map_or("depends", FailureAction::as_str), "condition": code.condition(),
            "meaning": code.meaning(), "advice": code.advice(), "retired": false,
        }),
        Code::Retired(number, meaning) => json!({ "code": format!("E{number}"), "meaning": meaning, "retired": true }),
    }
}

/// The text of `init/docs/error-codes.md`.
fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    for range in RANGES {
        let (first, last) = (range.numbers.start(), range.numbers.end());
        write!(text, "\n## E{first} to E{last}: {}\n", range.title).unwrap_or_default();
        text.push_str("| code | phase | meaning | action | advice |\n|---|---|---|---|---|\n");
        for code in used(range) {
            let (phase, meaning, advice) = (code.phase(), code.meaning(), code.advice());
            writeln!(text, "| {code} | {phase} | {meaning} | {} | {advice} |", action(code)).unwrap_or_default();
        }
    }
    text.push_str(
        "\n## No longer used\nThese numbers are never used again.\n\n| code | meaning in earlier versions |\n|---|---|\n",
    );
    for (number, meaning) in RETIRED {
        writeln!(text, "| E{number} | {meaning} |").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_is_what_the_table_says() {
        let stored = include_str!("../../docs/error-codes.md");
        assert!(
            stored == markdown(),
            "init/docs/error-codes.md is not what the table of error codes says. Regenerate it: \
             initrd/cargo-in-tools-tree run -q -p ctl -- explain --markdown > init/docs/error-codes.md"
        );
    }

    #[test]
    fn texts_name_only_keys_that_exist() {
        for code in ErrorCode::ALL {
            for text in [code.meaning(), code.advice(), code.condition().unwrap_or_default()] {
                for (at, _) in text.match_indices("cvm.") {
                    let rest = &text[at..];
                    let end = rest.find(|c: char| !matches!(c, 'a'..='z' | '.' | '-')).unwrap_or(rest.len());
                    let key = rest[..end].trim_end_matches('.');
                    let is_known = ::cmdline::Key::ALL.iter().any(|known| known.as_str() == key);
                    assert!(is_known || key == "cvm", "{code} names {key}, which is no key: {text}");
                }
            }
        }
    }

    #[test]
    fn code_is_read_as_the_failure_line_prints_it() {
        for text in ["E53", "e53", "53"] {
            assert_eq!(find(text), Ok(Code::Used(ErrorCode::VaultsUntrusted)), "{text}");
        }
        assert!(matches!(find("27"), Ok(Code::Retired(27, _))));
    }

    #[test]
    fn unknown_code_is_refused_with_the_nearest_range() {
        for (text, want) in [
            ("46", "no error code E46: the nearest are E40 to E45 (network). cvmctl explain lists all"),
            ("E3", "no error code E3: the nearest are E10 to E14 (kernel file systems and modules). cvmctl explain lists all"),
            ("E53 unlock", "\"E53 unlock\" is no error code: give one as the failure line prints it, E53 or 53"),
            ("256", "\"256\" is no error code: give one as the failure line prints it, E53 or 53"),
        ] {
            assert_eq!(find(text).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn explanation_has_meaning_action_and_advice() {
        let lines = block(&Code::Used(ErrorCode::ScratchInUse));
        assert_eq!(lines[0], "E62 (usual phase scratch, ScratchInUse)");
        assert_eq!(lines[2], "  action:  power off");
        assert!(lines[1].starts_with("  meaning: A scratch disk is") && lines[3].starts_with("  advice:  Correct cvm.scratch"));
        let depends = object(&Code::Used(ErrorCode::ScratchUnusable));
        assert_eq!(depends["action"], "depends");
        assert_eq!(depends["condition"], "power off if the disk is read-only; else reboot");
    }
}
