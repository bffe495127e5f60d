//! Parses bytes as an HTTP answer, as a vault's answer to ExportKey, and as the material of a share.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ratls::fuzzing::reply(bytes);
    vault::fuzzing::answer(bytes);
});
