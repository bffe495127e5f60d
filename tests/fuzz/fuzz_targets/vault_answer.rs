//! Bytes as a vault's answer: HTTP first, then the JSON in it; and a share as its material.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ratls::fuzzing::reply(bytes);
    vault::fuzzing::answer(bytes);
});
