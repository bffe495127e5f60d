//! A 128-bit identifier of a disk, a partition or an application.

use crate::text;
use std::fmt;

/// A UUID, kept in the order of its text: the first byte is the first two digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

impl Guid {
    /// The identifier whose text has these 16 bytes in order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The identifier that a GPT stores as these 16 bytes: the first three groups are little-endian there.
    ///
    /// Source: UEFI 2.10, appendix A.
    #[must_use]
    pub fn from_gpt(mut bytes: [u8; 16]) -> Self {
        let mut rest = bytes.as_mut_slice();
        for length in [4, 2, 2] {
            let (group, tail) = rest.split_at_mut(length);
            group.reverse();
            rest = tail;
        }
        Self(bytes)
    }

    /// Reads the canonical text: 8-4-4-4-12 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut groups = text.split('-');
        let lengths = [8, 4, 4, 4, 12];
        let shaped = lengths.iter().all(|length| groups.next().is_some_and(|group| group.len() == *length));
        if !shaped || groups.next().is_some() {
            return None;
        }
        text::hex(&text.replace('-', "")).map(Self)
    }

    /// The 16 bytes in the order of the text.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// True for the identifier of nothing, which a GPT puts into unused entries.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Guid;
    use proptest::prelude::*;

    /// EFI system partition, UEFI 2.10 table 5.7; bytes as `sgdisk` writes them.
    const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    const ESP_ON_DISK: [u8; 16] =
        [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

    #[test]
    fn gpt_order_is_mixed_endian() {
        assert_eq!(Guid::from_gpt(ESP_ON_DISK).to_string(), ESP);
        assert_eq!(Guid::parse(ESP), Some(Guid::from_gpt(ESP_ON_DISK)));
    }

    #[test]
    fn text_has_one_spelling() {
        let upper = ESP.to_uppercase();
        let braces = format!("{{{ESP}}}");
        let plain = ESP.replace('-', "");
        let shifted = "c12a73-28f81f-11d2-ba4b-00a0c93ec93b";
        for text in [upper.as_str(), &braces, &plain, shifted, "", &ESP[..35], "c12a7328-f81f-11d2-ba4b-00a0c93ec93b-"] {
            assert_eq!(Guid::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 16]) {
            let guid = Guid::from_bytes(bytes);
            prop_assert_eq!(Guid::parse(&guid.to_string()), Some(guid));
            prop_assert_eq!(guid.is_nil(), bytes == [0; 16]);
        }

        #[test]
        fn parse_never_panics(text in "[-0-9a-fA-F\u{e9}]{0,40}") {
            if let Some(guid) = Guid::parse(&text) {
                prop_assert_eq!(guid.to_string(), text);
            }
        }
    }
}
