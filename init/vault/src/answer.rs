//! A vault's answers to ExportKey. A refusal has status 200 and a text, whose kind a client recognises by a substring
//! (key-server-protocol.md, section 3.8).

use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::texts;

/// The most bytes of key material that are accepted.
const MATERIAL_MAX: usize = 256;

/// An exported key.
pub struct KeyMaterial {
    /// The bytes, wiped on drop.
    pub material: Zeroizing<Vec<u8>>,
    /// When the vault deletes it, Unix seconds.
    pub expires_at: u64,
}

/// Why a vault refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No key of that name.
    #[error("key not found")]
    Absent,
    /// The key's policy does not admit the client, or the node's attestation server is down: the node gives the same answer.
    #[error("denied by the key's policy")]
    Denied,
    /// The key has expired.
    #[error("key has expired")]
    Expired,
    /// The key may not leave the vault.
    #[error("key is not exportable")]
    NotExportable,
    /// The text is unknown to this version.
    #[error("refused for a reason that this version does not know")]
    Unknown,
}

/// The expected answers. A node echoes a request that it cannot parse; the echo is not an answer.
#[derive(Deserialize)]
#[serde(rename_all_fields = "snake_case")]
enum Raw {
    KeyMaterial {
        #[serde(deserialize_with = "material")]
        material: Zeroizing<Vec<u8>>,
        expires_at: u64,
    },
    Error(String),
}

/// Parses an answer; `None` if it is not an answer to ExportKey.
pub(crate) fn parse(body: &[u8]) -> Option<Result<KeyMaterial, Refused>> {
    Some(match serde_json::from_slice(body).ok()? {
        Raw::KeyMaterial { material, expires_at } => Ok(KeyMaterial { material, expires_at }),
        Raw::Error(text) => Err(texts::of_export(&text)),
    })
}

/// Deserializes integers 0..=255 directly into memory that is wiped on drop and never moves.
fn material<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Zeroizing<Vec<u8>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "an array of at most {MATERIAL_MAX} bytes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut bytes = Zeroizing::new(Vec::with_capacity(MATERIAL_MAX));
            while let Some(byte) = sequence.next_element::<u8>()? {
                if bytes.len() == MATERIAL_MAX {
                    return Err(serde::de::Error::invalid_length(MATERIAL_MAX + 1, &self));
                }
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
    deserializer.deserialize_seq(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Result<Vec<u8>, Refused>> {
        parse(body.as_bytes()).map(|answer| answer.map(|key| key.material.to_vec()))
    }

    #[test]
    fn answers_are_classified() {
        let denied = "caller is not in policy.principals (no OIDC subject or RA-TLS TEE matches the key's PrincipalSet)";
        let cases = [
            (r#"{"KeyMaterial":{"material":[17,34],"expires_at":1790000000}}"#.to_owned(), Some(Ok(vec![17, 34]))),
            (format!(r#"{{"Error":"{denied}"}}"#), Some(Err(Refused::Denied))),
            (r#"{"Error":"no OperationRule for ExportKey"}"#.to_owned(), Some(Err(Refused::Denied))),
            (r#"{"Error":"key not found"}"#.to_owned(), Some(Err(Refused::Absent))),
            (r#"{"Error":"key has expired"}"#.to_owned(), Some(Err(Refused::Expired))),
            (r#"{"Error":"key is not exportable"}"#.to_owned(), Some(Err(Refused::NotExportable))),
            (r#"{"Error":"out of memory"}"#.to_owned(), Some(Err(Refused::Unknown))),
            (r#"{"ExportKey":{"handle":"h","approvals":[]}}"#.to_owned(), None),
            (r#"{"KeyMaterial":{"material":[256],"expires_at":1}}"#.to_owned(), None),
            (r#"{"KeyMaterial":{"material":"AAAA","expires_at":1}}"#.to_owned(), None),
            (r#"{"KeyMaterial":{"material":[1],"expires_at":-1}}"#.to_owned(), None),
            (format!(r#"{{"KeyMaterial":{{"material":{:?},"expires_at":1}}}}"#, vec![1; 257]), None),
            ("{}".to_owned(), None),
            (String::new(), None),
        ];
        for (body, want) in cases {
            assert_eq!(read(&body), want, "{body}");
        }
    }
}
