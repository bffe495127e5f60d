//! CreateKey: the checks of a grant before a key is created.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap::sha256;
use serde::Deserialize;
use serde_json::Value;

use crate::data::Request;
use crate::policy::Policy;
use crate::store::{Store, StoredKey};
use crate::wire::{KeyType, Response};
use crate::{GRANT_AUDIENCE, texts};

/// The claims of a grant. A missing claim or one of another type makes the grant invalid.
#[derive(Deserialize)]
struct Grant {
    iss: String,
    aud: String,
    sub: String,
    scope: String,
    key_type: KeyType,
    exportable: bool,
    policy: Value,
    exp: u64,
    cnf: Option<Confirmation>,
}

/// The certificate of the client that may use the grant.
#[derive(Deserialize)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    leaf: String,
}

impl Request<'_> {
    /// Creates the key after the checks in the node's order: the caller gets the first failure.
    pub(crate) fn create(&self, store: &mut Store, handle: &str, material: &str, grant: &str) -> Result<Response, String> {
        if handle.is_empty() {
            return Err(texts::NO_HANDLE.to_owned());
        }
        if handle.starts_with("__") {
            return Err(texts::RESERVED_HANDLE.to_owned());
        }
        let (grant, policy) = self.verify_grant(grant)?;
        let is_inside = handle == grant.scope || handle.strip_prefix(&grant.scope).is_some_and(|rest| rest.starts_with('/'));
        if !is_inside {
            return Err(texts::outside_scope(handle, &grant.scope));
        }
        if !policy.is_owned_by(&grant.sub) {
            return Err(texts::GRANT_OWNER.to_owned());
        }
        let material = BASE64URL.decode(material).map_err(|error| format!("bad base64: {error}"))?;
        if material.is_empty() {
            return Err(texts::NO_MATERIAL.to_owned());
        }
        if store.keys.contains_key(handle) {
            return Err(texts::EXISTS.to_owned());
        }
        let mut key = StoredKey::new(material, policy, self.now);
        (key.key_type, key.exportable) = (grant.key_type, grant.exportable);
        key.log(self.now, &self.name(), "CreateKey", Ok(&format!("owner={}", grant.sub)));
        let expires_at = key.expires_at;
        store.keys.insert(handle.to_owned(), key);
        Ok(Response::KeyCreated { handle: handle.to_owned(), expires_at })
    }

    fn verify_grant(&self, token: &str) -> Result<(Grant, Policy), String> {
        let config = &self.session.node.config;
        let claims = config.issuer.claims(token).map_err(texts::grant_unverified)?;
        let grant: Grant = serde_json::from_value(claims).map_err(|error| texts::grant_unverified(&error.to_string()))?;
        let policy = Policy::read(grant.policy.clone(), &config.extensions);
        let policy = policy.map_err(|error| texts::grant_unverified(&error.to_string()))?;
        if grant.iss != config.issuer.url {
            return Err(texts::grant_issuer(&grant.iss));
        }
        if grant.aud != GRANT_AUDIENCE {
            return Err(texts::grant_audience(&grant.aud));
        }
        if self.now >= grant.exp {
            return Err(texts::GRANT_EXPIRED.to_owned());
        }
        // The grant is bound to the caller's TLS key: another client cannot use a leaked grant.
        let leaf = self.session.leaf.as_ref().ok_or(texts::GRANT_NO_CERTIFICATE)?;
        let bound = grant.cnf.as_ref().ok_or(texts::GRANT_UNBOUND)?;
        if bound.leaf != BASE64URL.encode(sha256(&leaf.der)) {
            return Err(texts::GRANT_CNF.to_owned());
        }
        Ok((grant, policy))
    }
}
