//! A DHCP server's frame, and its message in a frame that is right.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ipconfig::fuzzing::dhcp_answer(bytes));
