//! Fuzzes the parsers of all forms of event logs, and of PE images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use eventlog::ccel::{Event, Kind, Log, REGISTER_MAX, describe};
use eventlog::cel::{self, Record};
use eventlog::pe;
use eventlog::register::Hash;

fuzz_target!(|bytes: &[u8]| {
    for log in [Log::parse(bytes), Log::parse_sha1(bytes)].into_iter().flatten() {
        let length: usize = log.events.iter().map(|event| describe::text(event).len() + describe::kind(event.kind).len()).sum();
        assert!(length <= 200 * log.events.len(), "a description fits on a line");
        assert!(log.events.iter().all(|event| !event.is_extended() || event.register <= REGISTER_MAX), "a register exists");
        let proved = |event: &Event<'_>| describe::hashed(event) != describe::Hashed::Nothing;
        assert!(!log.is_sha1_alone() || !log.events.iter().any(proved), "SHA-1 proves nothing");
        for hash in Hash::ALL {
            for register in 0..16 {
                assert!(log.replay(hash, register).is_none_or(|value| value.len() == hash.bytes()));
            }
        }
        // The fuzzer sees the expected digests in memory and writes them into the log, so both results are valid.
        std::hint::black_box(log.command_line_events(Kind::Cc, Hash::Sha384, "a line"));
    }
    if let Ok(records) = cel::parse(bytes) {
        let text: String = records.iter().map(|record| record.to_text().unwrap()).collect();
        let again = cel::parse(text.as_bytes()).unwrap();
        let written: Vec<Record> = records.into_iter().map(|record| Record { firmware: None, ..record }).collect();
        assert_eq!(again, written, "what was read is read again");
    }
    if let Ok(spans) = pe::spans(bytes) {
        assert!(spans.iter().all(|span| span.len() <= bytes.len()));
    }
    drop(pe::sections(bytes));
});
