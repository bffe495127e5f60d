//! `/data`: the vault's requests.

use serde_json::Value;

use crate::attestation_server::AttestationServer;
use crate::connection::Session;
use crate::guest::GuestEvidence;
use crate::http::Answer;
use crate::policy::{Operation, Policy};
use crate::principal::Caller;
use crate::store::{Store, StoredKey};
use crate::wire::{Response, VaultRequest};
use crate::{Misbehaviour, audit, texts};

/// Answers one vault request; a request that the node cannot parse is echoed.
pub(crate) fn answer(session: &Session<'_>, body: Vec<u8>, oidc: Option<&Value>) -> Answer {
    let request = match session.misbehaviour {
        Misbehaviour::Echo => None,
        _ => VaultRequest::read(&body, &session.node.config.extensions),
    };
    let Some(request) = request else {
        return Answer { status: 200, body };
    };
    let mut store = session.node.store();
    let asked = Request { session, oidc, now: session.now() };
    let response = asked.serve(&mut store, request).unwrap_or_else(Response::Error);
    // A node that cannot save its keys reports an error, so that no key is lost at its next start.
    match store.save() {
        Ok(()) => Answer::json(200, &response),
        Err(error) => Answer::json(200, &Response::Error(error.to_string())),
    }
}

/// The context of one request.
pub(crate) struct Request<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) oidc: Option<&'a Value>,
    /// The node's time.
    pub(crate) now: u64,
}

impl Request<'_> {
    fn serve(&self, store: &mut Store, request: VaultRequest) -> Result<Response, String> {
        let on = |store: &mut Store, handle: &str, op: &str, act: &dyn Fn(&mut StoredKey) -> Result<Response, String>| {
            let key = store.keys.get_mut(handle).ok_or(texts::NOT_FOUND)?;
            let result = act(key);
            key.log(self.now, &self.name(), op, result.as_ref().map(|_| "").map_err(String::as_str));
            result
        };
        match request {
            VaultRequest::CreateKey { handle, material_b64, grant } => self.create(store, &handle, &material_b64, &grant),
            VaultRequest::ExportKey { handle } => {
                self.session.node.count(|served| served.exports += 1);
                on(store, &handle, "ExportKey", &|key| self.export(key))
            }
            VaultRequest::UpdatePolicy { handle, new_policy } => {
                on(store, &handle, "UpdatePolicy", &|key| self.update(key, new_policy.clone()))
            }
            VaultRequest::DeleteKey { handle } => {
                on(store, &handle, "DeleteKey", &|key| {
                    self.caller().may(Operation::DeleteKey, &key.policy).map(|_| Response::KeyDeleted)
                })?;
                store.keys.remove(&handle);
                Ok(Response::KeyDeleted)
            }
            VaultRequest::StagePendingProfile { handle, profile, source } => {
                on(store, &handle, "StagePendingProfile", &|key| self.stage(key, profile.clone(), source))
            }
            VaultRequest::PromotePendingProfile { handle, pending_id } => {
                on(store, &handle, "PromotePendingProfile", &|key| self.promote(key, pending_id))
            }
            VaultRequest::RevokePendingProfile { handle, pending_id } => {
                on(store, &handle, "RevokePendingProfile", &|key| self.revoke(key, pending_id))
            }
            read => self.read(store, read),
        }
    }

    /// The requests without changes, which every principal may make.
    fn read(&self, store: &Store, request: VaultRequest) -> Result<Response, String> {
        match request {
            VaultRequest::GetKeyInfo { handle } => self.known(store, &handle).map(|key| Response::KeyInfo(key.info(&handle))),
            VaultRequest::GetPolicy { handle } => self
                .known(store, &handle)
                .map(|key| Response::Policy { policy: Box::new(key.policy.clone()), policy_version: key.policy_version }),
            VaultRequest::ListPendingProfiles { handle } => {
                self.known(store, &handle).map(|key| Response::PendingProfileList { pending: key.pending.clone() })
            }
            VaultRequest::ReadAuditLog { handle, since_seq, limit } => {
                let (entries, next_seq) = self.known(store, &handle)?.audit_from(since_seq, limit);
                Ok(Response::AuditLog { entries, next_seq })
            }
            _ => self.list(store),
        }
    }

    /// The key, if it exists and the caller is a principal of its policy.
    fn known<'s>(&self, store: &'s Store, handle: &str) -> Result<&'s StoredKey, String> {
        let key = store.keys.get(handle).ok_or(texts::NOT_FOUND)?;
        self.caller().resolve(&key.policy).map(|_| key).ok_or_else(|| texts::NOT_A_PRINCIPAL.to_owned())
    }

    fn export(&self, key: &StoredKey) -> Result<Response, String> {
        match self.session.misbehaviour {
            Misbehaviour::Deny => return Err(texts::DENIED.to_owned()),
            Misbehaviour::Expired => return Err(texts::EXPIRED.to_owned()),
            _ => {}
        }
        if key.is_expired(self.now) {
            return Err(texts::EXPIRED.to_owned());
        }
        if !key.exportable {
            return Err(texts::NOT_EXPORTABLE.to_owned());
        }
        self.caller().may(Operation::ExportKey, &key.policy)?;
        self.session.node.count(|served| served.released += 1);
        Ok(Response::KeyMaterial { material: spoil(key.material.clone(), self.session.misbehaviour), expires_at: key.expires_at })
    }

    fn update(&self, key: &mut StoredKey, next: Policy) -> Result<Response, String> {
        if key.is_expired(self.now) {
            return Err(texts::EXPIRED.to_owned());
        }
        let caller = self.caller().may(Operation::UpdatePolicy, &key.policy)?;
        key.policy.allows_change(&next, caller)?;
        key.policy = next;
        key.policy_version += 1;
        // expires_at stays: a new policy does not extend a key's lifetime.
        Ok(Response::PolicyUpdated { policy_version: key.policy_version })
    }

    /// The keys that the caller owns, regardless of the roles in their policies.
    fn list(&self, store: &Store) -> Result<Response, String> {
        let sub = self.oidc.and_then(|claims| claims.get("sub")).and_then(Value::as_str).ok_or(texts::LIST_NEEDS_OIDC)?;
        let mine = store.keys.iter().filter(|(_, key)| key.policy.is_owned_by(sub));
        Ok(Response::KeyList { keys: mine.map(|(handle, key)| key.list_entry(handle)).collect() })
    }

    /// The caller.
    pub(crate) fn caller(&self) -> Caller<'_> {
        let session = self.session;
        Caller {
            oidc: self.oidc,
            evidence: session.evidence.as_ref(),
            leaf: session.leaf.as_ref(),
            verify: Box::new(|evidence| ask_attestation_server(session, evidence)),
            refused: Box::new(|why| session.node.refused(why)),
        }
    }

    /// The caller's name in the audit log.
    pub(crate) fn name(&self) -> String {
        audit::caller(self.oidc, self.session.leaf.is_some())
    }
}

