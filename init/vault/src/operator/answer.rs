//! Answers of nodes (key-server-protocol.md, section 3; VaultResponse in the node's types.rs).

use serde::Deserialize;
use serde_json::Value;

use super::{Error, NodeText};
use crate::texts;

/// Description of a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeyInfo {
    /// Its name.
    pub handle: NodeText,
    /// `RawShare` for a share of a disk's key.
    pub key_type: NodeText,
    /// Whether the key can be exported.
    pub exportable: bool,
    /// Creation, Unix seconds by the node's clock.
    pub created_at: u64,
    /// Unix seconds by the node's clock.
    pub expires_at: u64,
    /// 1 for a new key, incremented by every change.
    pub policy_version: u64,
}

/// Description of a key in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ListedKey {
    /// Its name.
    pub handle: NodeText,
    /// As in [`KeyInfo`].
    pub key_type: NodeText,
    /// Unix seconds by the node's clock.
    pub expires_at: u64,
}

/// The policy that a node evaluates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PolicyInForce {
    /// The complete policy.
    pub policy: Value,
    /// 1 for a new key, incremented by every change.
    pub policy_version: u64,
}

/// Result of staging a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Staged {
    /// Its number; meaningless if it is already in force.
    pub pending_id: u32,
    /// Whether it is already in force and needs no promotion.
    #[serde(default)]
    pub auto_promoted: bool,
    /// The version of the policy.
    #[serde(default)]
    pub policy_version: u64,
}

/// A staged profile that is not promoted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PendingProfile {
    /// Its number, which is different at each node.
    pub id: u32,
    /// The complete profile.
    pub profile: Value,
    /// Origin, by the client that staged it.
    pub source: NodeText,
    /// Unix seconds by the node's clock.
    pub staged_at: u64,
    /// Subject of the client that staged it.
    pub staged_by_sub: NodeText,
    /// Whether the platform, which is not an owner, staged it.
    #[serde(default)]
    pub staged_by_platform: bool,
}

/// A part of a key's audit log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditLog {
    /// Entries in order.
    pub entries: Vec<AuditEntry>,
    /// Number of the next entry to request.
    pub next_seq: u64,
}

/// One request for a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditEntry {
    /// Its number.
    pub seq: u64,
    /// Unix seconds by the node's clock.
    pub ts: u64,
    /// The request.
    pub op: NodeText,
    /// The client.
    pub caller: NodeText,
    /// `Allowed` or `Denied`.
    pub decision: NodeText,
    /// Reason or parameters.
    #[serde(default = "nothing")]
    pub reason: NodeText,
}

