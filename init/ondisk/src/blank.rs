//! The check whether a disk is blank. Its bytes decide, not the failure of another parser.

use encoding::fields;
use std::ops::Range;

/// The checked bytes at the start: both LUKS2 headers, the keyslot area, and the first block of data.
const FRONT: u64 = 16 * 1024 * 1024 + 4096;

/// The checked bytes at the end, where backup GPTs, RAID and other superblocks are.
const BACK: u64 = 1024 * 1024;

/// The smallest data disk: header and data have 16 MiB each.
const SMALLEST: u64 = 32 * 1024 * 1024;

/// The disk has less than 32 MiB, so it cannot become a data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a disk of {0} bytes is too small")]
pub struct TooSmall(pub u64);

/// Returns the two ranges, in bytes, that must be blank on a disk of `device_bytes`: its first 16 MiB + 4 KiB, and its last 1 MiB.
///
/// # Errors
/// [`TooSmall`] under 32 MiB, so the ranges never overlap.
pub const fn ranges(device_bytes: u64) -> Result<[Range<u64>; 2], TooSmall> {
    if device_bytes < SMALLEST {
        return Err(TooSmall(device_bytes));
    }
    Ok([0..FRONT, device_bytes - BACK..device_bytes])
}

/// Whether every byte of `chunk` is zero. An empty chunk proves nothing and is not blank.
#[must_use]
pub fn is_blank(chunk: &[u8]) -> bool {
    !chunk.is_empty() && fields::is_zero(chunk)
}

#[cfg(test)]
mod tests {
    use super::{TooSmall, is_blank, ranges};
    use proptest::prelude::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn chunk_is_blank_when_all_bytes_are_zero() {
        let one = |length: usize, at: usize| (0..length).map(|i| u8::from(i == at)).collect::<Vec<_>>();
        let cases = [
            ("nothing", vec![], false),
            ("one zero", vec![0], true),
            ("a block", vec![0; 4096], true),
            ("first byte", one(4096, 0), false),
            ("last byte", one(4097, 4096), false),
            ("middle", one(4096, 2000), false),
        ];
        for (name, chunk, want) in cases {
            assert_eq!(is_blank(&chunk), want, "{name}");
        }
    }

    #[test]
    fn ranges_are_the_ends_of_the_disk() {
        let front = 0..16 * MIB + 4096;
        assert_eq!(ranges(32 * MIB), Ok([front.clone(), 31 * MIB..32 * MIB]));
        assert_eq!(ranges(u64::MAX), Ok([front, u64::MAX - MIB..u64::MAX]));
        assert_eq!(ranges(32 * MIB - 1), Err(TooSmall(32 * MIB - 1)));
        assert_eq!(ranges(0), Err(TooSmall(0)));
    }

    proptest! {
        #[test]
        fn ranges_lie_apart_and_inside(bytes: u64) {
            if let Ok([front, back]) = ranges(bytes) {
                prop_assert!(front.end <= back.start && back.end == bytes);
            }
        }
    }
}
