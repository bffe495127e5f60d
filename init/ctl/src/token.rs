//! Grants, which allow the creation of a key, and bearer tokens, which identify its owner: JWTs with ES256, signed with the issuer's key.
//!
//! Source: RFC 7515 (compact form), RFC 7518 section 3.4 (raw `r || s`), key-server-protocol.md, section 4 (claims).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use vault::operator::Token;
use zeroize::Zeroizing;

use crate::Error;
use crate::credentials::CredentialError;
use crate::policy::Owner;

/// `aud` of a grant to create a key.
pub(crate) const GRANT_AUDIENCE: &str = "privasys-vault-keycreate";
/// Default `aud` of an owner's bearer token. Each node's operator configures it.
const OWNER_AUDIENCE: &str = "privasys-vault";
/// Lifetime of a token, in seconds by the node's clock: one run of this tool.
const LIFE: u64 = 600;

/// An issuer's signing key.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    /// Its id in the issuer's JWKS. Without it nodes use the first key.
    kid: Option<String>,
    audience: String,
}

/// The key that a grant allows to create.
pub(crate) struct Granted<'a> {
    pub(crate) handle: &'a str,
    pub(crate) policy: &'a Value,
    /// SHA-256 of the certificate of the client that can use the grant, in base64url.
    pub(crate) thumbprint: &'a str,
}

impl Signer {
    /// Parses PKCS#8, PEM or DER.
    pub(crate) fn read(bytes: &[u8], kid: Option<String>, audience: Option<String>) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pem = PrivatePkcs8KeyDer::from_pem_slice(bytes).ok().map(Zeroizing::new);
        let der = pem.as_ref().map_or(bytes, |pem| pem.secret_pkcs8_der());
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).map_err(|_| Error::IssuerKey)?;
        Ok(Self { pair, random, kid, audience: audience.unwrap_or_else(|| OWNER_AUDIENCE.to_owned()) })
    }

    /// Signs a grant for one key, for a node whose clock is at `time`.
    pub(crate) fn grant(&self, owner: &Owner, granted: &Granted<'_>, time: u64) -> Result<Token, CredentialError> {
        self.sign(&json!({
            "iss": owner.issuer,
            "aud": GRANT_AUDIENCE,
            "sub": owner.sub,
            "scope": granted.handle,
            "key_type": "RawShare",
            "exportable": true,
            "policy": granted.policy,
            "exp": time + LIFE,
            "cnf": { "x5t#S256": granted.thumbprint },
        }))
    }

    /// Signs a bearer token for `owner`, for a node whose clock is at `time`. It is not bound to a connection, so send it only to a verified node.
    pub(crate) fn bearer(&self, owner: &Owner, time: u64) -> Result<Token, CredentialError> {
        self.sign(&json!({
            "iss": owner.issuer,
            "aud": self.audience,
            "sub": owner.sub,
            "roles": owner.roles,
            "exp": time + LIFE,
        }))
    }

    fn sign(&self, claims: &Value) -> Result<Token, CredentialError> {
        let mut header = json!({ "alg": "ES256", "typ": "JWT" });
        if let (Some(kid), Some(header)) = (&self.kid, header.as_object_mut()) {
            header.insert("kid".to_owned(), kid.as_str().into());
        }
        let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).map_err(|_| CredentialError::Sign)?;
        let token = Zeroizing::new(format!("{signed}.{}", BASE64URL.encode(signature)));
        Token::new(token.as_bytes()).map_err(|_| CredentialError::Sign)
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    fn owner() -> Owner {
        Owner { issuer: "https://issuer.example".to_owned(), sub: "owner-1".to_owned(), roles: vec!["keys".to_owned()] }
    }

    /// Header and claims of a token whose signature `key` made.
    fn open(key: &dcap::Key, token: &str) -> (Value, Value) {
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
        let key = dcap::Key::generate().unwrap();
        let signer = Signer::read(&key.pkcs8(), None, None).unwrap();
        let issuer = vault_node::Issuer { url: owner().issuer, ..vault_node::Issuer::with_key(key.clone()) };
        let policy = json!({ "version": 1 });

        let thumbprint = BASE64URL.encode(ring::digest::digest(&ring::digest::SHA256, b"leaf"));
        let granted = Granted { handle: "apps/h", policy: &policy, thumbprint: &thumbprint };
        let (header, claims) = open(&key, signer.grant(&owner(), &granted, 1000).unwrap().expose());
        let grant = vault_node::Grant { sub: "owner-1", scope: "apps/h", policy: &policy, exp: 1600, caller_leaf: b"leaf" };
        let (same, want) = open(&key, &issuer.sign_without_kid(&issuer.grant_claims(&grant)).unwrap());
        assert_eq!((header, &claims), (same, &want));

        let (_, claims) = open(&key, signer.bearer(&owner(), 1000).unwrap().expose());
        let (_, want) = open(&key, &issuer.bearer("owner-1", &["keys"], 1600).unwrap());
        assert_eq!(claims, want);
    }

    #[test]
    fn key_id_and_audience_are_what_the_operator_says() {
        let key = dcap::Key::generate().unwrap();
        let signer = Signer::read(&key.pkcs8(), Some("key-7".to_owned()), Some("vault-eu".to_owned())).unwrap();
        let (header, claims) = open(&key, signer.bearer(&owner(), 0).unwrap().expose());
        assert_eq!((&header["kid"], &claims["aud"]), (&json!("key-7"), &json!("vault-eu")));
    }

    #[test]
    fn issuer_key_is_p256_in_pkcs8() {
        let key = dcap::Key::generate().unwrap();
        let pem = |label: &str| dcap::pem(label, &key.pkcs8()).into_bytes();
        let cases = [
            ("der", key.pkcs8(), true),
            ("pem", pem("PRIVATE KEY"), true),
            ("another label", pem("EC PRIVATE KEY"), false),
            ("public key", key.spki(), false),
            ("empty", Vec::new(), false),
            ("cut", key.pkcs8()[..60].to_vec(), false),
        ];
        for (name, bytes, good) in cases {
            assert_eq!(Signer::read(&bytes, None, None).is_ok(), good, "{name}");
        }
    }
}
