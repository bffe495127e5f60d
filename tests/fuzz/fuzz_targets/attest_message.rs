//! Fuzzes the parsers of a node's answer to a challenge, and of an answer of a collateral cache.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    vault::fuzzing::evidence(bytes);
    vault::fuzzing::cache_answer(bytes);
});
