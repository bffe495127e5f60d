//! A vault's answers to ExportKey. Failures come with status 200 and a text, from which clients tell kinds by substring (key-server-protocol.md, section 3.8).

use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::texts;

/// The most bytes of key material that are taken.
const MATERIAL_MAX: usize = 256;

/// A key as a vault gave it out.
pub struct KeyMaterial {
    /// The bytes, wiped on drop.
    pub material: Zeroizing<Vec<u8>>,
    /// When the vault will forget it, Unix seconds.
    pub expires_at: u64,
}

/// Why a vault did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No key of that name.
    #[error("key not found")]
    Absent,
    /// The key's policy does not name us; or the node's own attestation service is down, which looks the same.
    #[error("denied by the key's policy")]
    Denied,
    /// The key's life is over.
    #[error("key has expired")]
    Expired,
    /// The key may not leave the vault.
    #[error("key is not exportable")]
    NotExportable,
    /// A text that this version does not know.
    #[error("unknown refusal")]
    Unknown,
}

/// An answer that is one of the expected ones. A request that the node could not parse comes back as it was and is none.
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

/// Reads an answer; `None` when it is no answer at all.
pub(crate) fn parse(body: &[u8]) -> Option<Result<KeyMaterial, Refused>> {
    Some(match serde_json::from_slice(body).ok()? {
        Raw::KeyMaterial { material, expires_at } => Ok(KeyMaterial { material, expires_at }),
        Raw::Error(text) => Err(texts::of_export(&text)),
    })
}

/// Integers 0..=255 straight into memory that is wiped and never moves.
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
    fn answers_are_told_apart() {
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
