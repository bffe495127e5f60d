//! The JSON of both conversations. Unknown fields are ignored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap::SignedCollateral;
use serde::{Deserialize, Serialize};

use crate::Extensions;
use crate::audit::AuditEntry;
use crate::pending::{PendingProfile, Source};
use crate::policy::Policy;
use crate::profile::AttestationProfile;

/// A request to `/__privasys/attest` in either mode.
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

impl AttestRequest {
    /// The context, if it is 32 bytes.
    pub(crate) fn context(&self) -> Option<[u8; 32]> {
        BASE64URL.decode(self.context.as_deref()?).ok()?.try_into().ok()
    }
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

/// A request to `/data`. Byte strings are base64url. Approvals are ignored: no rule here requires them.
#[derive(Deserialize)]
pub(crate) enum VaultRequest {
    CreateKey {
        handle: String,
        material_b64: String,
        grant: String,
    },
    ExportKey {
        handle: String,
    },
    GetKeyInfo {
        handle: String,
    },
    GetPolicy {
        handle: String,
    },
    UpdatePolicy {
        handle: String,
        new_policy: Policy,
    },
    DeleteKey {
        handle: String,
    },
    ListKeys,
    StagePendingProfile {
        handle: String,
        profile: AttestationProfile,
        source: Source,
    },
    ListPendingProfiles {
        handle: String,
    },
    PromotePendingProfile {
        handle: String,
        pending_id: u32,
    },
    RevokePendingProfile {
        handle: String,
        pending_id: u32,
    },
    ReadAuditLog {
        handle: String,
        #[serde(default)]
        since_seq: u64,
        #[serde(default)]
        limit: u32,
    },
}

impl VaultRequest {
    /// Parses a request as a node with these extensions does; `None` for a request that it echoes.
    pub(crate) fn read(body: &[u8], extensions: &Extensions) -> Option<Self> {
        let mut request = serde_json::from_slice(body).ok()?;
        match &mut request {
            Self::UpdatePolicy { new_policy, .. } => new_policy.normalise(extensions).ok()?,
            Self::StagePendingProfile { profile, .. } => profile.normalise(extensions).ok()?,
            _ => {}
        }
        Some(request)
    }
}

/// The type of a key. Disks need shares only; a grant may name any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyType {
    RawShare,
    Aes256GcmKey,
    P256SigningKey,
    HmacSha256Key,
}

/// The information about a key for its principals.
#[derive(Serialize)]
pub(crate) struct KeyInfo {
    pub(crate) handle: String,
    pub(crate) key_type: KeyType,
    pub(crate) exportable: bool,
    pub(crate) created_at: u64,
    pub(crate) expires_at: u64,
    pub(crate) policy_version: u32,
    pub(crate) public_key: Option<Vec<u8>>,
}

/// The information about a key in a list.
#[derive(Serialize)]
pub(crate) struct KeyListEntry {
    pub(crate) handle: String,
    pub(crate) key_type: KeyType,
    pub(crate) expires_at: u64,
}

/// An answer of `/data`. Byte strings are arrays of integers; `KeyDeleted` and `PendingProfileRevoked` are bare strings.
#[derive(Serialize)]
pub(crate) enum Response {
    KeyCreated { handle: String, expires_at: u64 },
    KeyMaterial { material: Vec<u8>, expires_at: u64 },
    KeyInfo(KeyInfo),
    Policy { policy: Box<Policy>, policy_version: u32 },
    PolicyUpdated { policy_version: u32 },
    KeyDeleted,
    KeyList { keys: Vec<KeyListEntry> },
    PendingProfileStaged { pending_id: u32, auto_promoted: bool, policy_version: u32 },
    PendingProfileList { pending: Vec<PendingProfile> },
    PendingProfilePromoted { policy_version: u32 },
    PendingProfileRevoked,
    AuditLog { entries: Vec<AuditEntry>, next_seq: u64 },
    Error(String),
}
