//! Fuzzes the parser of the first 64 KiB of a data disk and of the format record. A header that passes the allow-list must mean
//! the same before and after its repair, and keep its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use cmdline::DataCipher;
use ondisk::intent::{BLOCK, Intent};
use ondisk::luks2::{DATA_OFFSET, Expect, Header, FormatState, check, check_parts, repair, auth_message};

fuzz_target!(|bytes: &[u8]| {
    let mut block = [0; BLOCK];
    block.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    if let Some(record) = Intent::parse(&block) {
        assert!(record.block() == block);
    }
    examine(bytes);
    // Fixes the checksums: a mutation seldom produces valid ones, but a host can.
    let mut signed = bytes.to_vec();
    sign(&mut signed);
    examine(&signed);
    if repair(&mut signed).is_ok() {
        assert!(Header::parse(&signed).is_ok() || signed.len() < 32768 || !is_json(&signed));
        examine(&signed);
    }
});

fn examine(image: &[u8]) {
    let Ok(header) = Header::parse(image) else { return };
    for cipher in DataCipher::ALL.iter().copied().map(Some).chain([None]) {
        let expect = Expect { cipher, data_offset: DATA_OFFSET, rotation: true };
        let parts = check_parts(&header, &expect);
        match check(&header, &expect) {
            Ok(checked) => {
                assert!(parts.iter().all(Result::is_ok));
                assert!((1..=2).contains(&checked.slots().len()) && checked.slots().iter().all(|slot| slot.area.end <= DATA_OFFSET));
                let _text = auth_message(&header, &checked, image, FormatState::Ready);
            }
            Err(violation) => assert!(parts.contains(&Err(violation))),
        }
    }
}

fn is_json(image: &[u8]) -> bool {
    use ondisk::luks2::Error::{Ambiguous, Json, Model, Requirement, UnknownField};
    !matches!(Header::parse(image), Err(Json | Ambiguous | Model | UnknownField(_) | Requirement(_)))
}

/// Fixes the checksums of both copies.
fn sign(image: &mut [u8]) {
    for copy in image.chunks_exact_mut(16384).take(2) {
        copy[448..512].fill(0);
        let digest = ring::digest::digest(&ring::digest::SHA256, copy);
        copy[448..480].copy_from_slice(digest.as_ref());
    }
}
