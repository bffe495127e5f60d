use super::{BLOCK, FRONT, Front, SIGNATURES, classify, mark, swap_header};
use crate::gpt::crc::crc32;
use crate::luks2::Header;
use crate::{blank, intent};
use proptest::prelude::*;

fn front(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut front = vec![0; usize::try_from(FRONT).unwrap()];
    for (at, part) in parts {
        front[*at..at + part.len()].copy_from_slice(part);
    }
    front
}

#[test]
fn mark_has_these_bytes_and_fits_in_one_sector() {
    let mark = mark();
    assert!(mark.starts_with(b"cvm-init scratch\x01\0\0\0"));
    assert_eq!(mark[20..24], crc32([&mark[..20]]).to_le_bytes());
    assert!(mark[24..].iter().all(|byte| *byte == 0));
}

#[test]
fn only_zeros_and_the_mark_alone_are_taken() {
    let (mark, end) = (mark(), usize::try_from(FRONT).unwrap());
    assert_eq!(classify(&front(&[])), Front::Zero);
    assert_eq!(classify(&front(&[(0, &mark)])), Front::Marked);
    let refused = "a scratch mark of another version, or other data behind the mark";
    for at in [16, 20, 24, 511, 512, BLOCK - 1, BLOCK, end - 1] {
        let mut changed = front(&[(0, &mark)]);
        changed[at] ^= 1;
        assert_eq!(classify(&changed), Front::Other(refused), "byte {at}");
    }
    assert_eq!(classify(&front(&[(BLOCK, &mark)])), Front::Other("unknown bytes"), "not at the start");
    assert_eq!(classify(&mark[..BLOCK - 1]), Front::Other(refused), "cut short");
}

#[test]
fn known_signatures_are_named() {
    for (offset, magic, name) in SIGNATURES {
        assert_eq!(classify(&front(&[(usize::try_from(*offset).unwrap(), magic)])), Front::Other(name));
    }
    assert_eq!(classify(&front(&[(5, b"x")])), Front::Other("unknown bytes"));
    // A mark with a RAID superblock or a partition table after it is refused.
    let behind = front(&[(0, &mark()), (4096, b"\xfc\x4e\x2b\xa9")]);
    assert!(matches!(classify(&behind), Front::Other(_)));
    let record = intent::Intent { uuid: uuid::Uuid::from_bytes([1; 16]), mac: [2; 32] }.block();
    let begun = classify(&front(&[(usize::try_from(intent::OFFSET).unwrap(), &record)]));
    assert_eq!(begun, Front::Other("an interrupted first format of a data disk"));
}

#[test]
fn marked_disk_is_neither_blank_nor_luks_to_the_data_disk() {
    let marked = front(&[(0, &mark())]);
    assert!(!blank::is_blank(&marked));
    assert!(matches!(Header::parse(&marked), Err(crate::luks2::Error::Magic(_))));
    assert!(matches!(crate::luks2::repair(&mut marked.clone()), Err(crate::luks2::Error::Magic(_))));
}

#[test]
fn swap_header_is_what_mkswap_writes() {
    // The non-zero bytes of `mkswap --uuid clear`, util-linux 2.38.1, on a file of 8 MiB.
    let mut want = [0; BLOCK];
    want[1024..1032].copy_from_slice(&[0x01, 0, 0, 0, 0xff, 0x07, 0, 0]);
    want[4086..].copy_from_slice(b"SWAPSPACE2");
    assert_eq!(swap_header(8 << 20), Some(want));
    assert_eq!(swap_header((8 << 20) + 4095), Some(want), "part of a page is left out");
    assert_eq!((swap_header(0), swap_header(8191)), (None, None));
    assert_eq!(swap_header(u64::MAX).unwrap()[1028..1032], [0xff; 4]);
}

proptest! {
    // Each case looks at 16 MiB.
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn judge_takes_nothing_else(at in 0..usize::try_from(FRONT).unwrap(), byte in 1_u8.., marked: bool) {
        let mut bytes = if marked { front(&[(0, &mark())]) } else { front(&[]) };
        bytes[at] ^= byte;
        prop_assert!(matches!(classify(&bytes), Front::Other(_)));
    }

    #[test]
    fn judge_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        let _front = classify(&bytes);
    }
}
