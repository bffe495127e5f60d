//! Attestation profiles that are staged for a key: an owner prepares the admission of a new image beside the old one.
//!
//! Two features are not modelled, because operators of disk keys use neither: staging by the platform for all keys, and profiles
//! that promote themselves.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Request;
use crate::policy::{Operation, Principal};
use crate::profile::AttestationProfile;
use crate::store::StoredKey;
use crate::texts;
use crate::wire::Response;

/// The largest number of staged profiles of one key.
const MAX: usize = 16;

/// One staged profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingProfile {
    pub(crate) id: u32,
    pub(crate) profile: AttestationProfile,
    pub(crate) source: Source,
    pub(crate) staged_at: u64,
    pub(crate) staged_by_sub: String,
    pub(crate) staged_by_platform: bool,
}

/// The source of a profile, as the caller states it. A request with another value is not parsed, and echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    PlatformBuild,
    ManualImport,
}

impl Request<'_> {
    pub(crate) fn stage(&self, key: &mut StoredKey, profile: AttestationProfile, source: Source) -> Result<Response, String> {
        key.policy.allows_staging(self.caller().resolve(&key.policy))?;
        let staged = |pending_id, auto_promoted| Response::PendingProfileStaged {
            pending_id,
            auto_promoted,
            policy_version: key.policy_version,
        };
        if key.policy.profiles().any(|(_, accepted)| *accepted == profile) {
            return Ok(staged(0, true));
        }
        if let Some(same) = key.pending.iter().find(|pending| pending.profile == profile) {
            return Ok(staged(same.id, false));
        }
        if key.pending.len() >= MAX {
            return Err(texts::TOO_MANY_PENDING.to_owned());
        }
        let id = key.next_pending_id;
        let answer = staged(id, false);
        let sub = self.oidc.and_then(|claims| claims.get("sub")).and_then(Value::as_str);
        let staged_by_sub = sub.unwrap_or("tee").to_owned();
        key.pending.push(PendingProfile { id, profile, source, staged_at: self.now, staged_by_sub, staged_by_platform: false });
        key.next_pending_id += 1;
        Ok(answer)
    }

    /// Adds the profile as another principal; the existing ones stay.
    pub(crate) fn promote(&self, key: &mut StoredKey, id: u32) -> Result<Response, String> {
        self.caller().may(Operation::PromoteProfile, &key.policy)?;
        let place = key.pending.iter().position(|pending| pending.id == id).ok_or_else(|| texts::no_pending(id))?;
        let profile = key.pending.get(place).map(|pending| pending.profile.clone()).ok_or_else(|| texts::no_pending(id))?;
        key.policy.allows_profile(&profile)?;
        key.pending.remove(place);
        key.policy.principals.tees.push(Principal::Tee(profile));
        key.policy_version += 1;
        Ok(Response::PendingProfilePromoted { policy_version: key.policy_version })
    }

    pub(crate) fn revoke(&self, key: &mut StoredKey, id: u32) -> Result<Response, String> {
        key.policy.allows_staging(self.caller().resolve(&key.policy))?;
        let place = key.pending.iter().position(|pending| pending.id == id).ok_or_else(|| texts::no_pending(id))?;
        key.pending.remove(place);
        Ok(Response::PendingProfileRevoked)
    }
}
