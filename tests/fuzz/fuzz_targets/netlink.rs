//! Fuzzes the parser of a datagram of the kernel's rtnetlink.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| linux::fuzzing::rtnetlink(bytes));
