//! The words of a self-run node's issuer: grants that create keys, and bearers that say who owns them. JWTs, ES256.
//!
//! Source: RFC 7515 (compact form), RFC 7518 section 3.4 (raw `r || s`), wire.md section 3 (claims).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::Error;
use crate::policy::Owner;

/// `aud` of a grant to create a key.
const GRANT_AUDIENCE: &str = "privasys-vault-keycreate";
/// `aud` of an owner's bearer.
const OWNER_AUDIENCE: &str = "privasys-vault";
/// How long a token is good for, in seconds: one run of this tool, at a node whose clock is minutes off.
const LIFE: u64 = 600;

/// An issuer's signing key.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    /// Reads PKCS#8, PEM or DER.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pem = PrivatePkcs8KeyDer::from_pem_slice(bytes).ok();
        let der = pem.as_ref().map_or(bytes, PrivatePkcs8KeyDer::secret_pkcs8_der);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).map_err(|_| Error::IssuerKey)?;
        Ok(Self { pair, random })
    }

    /// Grants the holder of `leaf`, a DER certificate, the making of the one key `handle` under `policy`.
    pub(crate) fn grant(&self, owner: &Owner, handle: &str, policy: &Value, leaf: &[u8]) -> Result<String, Error> {
        self.sign(&json!({
            "iss": owner.issuer,
            "aud": GRANT_AUDIENCE,
            "sub": owner.sub,
            "scope": handle,
            "key_type": "RawShare",
            "exportable": true,
            "policy": policy,
            "exp": now() + LIFE,
            "cnf": { "x5t#S256": BASE64URL.encode(digest(&SHA256, leaf)) },
        }))
    }

    /// Speaks for `owner`. Bound to no connection, so it is for proved nodes only.
    pub(crate) fn bearer(&self, owner: &Owner) -> Result<String, Error> {
        self.sign(&json!({
            "iss": owner.issuer,
            "aud": OWNER_AUDIENCE,
            "sub": owner.sub,
            "roles": owner.roles,
            "exp": now() + LIFE,
        }))
    }

    fn sign(&self, claims: &Value) -> Result<String, Error> {
        let header = json!({ "alg": "ES256", "typ": "JWT" });
        let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).map_err(|_| Error::Random)?;
        Ok(format!("{signed}.{}", BASE64URL.encode(signature)))
    }
}

/// Unix seconds by this machine. Not the verification time: that may be a recorded one.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    fn owner() -> Owner {
        Owner { issuer: "https://issuer.example".to_owned(), sub: "owner-1".to_owned(), roles: vec!["keys".to_owned()] }
    }

    /// Header and claims of a token whose signature `key` made.
    fn open(key: &sim_dcap::Key, token: &str) -> (Value, Value) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64URL.decode(signature).unwrap();
        assert_eq!(signature.len(), 64);
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4][..], &key.public()].concat());
        public.verify(signed.as_bytes(), &signature).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let read = |part: &str| serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap();
        (read(header), read(claims))
    }

    #[test]
    fn tokens_have_the_shape_of_the_nodes_own_issuer() {
        let key = sim_dcap::Key::generate().unwrap();
        let signer = Signer::read(&key.pkcs8()).unwrap();
        let issuer = vault_node::Issuer { url: owner().issuer, ..vault_node::Issuer::with_key(key.clone()) };
        let policy = json!({ "version": 1 });
        let exp = |claims: &Value| claims["exp"].as_u64().unwrap();

        let (header, claims) = open(&key, &signer.grant(&owner(), "apps/h", &policy, b"leaf").unwrap());
        let grant =
            vault_node::Grant { sub: "owner-1", scope: "apps/h", policy: &policy, exp: exp(&claims), caller_leaf: b"leaf" };
        let (same, want) = open(&key, &issuer.sign_without_kid(&issuer.grant_claims(&grant)).unwrap());
        assert_eq!((header, &claims), (same, &want));

        let (_, claims) = open(&key, &signer.bearer(&owner()).unwrap());
        let (_, want) = open(&key, &issuer.bearer("owner-1", &["keys"], exp(&claims)).unwrap());
        assert_eq!(claims, want);
        assert!((now() + LIFE - 60..=now() + LIFE).contains(&exp(&claims)));
    }

    #[test]
    fn issuer_key_is_p256_in_pkcs8() {
        let key = sim_dcap::Key::generate().unwrap();
        let pem = |label: &str| sim_dcap::pem(label, &key.pkcs8()).into_bytes();
        let cases = [
            ("der", key.pkcs8(), true),
            ("pem", pem("PRIVATE KEY"), true),
            ("another label", pem("EC PRIVATE KEY"), false),
            ("public key", key.spki(), false),
            ("empty", Vec::new(), false),
            ("cut", key.pkcs8()[..60].to_vec(), false),
        ];
        for (name, bytes, good) in cases {
            assert_eq!(Signer::read(&bytes).is_ok(), good, "{name}");
        }
    }
}