fn nothing() -> NodeText {
    NodeText::new("")
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Answer {
    KeyCreated { handle: NodeText, expires_at: u64 },
    KeyDeleted,
    PolicyUpdated { policy_version: u64 },
    Policy(PolicyInForce),
    KeyInfo(KeyInfo),
    KeyList { keys: Vec<ListedKey> },
    AuditLog(AuditLog),
    PendingProfileStaged(Staged),
    PendingProfileList { pending: Vec<PendingProfile> },
    PendingProfilePromoted { policy_version: u64 },
    PendingProfileRevoked,
    Error(String),
}

/// Parses an answer. The error does not contain the body: a node echoes a request that it cannot parse, and it may contain a share.
pub(super) fn parse(request: &[u8], body: &[u8]) -> Result<Answer, Error> {
    if body == request {
        return Err(Error::Echo);
    }
    match serde_json::from_slice(body) {
        Ok(Answer::Error(text)) => Err(Error::Refused { kind: texts::of_operator(&text), text: NodeText::new(&text) }),
        Ok(answer) => Ok(answer),
        Err(error) => Err(Error::NoAnswer { line: error.line(), column: error.column() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Refused;
    use crate::operator::Refusal;

    fn read(body: &str) -> Result<Answer, String> {
        parse(br#"{"GetPolicy":{"handle":"h"}}"#, body.as_bytes()).map_err(|error| error.to_string())
    }

    /// As the node's serde writes its VaultResponse.
    #[test]
    fn answers_of_the_node_are_parsed() {
        let text = NodeText::new;
        let info = r#"{"KeyInfo":{"handle":"h","key_type":"RawShare","exportable":true,"created_at":1,"expires_at":2,"policy_version":1,"public_key":null}}"#;
        let info_read = KeyInfo {
            handle: text("h"),
            key_type: text("RawShare"),
            exportable: true,
            created_at: 1,
            expires_at: 2,
            policy_version: 1,
        };
        let pending = r#"{"PendingProfileList":{"pending":[{"id":4,"profile":{"name":"g"},"source":"ManualImport","staged_at":9,"staged_by_sub":"owner-1","staged_by_platform":false}]}}"#;
        let pending_read = PendingProfile {
            id: 4,
            profile: json!({ "name": "g" }),
            source: text("ManualImport"),
            staged_at: 9,
            staged_by_sub: text("owner-1"),
            staged_by_platform: false,
        };
        let audit = r#"{"AuditLog":{"entries":[{"seq":0,"ts":5,"op":"CreateKey","caller":"oidc:x\u001b[2J","decision":"Allowed","reason":"owner=x"}],"next_seq":1}}"#;
        let entry = AuditEntry {
            seq: 0,
            ts: 5,
            op: text("CreateKey"),
            caller: text("oidc:x\u{1b}[2J"),
            decision: text("Allowed"),
            reason: text("owner=x"),
        };
        let staged = Staged { pending_id: 4, auto_promoted: false, policy_version: 2 };
        let cases = [
            (r#""KeyDeleted""#, Answer::KeyDeleted),
            (r#""PendingProfileRevoked""#, Answer::PendingProfileRevoked),
            (r#"{"KeyCreated":{"handle":"h","expires_at":7}}"#, Answer::KeyCreated { handle: text("h"), expires_at: 7 }),
            (r#"{"PolicyUpdated":{"policy_version":3}}"#, Answer::PolicyUpdated { policy_version: 3 }),
            (
                r#"{"Policy":{"policy":{"version":1},"policy_version":2}}"#,
                Answer::Policy(PolicyInForce { policy: json!({ "version": 1 }), policy_version: 2 }),
            ),
            (info, Answer::KeyInfo(info_read)),
            (
                r#"{"KeyList":{"keys":[{"handle":"h","key_type":"RawShare","expires_at":2}]}}"#,
                Answer::KeyList { keys: vec![ListedKey { handle: text("h"), key_type: text("RawShare"), expires_at: 2 }] },
            ),
            (audit, Answer::AuditLog(AuditLog { entries: vec![entry], next_seq: 1 })),
            (
                r#"{"PendingProfileStaged":{"pending_id":4,"auto_promoted":false,"policy_version":2}}"#,
                Answer::PendingProfileStaged(staged),
            ),
            (pending, Answer::PendingProfileList { pending: vec![pending_read] }),
            (r#"{"PendingProfilePromoted":{"policy_version":2}}"#, Answer::PendingProfilePromoted { policy_version: 2 }),
        ];
        for (body, want) in cases {
            assert_eq!(read(body), Ok(want), "{body}");
        }
    }

    #[test]
    fn malformed_answers_are_not_repeated_in_the_error() {
        let cases = [
            r#"{"GetPolicy":{"handle":"secret"}}"#,
            r#"{"Policy":{"policy":{"secret":1}}}"#,
            r#"{"PolicyUpdated":{"policy_version":-1}}"#,
            r#"{"KeyMaterial":{"material":[1,2],"expires_at":1}}"#,
            r#"{"KeyDeleted":{"handle":"secret"}}"#,
            "\"secret\"",
            "",
            "<html>secret</html>",
        ];
        for body in cases {
            let error = read(body).unwrap_err();
            assert!(error.starts_with("expected an answer of a vault") && !error.contains("secret"), "{body}: {error}");
        }
        let echo = br#"{"CreateKey":{"material_b64":"c2VjcmV0"}}"#;
        let error = parse(echo, echo).unwrap_err();
        assert!(matches!(error, Error::Echo) && error.leaves_doubt(), "{error}");
    }

    #[test]
    fn refusals_contain_the_escaped_text_of_the_node() {
        let Err(Error::Refused { kind, text }) = parse(b"", br#"{"Error":"key not found\u001b[31m"}"#) else {
            panic!("no refusal")
        };
        assert_eq!((kind, text.as_str()), (Refusal::Key(Refused::Absent), "key not found\\u{1b}[31m"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".*") {
            drop(parse(b"", &bytes));
            let Err(Error::Refused { text, .. }) = parse(b"", json!({ "Error": text }).to_string().as_bytes()) else {
                return Err(TestCaseError::fail("no refusal"));
            };
            prop_assert!(text.as_str().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
