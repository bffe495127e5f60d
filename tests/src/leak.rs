//! Searches output for key material.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// So many bytes of a secret count as a leak.
const WINDOW: usize = 8;

/// Whether `text` contains any eight consecutive bytes of `secret`: raw, in hex of either case, in base64 at any offset, or as a
/// decimal array.
#[must_use]
pub(crate) fn leaks(text: &[u8], secret: &[u8]) -> bool {
    secret.windows(WINDOW).any(|window| forms(window).iter().any(|form| contains(text, form)))
}

fn forms(window: &[u8]) -> Vec<Vec<u8>> {
    let hex = encoding::hex::encode(window);
    let mut forms = vec![window.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for skip in 0..3 {
        // Base64 encodes three bytes in four characters: the groups that are complete in the window are the same at each offset
        // of its first group.
        let whole = window.get(skip..).unwrap_or_default();
        let whole = whole.get(..whole.len() - whole.len() % 3).unwrap_or_default();
        forms.push(STANDARD_NO_PAD.encode(whole).into_bytes());
        forms.push(URL_SAFE_NO_PAD.encode(whole).into_bytes());
    }
    // Decimal numbers in an array, as vaults send shares.
    let decimal: Vec<String> = window.iter().map(u8::to_string).collect();
    forms.push(decimal.join(",").into_bytes());
    forms.push(decimal.join(", ").into_bytes());
    forms
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_found_in_each_encoding() {
        let secret: Vec<u8> = (100..132).collect();
        let hex = encoding::hex::encode(&secret);
        for (name, text) in [
            ("raw", [b"x", secret.as_slice(), b"y"].concat()),
            ("hex", format!("key={hex}").into_bytes()),
            ("upper", format!("key={}", hex.to_uppercase()).into_bytes()),
            ("base64", STANDARD_NO_PAD.encode(&secret).into_bytes()),
            ("base64 one in", STANDARD_NO_PAD.encode([b"z", secret.as_slice()].concat()).into_bytes()),
            ("base64 two in", STANDARD_NO_PAD.encode([b"zz", secret.as_slice()].concat()).into_bytes()),
            ("array", format!("{secret:?}").into_bytes()),
            ("a part", secret[10..18].to_vec()),
        ] {
            assert!(leaks(&text, &secret), "{name}");
        }
        assert!(!leaks(b"an ordinary console with hashes 00112233445566778899", &secret));
        assert!(!leaks(&secret[..7], &secret), "too little to tell");
    }
}
