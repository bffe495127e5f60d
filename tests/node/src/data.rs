//! `/data`: the vault's requests and its exact words.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::Value;
use sim_dcap::sha256;

use crate::connection::Session;
use crate::http::Answer;
use crate::issuer::GRANT_AUDIENCE;
use crate::policy::{Caller, Roles};
use crate::store::{Store, StoredKey};
use crate::wire::{Request, Response};
use crate::{Misbehaviour, Policy, clock};

const NOT_A_PRINCIPAL: &str = "caller is not in policy.principals (no OIDC subject or RA-TLS TEE matches the key's PrincipalSet)";
const NOT_FOUND: &str = "key not found";
const EXPIRED: &str = "key has expired";

/// Answers one vault request; what cannot be parsed is echoed.
pub(crate) fn answer(session: &Session<'_>, body: Vec<u8>, oidc: Option<&Value>) -> Answer {
    if session.misbehaviour == Misbehaviour::Echo {
        return Answer { status: 200, body };
    }
    let Ok(request) = serde_json::from_slice(&body) else {
        return Answer { status: 200, body };
    };
    let now = clock::now(session.node.config.clock_offset);
    let asking = Asking { session, oidc, now };
    let mut store = session.node.store();
    let response = asking.serve(&mut store, request);
    // A node that cannot keep what it promised says so, rather than losing a key at its next start.
    match store.save() {
        Ok(()) => Answer::json(200, &response),
        Err(error) => Answer::json(200, &Response::error(error.to_string())),
    }
}

/// One request's circumstances.
struct Asking<'a> {
    session: &'a Session<'a>,
    oidc: Option<&'a Value>,
    now: u64,
}

