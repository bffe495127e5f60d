//! Bytes as a node's answer to a challenge, and as an answer of a cache of collateral.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    vault::fuzzing::evidence(bytes);
    vault::fuzzing::cache_answer(bytes);
});
