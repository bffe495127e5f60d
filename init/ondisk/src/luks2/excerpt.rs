//! Untrusted text in a message: bounded, printable, and without allocation.

use std::fmt;

/// The most characters of untrusted text in a message.
const LENGTH: usize = 64;

/// The end of truncated text.
const CUT: &[u8; 3] = b"...";

/// At most 64 printable ASCII characters. Other characters are escaped as in Rust source (`\u{1b}`); longer text ends in `...`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    text: [u8; LENGTH],
    length: usize,
}

impl Excerpt {
    /// Copies as much of `text` as fits.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::of([text])
    }

    /// Copies the path of `parts`, with `/` between them.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut excerpt = Self { text: [0; LENGTH], length: 0 };
        let joined = parts.into_iter().enumerate().flat_map(|(at, part)| if at > 0 { ["/", part] } else { ["", part] });
        for character in joined.flat_map(str::chars).flat_map(char::escape_default) {
            // Escapes are ASCII, so each character is a byte.
            let Some(place) = excerpt.text.get_mut(excerpt.length) else {
                excerpt.text.iter_mut().rev().zip(CUT).for_each(|(to, from)| *to = *from);
                break;
            };
            *place = u8::try_from(character).unwrap_or(b'?');
            excerpt.length += 1;
        }
        excerpt
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.get(..self.length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::{Excerpt, LENGTH};
    use proptest::prelude::*;

    #[test]
    fn text_is_escaped_and_truncated() {
        let (fits, longer) = ("x".repeat(64), "x".repeat(65));
        let cut = format!("{}...", "x".repeat(61));
        let cases = [
            ("", ""),
            ("inline-hw-tags", "inline-hw-tags"),
            ("a\n\x1b[2Jb", r"a\n\u{1b}[2Jb"),
            ("\u{e9}\u{202e}", r"\u{e9}\u{202e}"),
            (r"\u{1b}", r"\\u{1b}"),
            (&fits, &fits),
            (&longer, &cut),
        ];
        for (text, want) in cases {
            assert_eq!(Excerpt::new(text).to_string(), want, "{text:?}");
        }
        assert_eq!(Excerpt::of(["segments", "0", "x"]).to_string(), "segments/0/x");
    }

    proptest! {
        #[test]
        fn excerpt_is_short_and_printable(text in ".*") {
            let shown = Excerpt::new(&text).to_string();
            prop_assert!(shown.len() <= LENGTH && shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown:?}");
        }
    }
}
