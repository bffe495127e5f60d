//! Numbers and names in text that several formats share. Each value has one spelling.

use std::str::FromStr;

use uuid::Uuid;

/// Parses a decimal number: digits only, no sign, no leading zero.
#[must_use]
pub fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let plain = text == "0" || !text.starts_with('0');
    (plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// True when `text` consists of 1 to `most` bytes, each an ASCII letter, a digit or one of `extra`.
#[must_use]
pub fn is_name(text: &str, most: usize, extra: &str) -> bool {
    (1..=most).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

/// Parses the canonical text of a UUID: 8-4-4-4-12 lower-case hexadecimal digits. Other forms of RFC 9562 are refused.
#[must_use]
pub fn uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    (uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::{decimal, is_name, uuid};
    use proptest::prelude::*;

    #[test]
    fn decimal_has_one_spelling_for_each_number() {
        let cases = [
            ("0", Some(0)),
            ("7", Some(7)),
            ("255", Some(255)),
            ("256", None),
            ("", None),
            ("+7", None),
            ("-0", None),
            ("07", None),
            ("00", None),
            ("7 ", None),
            ("0x7", None),
        ];
        for (text, want) in cases {
            assert_eq!(decimal::<u8>(text), want, "{text:?}");
        }
    }

    #[test]
    fn name_has_a_length_and_characters() {
        for (text, want) in [("a.b", true), ("abcd", true), ("abcde", false), ("", false), ("a b", false), ("a/b", false)] {
            assert_eq!(is_name(text, 4, "."), want, "{text:?}");
        }
    }

    #[test]
    fn uuid_has_one_spelling() {
        // EFI system partition, UEFI 2.10 table 5.7.
        const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        assert_eq!(uuid(ESP).map(|uuid| uuid.to_string()).as_deref(), Some(ESP));
        let upper = ESP.to_uppercase();
        let (braces, urn) = (format!("{{{ESP}}}"), format!("urn:uuid:{ESP}"));
        let plain = ESP.replace('-', "");
        let shifted = "c12a73-28f81f-11d2-ba4b-00a0c93ec93b";
        for text in [upper.as_str(), &braces, &urn, &plain, shifted, "", &ESP[..35], "c12a7328-f81f-11d2-ba4b-00a0c93ec93b-"] {
            assert_eq!(uuid(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_here_panics(text in ".*") {
            let _read = (decimal::<u32>(&text), is_name(&text, 9, "-"), uuid(&text));
        }
    }
}
