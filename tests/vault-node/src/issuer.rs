//! The node's OIDC issuer: signs grants to create keys, and bearer tokens of owners.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL};
use dcap::{Key, sha256};
use serde_json::{Value, json};

use crate::{Error, jwt};

/// The `aud` of a grant to create a key.
pub const GRANT_AUDIENCE: &str = "privasys-vault-keycreate";
/// The `aud` of an owner's bearer token.
pub const OWNER_AUDIENCE: &str = "privasys-vault";

/// An issuer as a node knows it: its name, and the ES256 keys of its JWKS.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub url: String,
    /// The signing key.
    pub key: Key,
    /// The name of the signing key in the JWKS.
    pub kid: String,
    /// Other keys with their names, before the signing key in the JWKS.
    pub keys_before: Vec<(String, Key)>,
}

/// The content of a grant to create one key.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// The future owner.
    pub sub: &'a str,
    /// The handle, or its prefix before a slash.
    pub scope: &'a str,
    /// The whole policy of the key.
    pub policy: &'a Value,
    /// When the grant expires, in Unix seconds.
    pub exp: u64,
    /// DER of the TLS certificate that may use the grant.
    pub caller_leaf: &'a [u8],
}

impl Issuer {
    /// The default name of the issuer.
    pub const URL: &'static str = "https://issuer.simulated.invalid";

    /// An issuer with a new key and the default name.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self::with_key(Key::generate()?))
    }

    /// An issuer with only this key and the default names.
    #[must_use]
    pub fn with_key(key: Key) -> Self {
        Self { url: Self::URL.to_owned(), key, kid: "key-1".to_owned(), keys_before: Vec::new() }
    }

    /// The issuer whose P-256 key is in `path` as PKCS#8, PEM or DER; if the file is missing, a new key is written as PEM.
    pub fn load_or_make(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            let issuer = Self::generate()?;
            fs::write(path, dcap::pem("PRIVATE KEY", &issuer.key.pkcs8())).map_err(Error::file(path))?;
            return Ok(issuer);
        }
        let bytes = fs::read(path).map_err(Error::file(path))?;
        let der = std::str::from_utf8(&bytes).ok().and_then(from_pem).unwrap_or(bytes);
        Ok(Self::with_key(Key::from_pkcs8(&der)?))
    }

    /// Signs a grant to create a `RawShare` that can be exported.
    pub fn grant(&self, grant: &Grant<'_>) -> Result<String, Error> {
        self.sign(&self.grant_claims(grant))
    }

    /// The claims of [`Issuer::grant`], for tests that change one of them before [`Issuer::sign`].
    #[must_use]
    pub fn grant_claims(&self, grant: &Grant<'_>) -> Value {
        json!({
            "iss": self.url,
            "aud": GRANT_AUDIENCE,
            "sub": grant.sub,
            "scope": grant.scope,
            "key_type": "RawShare",
            "exportable": true,
            "policy": grant.policy,
            "exp": grant.exp,
            "cnf": { "x5t#S256": BASE64URL.encode(sha256(grant.caller_leaf)) },
        })
    }

    /// Signs the bearer token of an owner, manager or auditor with these roles.
    pub fn bearer(&self, sub: &str, roles: &[&str], exp: u64) -> Result<String, Error> {
        self.sign(&json!({ "iss": self.url, "aud": OWNER_AUDIENCE, "sub": sub, "roles": roles, "exp": exp }))
    }

    /// Signs claims with the signing key, with its `kid`.
    pub fn sign(&self, claims: &Value) -> Result<String, Error> {
        jwt::sign(&self.key, Some(&self.kid), claims)
    }

    /// Signs claims with the signing key, without `kid`: a node then uses the first key of the JWKS.
    pub fn sign_without_kid(&self, claims: &Value) -> Result<String, Error> {
        jwt::sign(&self.key, None, claims)
    }

    /// The claims of a token signed by a key of the JWKS: the key that `kid` names, or the first.
    ///
    /// Source: key-server-protocol.md, section 4.1.
    pub(crate) fn claims(&self, token: &str) -> Result<Value, &'static str> {
        let header = jwt::header(token).ok_or("malformed token")?;
        let mut keys = self.keys_before.iter().map(|(kid, key)| (kid, key)).chain([(&self.kid, &self.key)]);
        let key = match header.get("kid").and_then(Value::as_str) {
            Some(kid) => keys.find(|(known, _)| **known == kid),
            None => keys.next(),
        };
        let (_, key) = key.ok_or("no key with this kid")?;
        jwt::verify(key, token).ok_or("signature")
    }

    /// The claims of a bearer token for `audience` that is valid at `now`; otherwise the mistake.
    pub(crate) fn check_bearer(&self, token: &str, audience: &str, now: u64) -> Result<Value, &'static str> {
        let claims = self.claims(token)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(&self.url) {
            return Err("iss");
        }
        if text("aud") != Some(audience) {
            return Err("aud");
        }
        if text("sub").is_none_or(str::is_empty) {
            return Err("sub");
        }
        if claims.get("exp").and_then(Value::as_u64).is_none_or(|exp| exp <= now) {
            return Err("exp");
        }
        Ok(claims)
    }
}

fn from_pem(text: &str) -> Option<Vec<u8>> {
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    text.starts_with("-----BEGIN").then(|| STANDARD.decode(body).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_in_a_file_is_the_key_that_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("issuer.pem");
        let made = Issuer::load_or_make(&path).unwrap();
        let read = Issuer::load_or_make(&path).unwrap();
        assert_eq!(made.key.public(), read.key.public());
    }

    #[test]
    fn a_bearer_is_refused_for_the_claim_that_is_wrong() {
        let (issuer, stranger) = (Issuer::generate().unwrap(), Issuer::generate().unwrap());
        let good = json!({ "iss": issuer.url, "aud": "a", "sub": "s", "exp": 10 });
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            issuer.check_bearer(&issuer.sign(&claims).unwrap(), "a", 9).map(|_| ())
        };
        assert_eq!(with("exp", json!(10)), Ok(()));
        assert_eq!(with("iss", json!("other")), Err("iss"));
        assert_eq!(with("aud", json!(["a"])), Err("aud"));
        assert_eq!(with("sub", json!("")), Err("sub"));
        assert_eq!(with("exp", json!(9)), Err("exp"));
        assert_eq!(issuer.check_bearer(&stranger.sign(&good).unwrap(), "a", 9), Err("signature"));
    }

    #[test]
    fn kid_selects_the_key_and_the_first_is_the_default() {
        let claims = json!({ "sub": "s" });
        let mut issuer = Issuer::generate().unwrap();
        let retired = Key::generate().unwrap();
        assert_eq!(issuer.claims(&issuer.sign_without_kid(&claims).unwrap()), Ok(claims.clone()), "one key");
        issuer.keys_before.push(("key-0".to_owned(), retired.clone()));
        assert_eq!(issuer.claims(&issuer.sign(&claims).unwrap()), Ok(claims.clone()));
        assert_eq!(issuer.claims(&issuer.sign_without_kid(&claims).unwrap()), Err("signature"), "the first is another");
        assert_eq!(issuer.claims(&jwt::sign(&retired, None, &claims).unwrap()), Ok(claims.clone()));
        assert_eq!(issuer.claims(&jwt::sign(&retired, Some("key-1"), &claims).unwrap()), Err("signature"));
        assert_eq!(issuer.claims(&jwt::sign(&retired, Some("key-9"), &claims).unwrap()), Err("no key with this kid"));
        assert_eq!(issuer.claims("x.y.z"), Err("malformed token"));
    }
}