/// Calls the policy's attestation server once, for which the whole node waits.
fn ask_attestation_server(session: &Session<'_>, evidence: &GuestEvidence) -> Result<String, String> {
    let node = session.node;
    node.count(|served| served.attestation_calls += 1);
    if let Misbehaviour::SlowAttestation(delay) = session.misbehaviour {
        node.stopped_within(delay);
    }
    let config = &node.config;
    let server = AttestationServer {
        pki: &config.pki,
        platform: &config.platform,
        snp_chip: config.extensions.snp_chip.as_deref(),
        refuse_debug: config.extensions.refuse_debug,
        now: node.true_time(),
    };
    server.verify(evidence)
}

/// Share format: `share set id (16) || X (1) || data`.
fn spoil(mut material: Vec<u8>, misbehaviour: Misbehaviour) -> Vec<u8> {
    match misbehaviour {
        Misbehaviour::WrongShareSetId => material.iter_mut().take(16).for_each(|byte| *byte = !*byte),
        Misbehaviour::ForeignX(x) => material.iter_mut().skip(16).take(1).for_each(|byte| *byte = x),
        Misbehaviour::WrongShare => material.iter_mut().skip(17).for_each(|byte| *byte ^= 0x5a),
        Misbehaviour::Length(length) => material.resize(length, 0x5a),
        _ => {}
    }
    material
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_share_differs_in_one_part_only() {
        let good: Vec<u8> = [vec![0xaa; 16], vec![1], vec![0xbb; 32]].concat();
        let cases = [
            (Misbehaviour::None, [vec![0xaa; 16], vec![1], vec![0xbb; 32]].concat()),
            (Misbehaviour::WrongShareSetId, [vec![0x55; 16], vec![1], vec![0xbb; 32]].concat()),
            (Misbehaviour::ForeignX(2), [vec![0xaa; 16], vec![2], vec![0xbb; 32]].concat()),
            (Misbehaviour::WrongShare, [vec![0xaa; 16], vec![1], vec![0xe1; 32]].concat()),
            (Misbehaviour::Length(3), vec![0xaa; 3]),
        ];
        for (misbehaviour, want) in cases {
            assert_eq!(spoil(good.clone(), misbehaviour), want, "{misbehaviour:?}");
        }
    }
}
