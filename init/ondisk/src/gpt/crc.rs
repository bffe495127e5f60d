//! CRC-32, the checksum of the partition table and of the scratch mark. It detects accidental changes only.

/// Computes the CRC-32 over the concatenated parts, bit by bit: at most 32 KiB for each disk.
///
/// Source: UEFI 2.10, section 5.3.1 (polynomial of IEEE 802.3, reflected).
pub(crate) fn crc32<const N: usize>(parts: [&[u8]; N]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    !parts.into_iter().flatten().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn checksum_has_its_published_values() {
        // "123456789" is the check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32([b"123456789"]), 0xcbf4_3926);
        assert_eq!(crc32([b"1234", b"", b"56789"]), 0xcbf4_3926);
        assert_eq!(crc32([b""]), 0);
    }
}
