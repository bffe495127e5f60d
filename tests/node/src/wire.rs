//! The JSON of the wire, both conversations. Unknown fields are ignored.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sim_dcap::SignedCollateral;

/// A request to `/__privasys/attest`, either mode.
#[derive(Deserialize)]
pub(crate) struct AttestRequest {
    pub(crate) v: u32,
    pub(crate) mode: String,
    pub(crate) leaf: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) tee: Option<String>,
    pub(crate) quote: Option<String>,
    pub(crate) quote_time: Option<String>,
}

/// The node's evidence.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the wire's")]
pub(crate) struct Evidence {
    pub(crate) v: u32,
    pub(crate) mode: &'static str,
    pub(crate) tee: &'static str,
    pub(crate) quote: String,
    pub(crate) gpu_evidence: Option<String>,
    pub(crate) quote_time: String,
    pub(crate) client_evidence: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collateral: Option<SignedCollateral>,
}

/// A request to `/data`. Byte strings come as base64url.
#[derive(Deserialize)]
pub(crate) enum Request {
    CreateKey { handle: String, material_b64: String, grant: String },
    ExportKey { handle: String },
    GetKeyInfo { handle: String },
    GetPolicy { handle: String },
    UpdatePolicy { handle: String, new_policy: Value },
    DeleteKey { handle: String },
    ListKeys,
}

/// What is said of a key to those it concerns.
#[derive(Serialize)]
pub(crate) struct KeyInfo {
    pub(crate) handle: String,
    pub(crate) key_type: &'static str,
    pub(crate) exportable: bool,
    pub(crate) created_at: u64,
    pub(crate) expires_at: u64,
    pub(crate) policy_version: u64,
    pub(crate) public_key: Option<Vec<u8>>,
}

/// An answer of `/data`. Byte strings go out as arrays of integers.
#[derive(Serialize)]
pub(crate) enum Response {
    KeyCreated { handle: String, expires_at: u64 },
    KeyMaterial { material: Vec<u8>, expires_at: u64 },
    KeyInfo(KeyInfo),
    Policy { policy: Value, policy_version: u64 },
    PolicyUpdated { policy_version: u64 },
    KeyDeleted { handle: String },
    KeyList { keys: Vec<KeyInfo> },
    Error(String),
}

impl Response {
    pub(crate) fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }
}
