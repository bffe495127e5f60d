//! Parses bytes as a node's answer to a challenge, and as an answer of a PCCS.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ratls::fuzzing::evidence(bytes);
    pccs::fuzzing::answer(bytes);
});
