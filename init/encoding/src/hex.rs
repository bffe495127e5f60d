//! Hexadecimal encoding in lower case, and decoding.

/// Encodes each byte as two lower-case hexadecimal digits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Decodes exactly `2 * N` lower-case hexadecimal digits. Upper-case digits are refused, so that each value of a configuration has one
/// spelling.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(pairs) {
        *byte = value(*pair)?;
    }
    Some(out)
}

/// Decodes an even number of hexadecimal digits of either case, for files of other programs. The caller bounds the length.
#[must_use]
pub fn decode_any_case(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    let lower = |pair: &[u8; 2]| value(pair.map(|digit| digit.to_ascii_lowercase()));
    rest.is_empty().then(|| pairs.iter().map(lower).collect())?
}

fn value([high, low]: [u8; 2]) -> Option<u8> {
    Some((nibble(high)? << 4) | nibble(low)?)
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
    use super::{decode, decode_any_case, encode};
    use proptest::prelude::*;

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
            assert_eq!(decode::<2>(text), want, "{text:?}");
        }
    }

    #[test]
    fn any_case_takes_any_even_number_of_digits() {
        for (text, want) in [
            ("", Some(vec![])),
            ("0a", Some(vec![10])),
            ("0aff", Some(vec![10, 255])),
            ("0", None),
            ("0A", Some(vec![10])),
            ("0g", None),
        ] {
            assert_eq!(decode_any_case(text.as_bytes()), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn decode_reads_what_was_encoded(bytes: [u8; 16]) {
            prop_assert_eq!(decode::<16>(&encode(&bytes)), Some(bytes));
            prop_assert_eq!(decode_any_case(encode(&bytes).as_bytes()), Some(bytes.to_vec()));
        }

        #[test]
        fn decode_never_panics(text in ".*") {
            let _read = (decode::<3>(&text), decode_any_case(text.as_bytes()));
        }
    }
}
