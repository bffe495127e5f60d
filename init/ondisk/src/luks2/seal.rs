//! The token in which this init keeps its seal, and the text that the seal is over.

use crate::text;
use serde::Deserialize;
use serde_json::Value;

/// The type of our token.
pub const SEAL_TOKEN: &str = "cvm-init.seal";

/// How far the first format has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SealState {
    /// It was begun: what is on the disk is worth nothing.
    Formatting,
    /// It was finished.
    Ready,
}

impl SealState {
    /// The state as it stands in the token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Formatting => "formatting",
            Self::Ready => "ready",
        }
    }
}

/// A seal as found: its MAC is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealToken {
    /// The name of the token in the header.
    pub id: u32,
    /// What it says about the first format.
    pub state: SealState,
    /// HMAC-SHA256, 32 bytes.
    pub mac: [u8; 32],
}

impl SealToken {
    /// Reads our token; `None` unless it is exactly as we write it.
    pub(super) fn read(id: u32, token: &Value) -> Option<Self> {
        let token = Token::deserialize(token).ok()?;
        let ours = token.kind == SEAL_TOKEN && token.keyslots.is_empty() && token.version == 1;
        let mac = text::hex(&token.mac)?;
        ours.then_some(Self { id, state: token.state, mac })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    version: u32,
    state: SealState,
    mac: String,
}

/// The type of a token, whoever made it.
pub(super) fn kind(token: &Value) -> Option<&str> {
    token.get("type")?.as_str()
}

/// The metadata without our token: keys sorted by bytes, no white space, strings escaped as `serde_json` does.
pub(super) fn json_without_seal(json: &Value) -> String {
    let mut json = json.clone();
    if let Some(tokens) = json.get_mut("tokens").and_then(Value::as_object_mut) {
        tokens.retain(|_, token| kind(token) != Some(SEAL_TOKEN));
    }
    let mut text = String::new();
    write(&json, &mut text);
    text
}

/// Sorts by itself: whether `serde_json` does depends on a feature that any crate in the tree can switch.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            write_all(entries, ['{', '}'], out, |(key, value), out| {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(value, out);
            });
        }
        Value::Array(items) => write_all(items, ['[', ']'], out, write),
        plain => out.push_str(&plain.to_string()),
    }
}

fn write_all<T>(items: impl IntoIterator<Item = T>, [open, close]: [char; 2], out: &mut String, each: impl Fn(T, &mut String)) {
    out.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(close);
}
