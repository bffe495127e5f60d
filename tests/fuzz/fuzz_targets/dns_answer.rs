//! Fuzzes the parser of a name server's answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ipconfig::fuzzing::dns_answer(bytes));
