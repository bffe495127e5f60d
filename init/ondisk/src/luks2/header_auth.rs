//! Header authentication: the token that holds the MAC over a LUKS2 header, and the bytes that the MAC covers.

use super::{AcceptedLayout, Header};
use encoding::hex;
use encoding::json::canonical;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::Value;

/// The type of the token, as `cryptsetup luksDump` shows it. Disks contain it: version 1 of the format keeps its name.
pub const AUTH_TOKEN: &str = "cvm-init.seal";

/// The first bytes of the message, so that no other use of the key makes the same MAC. Part of the format, as the token's type.
const DOMAIN: &[u8] = b"cvm-init header seal v1";

/// The state of the first format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormatState {
    /// It has begun and not ended: the disk contains no data of the guest.
    Formatting,
    /// It has ended.
    Ready,
}

impl FormatState {
    /// Returns the state in the form of the token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Formatting => "formatting",
            Self::Ready => "ready",
        }
    }
}

/// An authentication token as found: its MAC is not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthToken {
    /// The name of the token in the header.
    pub id: u32,
    /// What it says about the first format.
    pub state: FormatState,
    /// HMAC-SHA256, 32 bytes.
    pub mac: [u8; 32],
}

impl AuthToken {
    /// Reads the token; `None` unless it has exactly the form that [`AuthToken::json`] writes.
    pub(super) fn read(id: u32, token: &Value) -> Option<Self> {
        let token = Token::deserialize(token).ok()?;
        let ours = token.kind == AUTH_TOKEN && token.keyslots.is_empty() && token.version == 1;
        let mac = hex::decode(&token.mac)?;
        ours.then_some(Self { id, state: token.state, mac })
    }

    /// Encodes the token, without its name.
    #[must_use]
    pub fn json(state: FormatState, mac: &[u8; 32]) -> Value {
        let mac = hex::encode(mac);
        serde_json::json!({ "type": AUTH_TOKEN, "keyslots": [], "version": 1, "state": state.as_str(), "mac": mac })
    }
}

/// The bytes that the MAC covers: `state`, the metadata without the token, the fields of the binary header, and the
/// key material of each keyslot, taken from `image` (the same bytes that `header` was parsed from).
///
/// Each field is its length as 32 bits, big-endian, and its bytes, so that no two headers give the same bytes: the domain, the
/// state, the metadata (keys sorted, no white space), UUID, label, subsystem, size of a copy (decimal), and of each keyslot by
/// name its name (decimal) and the SHA-256 of its area. The copies' sequence numbers and salts are not in it: cryptsetup
/// changes them whenever it writes the same header again.
///
/// `None` when a keyslot's area is not in `image`.
#[must_use]
pub fn auth_message(header: &Header, checked: &AcceptedLayout, image: &[u8], state: FormatState) -> Option<Vec<u8>> {
    let mut message = Message(Vec::new());
    message.add(DOMAIN)?;
    for field in [
        state.as_str(),
        &header.json_without_auth_token(),
        &header.uuid().to_string(),
        header.label(),
        header.subsystem(),
        &header.size().to_string(),
    ] {
        message.add(field.as_bytes())?;
    }
    for slot in checked.slots() {
        let (start, end) = (usize::try_from(slot.area.start).ok()?, usize::try_from(slot.area.end).ok()?);
        message.add(slot.id.to_string().as_bytes())?;
        message.add(digest(&SHA256, image.get(start..end)?).as_ref())?;
    }
    Some(message.0)
}

struct Message(Vec<u8>);

impl Message {
    fn add(&mut self, field: &[u8]) -> Option<()> {
        self.0.extend_from_slice(&u32::try_from(field.len()).ok()?.to_be_bytes());
        self.0.extend_from_slice(field);
        Some(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    version: u32,
    state: FormatState,
    mac: String,
}

/// The type of any token.
pub(super) fn kind(token: &Value) -> Option<&str> {
    token.get("type")?.as_str()
}

/// The metadata without the authentication token: keys sorted by bytes, no white space, strings escaped as `serde_json` does.
pub(super) fn json_without_auth_token(json: &Value) -> String {
    let mut json = json.clone();
    if let Some(tokens) = json.get_mut("tokens").and_then(Value::as_object_mut) {
        tokens.retain(|_, token| kind(token) != Some(AUTH_TOKEN));
    }
    canonical(&json)
}
