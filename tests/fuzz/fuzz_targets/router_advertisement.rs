//! Fuzzes the parser of router advertisements: a frame, and a message in a valid frame.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ipconfig::fuzzing::router_advertisement(bytes));
