//! Fuzzes the parsers of a vault's answer: HTTP, then JSON, then the share format.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    vault::fuzzing::reply(bytes);
    vault::fuzzing::answer(bytes);
});
