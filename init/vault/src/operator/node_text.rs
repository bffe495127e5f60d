//! Texts of nodes, escaped for a terminal.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// The longest kept text, in characters after escaping.
const LENGTH_MAX: usize = 512;
/// The shortest part of a secret that is detected, in characters.
const PIECE: usize = 16;

/// A text of a node: printable ASCII only, of bounded length. Other characters are escaped, so that they cannot control the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeText(String);

impl NodeText {
    /// Escapes and cuts a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut kept = String::new();
        for (at, character) in text.char_indices() {
            let escaped = escaped(character);
            if kept.len() + escaped.len() > LENGTH_MAX {
                kept.extend(["... (", &(text.len() - at).to_string(), " bytes more)"]);
                break;
            }
            kept.push_str(&escaped);
        }
        Self(kept)
    }

    /// A replacement for `length` bytes that may contain a secret.
    pub(super) fn withheld(length: usize) -> Self {
        Self(format!("({length} bytes, not printed: they may quote what was sent)"))
    }

    /// The text, or a replacement if it contains [`PIECE`] consecutive characters of one of `secrets`, in base64url or base64.
    pub(super) fn without(self, secrets: &[&[u8]]) -> Self {
        let pieces: HashSet<&[u8]> = secrets.iter().flat_map(|secret| secret.windows(PIECE)).collect();
        let base64url = |byte: u8| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => other,
        };
        let mut text = Zeroizing::new(self.0.into_bytes());
        let is_quoting = |text: &[u8]| text.windows(PIECE).any(|piece| pieces.contains(piece));
        let quotes_as_sent = is_quoting(&text);
        let quotes = quotes_as_sent || {
            let converted: Zeroizing<Vec<u8>> = Zeroizing::new(text.iter().copied().map(base64url).collect());
            is_quoting(&converted)
        };
        if quotes {
            return Self::withheld(text.len());
        }
        Self(String::from_utf8(std::mem::take(&mut *text)).unwrap_or_default())
    }

    /// Escapes bytes that may not be UTF-8.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::new(&String::from_utf8_lossy(bytes))
    }

    /// Whether the node sent exactly this text, which is printable ASCII.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.0 == text
    }

    /// The escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

/// Escapes everything but printable ASCII, and the backslash, with which an escape could be imitated.
fn escaped(character: char) -> String {
    match character {
        ' '..='~' if character != '\\' => character.to_string(),
        _ => character.escape_default().to_string(),
    }
}

/// Escapes JSON text to printable ASCII and newlines, with JSON's escapes, so that a program parses the same value.
#[must_use]
pub fn escape(json: &str) -> String {
    let mut units = [0; 2];
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | ' '..='~' => out.push(character),
            _ => out.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_node_cannot_control_a_terminal() {
        let cases = [
            ("key not found", "key not found"),
            ("it's \"so\"", "it's \"so\""),
            ("\u{1b}[2J\u{1b}]0;x\u{7}", "\\u{1b}[2J\\u{1b}]0;x\\u{7}"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{2028}\u{feff}\u{e0041}", "\\u{2028}\\u{feff}\\u{e0041}"),
            ("\\u{1b}", "\\\\u{1b}"),
            ("аdmin", "\\u{430}dmin"),
        ];
        for (text, want) in cases {
            assert_eq!(NodeText::new(text).as_str(), want);
        }
        assert_eq!(NodeText::of_bytes(&[0xff, b'a']).as_str(), "\\u{fffd}a");
    }

    #[test]
    fn a_text_that_quotes_a_secret_is_not_kept() {
        let secrets: [&[u8]; 3] = [b"", b"abcdefgh-jklmnop_rstuvwx", b"short"];
        let is_kept = |text: &str| NodeText::new(text).without(&secrets).is(text);
        for kept in ["", "key not found", "abcdefgh-jklmno", "short", "abcdefgh jklmnopqrstuvwx"] {
            assert!(is_kept(kept), "{kept}");
        }
        for quoting in ["bcdefgh-jklmnop_", "invalid value \"abcdefgh-jklmnop_rstuvwx\"", "field: fgh+jklmnop/rstuvwx"] {
            let text = NodeText::new(quoting).without(&secrets);
            assert_eq!(text.as_str(), format!("({} bytes, not printed: they may quote what was sent)", quoting.len()));
        }
    }

    #[test]
    fn length_is_bounded_after_escaping() {
        let long = NodeText::new(&"\u{1b}".repeat(100_000));
        assert!(long.as_str().len() < LENGTH_MAX + 40 && long.as_str().ends_with("... (99915 bytes more)"), "{long}");
        assert_eq!(NodeText::new(&"a".repeat(LENGTH_MAX)).as_str().len(), LENGTH_MAX);
    }

    #[test]
    fn json_stays_the_same_value_in_ascii() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{1b}\u{9b}\u{7f}", "😀", "plain\\"] });
        let printed = escape(&format!("{value:#}"));
        assert!(printed.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }
}
