//! The node's OIDC issuer: who may create keys, and who owns them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use sim_dcap::{Key, sha256};

use crate::{Error, jwt};

/// `aud` of a grant to create a key.
pub const GRANT_AUDIENCE: &str = "privasys-vault-keycreate";
/// `aud` of an owner's bearer.
pub const OWNER_AUDIENCE: &str = "privasys-vault";

/// An issuer with one ES256 key, as a self-run node has it.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `iss` of everything it signs.
    pub url: String,
    /// The signing key.
    pub key: Key,
}

/// What a grant to create one key says.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// The owner to be.
    pub sub: &'a str,
    /// The handle, or what it begins with before a slash.
    pub scope: &'a str,
    /// The key's whole policy.
    pub policy: &'a Value,
    /// When the grant ends, in unix seconds.
    pub exp: u64,
    /// DER of the TLS leaf of whoever may use the grant.
    pub caller_leaf: &'a [u8],
}

impl Issuer {
    /// The issuer's usual name.
    pub const URL: &'static str = "https://issuer.simulated.invalid";

    /// An issuer with a fresh key and the usual name.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self { url: Self::URL.to_owned(), key: Key::generate()? })
    }

    /// The issuer whose P-256 key is in `path` as PKCS#8, PEM or DER; made, and written as PEM, if there is none.
    pub fn load_or_make(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            let issuer = Self::generate()?;
            fs::write(path, sim_dcap::pem("PRIVATE KEY", &issuer.key.pkcs8())).map_err(Error::file(path))?;
            return Ok(issuer);
        }
        let bytes = fs::read(path).map_err(Error::file(path))?;
        let der = std::str::from_utf8(&bytes).ok().and_then(from_pem).unwrap_or(bytes);
        Ok(Self { url: Self::URL.to_owned(), key: Key::from_pkcs8(&der)? })
    }

    /// Signs a grant to create a `RawShare` that can be exported.
    pub fn grant(&self, grant: &Grant<'_>) -> Result<String, Error> {
        self.sign(&self.grant_claims(grant))
    }

    /// The claims of [`Issuer::grant`], for cases that change one of them before [`Issuer::sign`].
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

    /// Signs the bearer of an owner (or manager, or auditor) with these roles.
    pub fn bearer(&self, sub: &str, roles: &[&str], exp: u64) -> Result<String, Error> {
        self.sign(&json!({ "iss": self.url, "aud": OWNER_AUDIENCE, "sub": sub, "roles": roles, "exp": exp }))
    }

    /// Signs any claims.
    pub fn sign(&self, claims: &Value) -> Result<String, Error> {
        jwt::sign(&self.key, claims)
    }

    /// The claims of a token this issuer signed for `audience` and that has not ended at `now`; else which claim is
    /// wrong.
    pub(crate) fn check(&self, token: &str, audience: &str, now: u64) -> Result<Value, &'static str> {
        let claims = jwt::verify(&self.key, token).ok_or("signature")?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(&self.url) {
            return Err("iss");
        }
        // A string, not a list: the wire says so.
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
    fn check_names_the_claim_that_is_wrong() {
        let (issuer, stranger) = (Issuer::generate().unwrap(), Issuer::generate().unwrap());
        let good = json!({ "iss": issuer.url, "aud": "a", "sub": "s", "exp": 10 });
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            issuer.check(&issuer.sign(&claims).unwrap(), "a", 9).map(|_| ())
        };
        assert_eq!(with("exp", json!(10)), Ok(()));
        assert_eq!(with("iss", json!("other")), Err("iss"));
        assert_eq!(with("aud", json!(["a"])), Err("aud"));
        assert_eq!(with("sub", json!("")), Err("sub"));
        assert_eq!(with("exp", json!(9)), Err("exp"));
        assert_eq!(issuer.check(&stranger.sign(&good).unwrap(), "a", 9), Err("signature"));
    }
}