impl Asking<'_> {
    fn serve(&self, store: &mut Store, request: Request) -> Response {
        let result = match request {
            Request::CreateKey { handle, material_b64, grant } => self.create(store, handle, &material_b64, &grant),
            Request::ExportKey { handle } => self.export(store, &handle),
            Request::GetKeyInfo { handle } => self.known(store, &handle).map(|key| Response::KeyInfo(key.info(&handle))),
            Request::GetPolicy { handle } => self
                .known(store, &handle)
                .map(|key| Response::Policy { policy: key.policy.json.clone(), policy_version: key.policy_version }),
            Request::UpdatePolicy { handle, new_policy } => self.update(store, &handle, new_policy),
            Request::DeleteKey { handle } => self.permitted(store, &handle, "DeleteKey").map(drop).map(|()| {
                store.keys.remove(&handle);
                Response::KeyDeleted { handle }
            }),
            Request::ListKeys => self.list(store),
        };
        result.unwrap_or_else(Response::Error)
    }

    fn roles(&self, policy: &Policy) -> Roles {
        policy.roles(&Caller { oidc: self.oidc, tee: self.session.tee.as_ref() })
    }

    /// The key, if it exists and the caller is anybody to it.
    fn known<'s>(&self, store: &'s Store, handle: &str) -> Result<&'s StoredKey, String> {
        let key = store.keys.get(handle).ok_or(NOT_FOUND)?;
        if self.roles(&key.policy).is_nobody() {
            return Err(NOT_A_PRINCIPAL.to_owned());
        }
        Ok(key)
    }

    /// The key, if a rule of its policy lets the caller do `operation`.
    fn permitted<'s>(&self, store: &'s Store, handle: &str, operation: &str) -> Result<&'s StoredKey, String> {
        let key = self.known(store, handle)?;
        if !key.policy.permits(operation, &self.roles(&key.policy)) {
            return Err(format!("no OperationRule permits {operation} for this caller"));
        }
        Ok(key)
    }

    fn export(&self, store: &Store, handle: &str) -> Result<Response, String> {
        let node = self.session.node;
        node.count(|served| served.exports += 1);
        match self.session.misbehaviour {
            Misbehaviour::Deny => return Err(NOT_A_PRINCIPAL.to_owned()),
            Misbehaviour::Expired => return Err(EXPIRED.to_owned()),
            _ => {}
        }
        let key = self.permitted(store, handle, "ExportKey").inspect_err(|why| node.refused(why))?;
        if key.expires_at <= self.now {
            return Err(EXPIRED.to_owned());
        }
        if !key.exportable {
            return Err("key is not exportable".to_owned());
        }
        node.count(|served| served.released += 1);
        Ok(Response::KeyMaterial { material: spoil(key.material.clone(), self.session.misbehaviour), expires_at: key.expires_at })
    }

    fn create(&self, store: &mut Store, handle: String, material: &str, grant: &str) -> Result<Response, String> {
        let claims = self
            .session
            .node
            .config
            .issuer
            .check(grant, GRANT_AUDIENCE, self.now)
            .map_err(|claim| format!("grant refused: {claim}"))?;
        self.check_grant(&claims, &handle).map_err(|claim| format!("grant refused: {claim}"))?;
        let policy = claims.get("policy").cloned().unwrap_or_default();
        let policy = Policy::parse(policy).map_err(|error| error.to_string())?;
        let material = BASE64URL.decode(material).map_err(|_| "material_b64 is not base64url")?;
        if material.is_empty() {
            return Err("material is empty".to_owned());
        }
        if store.keys.contains_key(&handle) {
            return Err("key already exists".to_owned());
        }
        let key = StoredKey::new(material, policy, self.now);
        let expires_at = key.expires_at;
        store.keys.insert(handle.clone(), key);
        Ok(Response::KeyCreated { handle, expires_at })
    }

    /// What a grant says beyond who signed it, for whom and until when; else which claim is wrong.
    fn check_grant(&self, claims: &Value, handle: &str) -> Result<(), &'static str> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let scope = text("scope");
        let inside = handle == scope || handle.strip_prefix(scope).is_some_and(|rest| rest.starts_with('/'));
        if scope.is_empty() || !inside {
            return Err("scope");
        }
        if text("key_type") != "RawShare" {
            return Err("key_type");
        }
        if claims.get("exportable") != Some(&Value::Bool(true)) {
            return Err("exportable");
        }
        // Bound to the caller's TLS key: a grant that leaks is of no use to who finds it.
        let leaf = self.session.leaf.as_ref().map(|leaf| BASE64URL.encode(sha256(&leaf.der)));
        if leaf.is_none() || claims.pointer("/cnf/x5t#S256").and_then(Value::as_str) != leaf.as_deref() {
            return Err("cnf");
        }
        Ok(())
    }

    fn update(&self, store: &mut Store, handle: &str, new: Value) -> Result<Response, String> {
        let old = self.permitted(store, handle, "UpdatePolicy")?;
        let policy = Policy::parse(new).map_err(|error| error.to_string())?;
        if let Some(section) = old.policy.forbidden_change(&policy) {
            return Err(format!("policy section {section} may not be changed by this caller"));
        }
        let key = store.keys.get_mut(handle).ok_or(NOT_FOUND)?;
        key.policy = policy;
        key.policy_version += 1;
        // expires_at stays: a new policy does not prolong a key.
        Ok(Response::PolicyUpdated { policy_version: key.policy_version })
    }

    fn list(&self, store: &Store) -> Result<Response, String> {
        if self.oidc.is_none() {
            return Err("ListKeys needs an OIDC bearer".to_owned());
        }
        let mine = store.keys.iter().filter(|(_, key)| !self.roles(&key.policy).is_nobody());
        Ok(Response::KeyList { keys: mine.map(|(handle, key)| key.info(handle)).collect() })
    }
}

/// Disk keys are `generation (16) || X (1) || data`.
fn spoil(mut material: Vec<u8>, misbehaviour: Misbehaviour) -> Vec<u8> {
    match misbehaviour {
        Misbehaviour::WrongGeneration => material.iter_mut().take(16).for_each(|byte| *byte = !*byte),
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
    fn spoiled_material_differs_in_one_part_only() {
        let good: Vec<u8> = [vec![0xaa; 16], vec![1], vec![0xbb; 32]].concat();
        let cases = [
            (Misbehaviour::None, [vec![0xaa; 16], vec![1], vec![0xbb; 32]].concat()),
            (Misbehaviour::WrongGeneration, [vec![0x55; 16], vec![1], vec![0xbb; 32]].concat()),
            (Misbehaviour::ForeignX(2), [vec![0xaa; 16], vec![2], vec![0xbb; 32]].concat()),
            (Misbehaviour::WrongShare, [vec![0xaa; 16], vec![1], vec![0xe1; 32]].concat()),
            (Misbehaviour::Length(3), vec![0xaa; 3]),
        ];
        for (misbehaviour, want) in cases {
            assert_eq!(spoil(good.clone(), misbehaviour), want, "{misbehaviour:?}");
        }
    }
}
