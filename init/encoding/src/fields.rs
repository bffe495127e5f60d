//! Fixed-width fields of binary structures. A field that ends outside of the bytes is `None`, never a panic.

/// Returns the `N` bytes at the offset `at`.
#[must_use]
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The little-endian number at the offset `at`.
#[must_use]
pub fn le_u16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The little-endian number at the offset `at`.
#[must_use]
pub fn le_u32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The little-endian number at the offset `at`.
#[must_use]
pub fn le_u64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// True when every byte is zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // In chunks of 16 bytes: callers check megabytes of a disk.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::{array, is_zero, le_u16, le_u32, le_u64};
    use proptest::prelude::*;

    #[test]
    fn fields_are_little_endian_and_bounded() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(le_u16(&bytes, 0), Some(0x0201));
        assert_eq!(le_u32(&bytes, 1), Some(0x0504_0302));
        assert_eq!(le_u64(&bytes, 1), Some(0x0908_0706_0504_0302));
        assert_eq!((le_u64(&bytes, 2), le_u16(&bytes, usize::MAX), array::<0>(&bytes, 10)), (None, None, None));
    }

    proptest! {
        #[test]
        fn zero_means_every_byte(length in 0_usize..100, at in 0_usize..100, value in 1_u8..) {
            let mut bytes = vec![0; length];
            prop_assert!(is_zero(&bytes));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
                prop_assert!(!is_zero(&bytes));
            }
        }
    }
}
