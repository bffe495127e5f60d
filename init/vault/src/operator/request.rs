//! Encoding of requests: externally tagged JSON, bytes in base64url without padding (key-server-protocol.md, section 3.1).

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Error, Token};

/// A key to create. The grant contains type, owner and policy.
#[derive(Serialize)]
pub struct NewKey<'a> {
    /// Its name.
    pub handle: &'a str,
    /// Its bytes.
    #[serde(rename = "material_b64", serialize_with = "base64url")]
    pub material: &'a [u8],
    /// The permission of the identity provider.
    #[serde(serialize_with = "token")]
    pub grant: &'a Token,
}

/// Origin of a staged profile. Nodes only record it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ProfileSource {
    /// A build pipeline.
    PlatformBuild,
    /// A person.
    ManualImport,
}

/// An empty list: this client sends no approvals of managers.
type NoApprovals = [(); 0];

#[derive(Serialize)]
pub(super) enum Request<'a> {
    CreateKey(&'a NewKey<'a>),
    DeleteKey { handle: &'a str, approvals: NoApprovals },
    GetKeyInfo { handle: &'a str },
    GetPolicy { handle: &'a str },
    ListKeys,
    UpdatePolicy { handle: &'a str, new_policy: &'a Value, approvals: NoApprovals },
    StagePendingProfile { handle: &'a str, profile: &'a Value, source: ProfileSource },
    ListPendingProfiles { handle: &'a str },
    PromotePendingProfile { handle: &'a str, pending_id: u32, approvals: NoApprovals },
    RevokePendingProfile { handle: &'a str, pending_id: u32 },
    ReadAuditLog { handle: &'a str, since_seq: u64, limit: u32 },
}

impl Request<'_> {
    /// Encodes into memory that is wiped and has its final size from the start: the request may contain a share, and a buffer that grows
    /// leaves a copy behind.
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut length = Length(0);
        serde_json::to_writer(&mut length, self).map_err(|_| Error::Encode)?;
        let mut body = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *body, self).map_err(|_| Error::Encode)?;
        Ok(body)
    }
}

impl Request<'_> {
    /// The part of the encoded request, `body`, that contains a share and a grant.
    pub(super) fn secrets<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        let Self::CreateKey(_) = self else { return &[] };
        // The handle before it cannot contain this: JSON escapes its quotation marks.
        let name = br#""material_b64":""#;
        let start = body.windows(name.len()).position(|part| part == name).map_or(0, |at| at + name.len());
        body.get(start..).unwrap_or_default()
    }
}

/// Counts written bytes.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn base64url<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Zeroizing::new(vec![0; bytes.len().div_ceil(3) * 4]);
    let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).map_err(serde::ser::Error::custom)?;
    let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok());
    serializer.serialize_str(text.ok_or_else(|| serde::ser::Error::custom("base64"))?)
}

fn token<S: Serializer>(token: &Token, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The forms of key-server-protocol.md, section 3, and of the node's own VaultRequest.
    #[test]
    fn requests_are_encoded_as_nodes_parse_them() {
        let (grant, value) = (Token::new(b"a.b.c").unwrap(), json!({ "version": 1 }));
        let key = NewKey { handle: "apps/h", material: &[0xfb, 0xff, 1, 2], grant: &grant };
        let handle = "h";
        let cases = [
            (
                Request::CreateKey(&key),
                json!({ "CreateKey": { "handle": "apps/h", "material_b64": "-_8BAg", "grant": "a.b.c" } }),
            ),
            (Request::DeleteKey { handle, approvals: [] }, json!({ "DeleteKey": { "handle": "h", "approvals": [] } })),
            (Request::GetKeyInfo { handle }, json!({ "GetKeyInfo": { "handle": "h" } })),
            (Request::GetPolicy { handle }, json!({ "GetPolicy": { "handle": "h" } })),
            (Request::ListKeys, json!("ListKeys")),
            (
                Request::UpdatePolicy { handle, new_policy: &value, approvals: [] },
                json!({ "UpdatePolicy": { "handle": "h", "new_policy": value, "approvals": [] } }),
            ),
            (
                Request::StagePendingProfile { handle, profile: &value, source: ProfileSource::ManualImport },
                json!({ "StagePendingProfile": { "handle": "h", "profile": value, "source": "ManualImport" } }),
            ),
            (Request::ListPendingProfiles { handle }, json!({ "ListPendingProfiles": { "handle": "h" } })),
            (
                Request::PromotePendingProfile { handle, pending_id: 3, approvals: [] },
                json!({ "PromotePendingProfile": { "handle": "h", "pending_id": 3, "approvals": [] } }),
            ),
            (
                Request::RevokePendingProfile { handle, pending_id: 3 },
                json!({ "RevokePendingProfile": { "handle": "h", "pending_id": 3 } }),
            ),
            (
                Request::ReadAuditLog { handle, since_seq: 5, limit: 7 },
                json!({ "ReadAuditLog": { "handle": "h", "since_seq": 5, "limit": 7 } }),
            ),
        ];
        for (request, want) in cases {
            let body = request.encode().unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), want);
            assert_eq!(body.len(), body.capacity(), "{want}");
            let secrets: &[u8] = if want.get("CreateKey").is_some() { br#"-_8BAg","grant":"a.b.c"}}"# } else { b"" };
            assert_eq!(request.secrets(&body), secrets, "{want}");
        }
    }
}
