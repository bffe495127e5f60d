//! A JWT in compact form (RFC 7515): a grant or a bearer token. Possession is enough to use it, so it is wiped and never printed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

/// The longest token, in bytes. A grant contains a complete policy.
const LENGTH_MAX: usize = 128 << 10;

/// A token whose characters are safe in an HTTP header.
pub struct Token(Zeroizing<Vec<u8>>);

/// Why a text is not a token. The message contains no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than 128 KiB.
    #[error("longer than 128 KiB")]
    Long,
    /// Not three parts of base64url with dots between.
    #[error("not a JWT in compact form: three parts in base64url, separated by dots")]
    Form,
}

impl Token {
    /// Parses a token, ignoring white space around it.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn new(text: &[u8]) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        if text.len() > LENGTH_MAX {
            return Err(TokenError::Long);
        }
        let is_part = |part: &[u8]| {
            !part.is_empty() && part.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        };
        let parts: Vec<_> = text.split(|byte| *byte == b'.').collect();
        if parts.len() != 3 || !parts.into_iter().all(is_part) {
            return Err(TokenError::Form);
        }
        Ok(Self(Zeroizing::new(text.to_vec())))
    }

    /// The claims. The signature is not verified, so the claims only decide whether the token is sent.
    #[must_use]
    pub fn claims(&self) -> Option<Value> {
        let claims = self.0.split(|byte| *byte == b'.').nth(1)?;
        let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
        serde_json::from_slice(&json).ok()
    }

    /// The token, to send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_characters_safe_in_a_header_make_a_token() {
        for good in ["a.b.c", " a.b.c\n", "e30.eyJhIjoxfQ.-_9"] {
            assert!(Token::new(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a.b.", "a.b.c.d", "a.b.c\r\nX: y", "a.b c.d", "a.b.c=", "a.b.\u{fc}"] {
            assert_eq!(Token::new(bad.as_bytes()).err(), Some(TokenError::Form), "{bad}");
        }
        assert_eq!(Token::new(&vec![b'a'; LENGTH_MAX + 1]).err(), Some(TokenError::Long));
        let token = Token::new(b"e30.eyJhIjoxfQ.-_9").unwrap();
        assert_eq!(token.claims(), Some(serde_json::json!({ "a": 1 })));
        assert_eq!(Token::new(b"a.b.c").unwrap().claims(), None);
    }
}
