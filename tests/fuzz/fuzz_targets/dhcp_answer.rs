//! Fuzzes the DHCP client: a frame of a server, and a message in a valid frame.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ipconfig::fuzzing::dhcp_answer(bytes));
