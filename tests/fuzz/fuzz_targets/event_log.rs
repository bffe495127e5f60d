//! Fuzzes the parsers of both forms of event logs, and of PE images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use eventlog::ccel::{Kind, Log, describe};
use eventlog::register::Hash;
use eventlog::{cel, pe};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(log) = Log::parse(bytes) {
        let length: usize = log.events.iter().map(|event| describe::text(event).len() + describe::kind(event.kind).len()).sum();
        assert!(length <= 200 * log.events.len(), "a description fits on a line");
        log.events.iter().for_each(|event| _ = std::hint::black_box(describe::is_measured(event)));
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
        assert_eq!(again, records, "what was read is read again");
    }
    if let Ok(spans) = pe::spans(bytes) {
        assert!(spans.iter().all(|span| span.len() <= bytes.len()));
    }
    drop(pe::sections(bytes));
});
