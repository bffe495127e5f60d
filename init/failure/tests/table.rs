//! The rules of the table: numbers are unique and in their ranges, and the source of PID 1 uses every code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use failure::{ErrorCode, FailureAction, RANGES, RETIRED};

#[test]
fn numbers_are_unique_ascending_and_never_reused() {
    let numbers: Vec<u8> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    for (retired, _) in RETIRED {
        assert!(!numbers.contains(retired), "E{retired} is retired: give the new code another number");
        assert!(RANGES.iter().any(|range| range.numbers.contains(retired)));
    }
    let names: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), numbers.len());
}

#[test]
fn numbers_are_in_a_range_of_their_phase() {
    for code in ErrorCode::ALL {
        let mut ranges = RANGES.iter().filter(|range| range.numbers.contains(&code.number()));
        let (Some(range), None) = (ranges.next(), ranges.next()) else { panic!("{code} is not in exactly one range") };
        assert!(range.phases.contains(&code.phase()), "{code} of phase {} is in the range of {:?}", code.phase(), range.phases);
    }
}

#[test]
fn action_is_fixed_or_has_a_condition() {
    for code in ErrorCode::ALL {
        assert_eq!(code.action().is_none(), code.condition().is_some(), "{code}");
        assert_ne!(code.action(), Some(FailureAction::Halt), "{code}: only cvm.fail=halt halts");
    }
}

#[test]
fn texts_are_sentences() {
    for code in ErrorCode::ALL {
        for text in [code.meaning(), code.advice()] {
            assert!(text.ends_with('.') && !text.contains("  ") && !text.contains('|'), "{code}: {text}");
            assert!(
                text.starts_with(|first: char| !first.is_lowercase())
                    || text.starts_with("cvm.")
                    || text.starts_with("libcryptsetup"),
                "{code}: {text}"
            );
        }
    }
}

#[test]
fn every_code_is_used_by_pid_1() {
    let mut source = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { source += &fs::read_to_string(path).unwrap() }
        }
    }
    for code in ErrorCode::ALL {
        let name = format!("ErrorCode::{}", code.name());
        let mut found = source.match_indices(&name).map(|(at, _)| &source[at + name.len()..]);
        let used = found.any(|rest| !rest.starts_with(char::is_alphanumeric));
        assert!(used, "no code() in init/src returns {name}: move {code} to RETIRED");
    }
}
