//! The small words that several formats share: numbers, hexadecimal, plain names. One spelling for each value.

use std::str::FromStr;

/// Reads a decimal number: digits only, no sign, no leading zero.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let plain = text == "0" || !text.starts_with('0');
    (plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Reads exactly `2 * N` lower-case hexadecimal digits, most significant first.
pub(crate) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = (nibble(*high)? << 4) | nibble(*low)?;
    }
    Some(out)
}

/// Writes two lower-case hexadecimal digits a byte.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// True when `text` has 1 to `most` bytes, each an ASCII letter, a digit or one of `extra`.
pub(crate) fn is_name(text: &str, most: usize, extra: &str) -> bool {
    (1..=most).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{decimal, hex, is_name, to_hex};
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
    fn hex_takes_lower_case_digits_only() {
        let cases = [
            ("00ff", Some([0x00, 0xff])),
            ("a1b2", Some([0xa1, 0xb2])),
            ("A1b2", None),
            ("a1b", None),
            ("a1b2c3", None),
            ("+1b2", None),
            ("g1b2", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(hex::<2>(text), want, "{text:?}");
        }
    }

    #[test]
    fn name_is_bounded_and_plain() {
        for (text, want) in [("a.b", true), ("abcd", true), ("abcde", false), ("", false), ("a b", false), ("a/b", false)] {
            assert_eq!(is_name(text, 4, "."), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn hex_reads_what_was_written(bytes: [u8; 16]) {
            prop_assert_eq!(hex::<16>(&to_hex(&bytes)), Some(bytes));
        }

        #[test]
        fn nothing_here_panics(text in ".*") {
            let _read = (decimal::<u32>(&text), hex::<3>(&text), is_name(&text, 9, "-"));
        }
    }
}
