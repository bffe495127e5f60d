//! Credentials of the operator at the nodes: a key of the nodes' issuer, or tokens that an identity provider issued.

use serde_json::Value;
use vault::operator::{NodeText, Token};

use crate::Error;
use crate::policy::{self, Owner};
use crate::token::{GRANT_AUDIENCE, Granted, Signer};

/// The least remaining validity of a given token, in seconds by the node's clock.
const LIFE_MIN: u64 = 60;

/// The source of grants and bearer tokens.
#[derive(Default)]
pub struct Credentials {
    signer: Option<Signer>,
    grant: Option<Token>,
    bearer: Option<Token>,
}

/// A token for one node.
pub(crate) enum Lent<'a> {
    Given(&'a Token),
    Made(Token),
}

impl std::ops::Deref for Lent<'_> {
    type Target = Token;

    fn deref(&self) -> &Token {
        match self {
            Self::Given(token) => token,
            Self::Made(token) => token,
        }
    }
}

/// Why there is no usable credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No source of grants was given.
    #[error("no grant: give --issuer-key, or a JWT of the nodes' identity provider with --grant-fd")]
    NoGrant,
    /// No source of bearer tokens was given.
    #[error("no bearer token of the owner: give --issuer-key, or a JWT of the nodes' identity provider with --bearer-fd")]
    NoBearer,
    /// The owner is unknown, for whom the issuer's key would sign.
    #[error("no owner for the bearer token: give --issuer and --owner-sub")]
    NoOwner,
    /// The given grant is not usable.
    #[error("the grant: {0}")]
    Grant(TokenMistake),
    /// The given bearer token is not usable.
    #[error("the bearer token: {0}")]
    Bearer(TokenMistake),
    /// Signing failed.
    #[error("signing a token")]
    Sign,
}

/// Why a given token is not usable. It is checked before it is sent, and before a key is generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenMistake {
    /// The claims are not JSON.
    #[error("its claims are not JSON")]
    Claims,
    /// A claim has a wrong value.
    #[error("its claim {claim} is {found}; expected {wanted}")]
    Claim {
        /// The claim.
        claim: &'static str,
        /// Its value.
        found: String,
        /// The expected value.
        wanted: String,
    },
    /// The token is expired or expires soon, by the node's clock.
    #[error("it expires at {exp} (Unix seconds), and the node's clock is at {time}: have a new one issued")]
    Expired {
        /// `exp`.
        exp: u64,
        /// The node's clock.
        time: u64,
    },
}

impl Credentials {
    /// Uses a key of the issuer: P-256, PKCS#8 in PEM or DER. `kid` is its id in the issuer's JWKS, `audience` the audience of bearer tokens.
    ///
    /// # Errors
    /// [`Error::IssuerKey`].
    pub fn of_issuer(key: &[u8], kid: Option<String>, audience: Option<String>) -> Result<Self, Error> {
        Ok(Self { signer: Some(Signer::read(key, kid, audience)?), ..Self::default() })
    }

    /// Uses tokens of an identity provider.
    #[must_use]
    pub fn given(grant: Option<Token>, bearer: Option<Token>) -> Self {
        Self { signer: None, grant, bearer }
    }

    /// Checks, before any connection, that there are sources of grants and bearer tokens.
    pub(crate) fn check(&self, creates: bool) -> Result<(), CredentialError> {
        let has = |token: &Option<Token>| token.is_some() || self.signer.is_some();
        if creates && !has(&self.grant) {
            return Err(CredentialError::NoGrant);
        }
        if has(&self.bearer) { Ok(()) } else { Err(CredentialError::NoBearer) }
    }

    /// Whether bearer tokens are signed here, for which the owner must be known.
    pub(crate) fn signs(&self) -> bool {
        self.bearer.is_none()
    }

    /// The policy in the given grant.
    #[must_use]
    pub fn granted_policy(&self) -> Option<Value> {
        self.grant.as_ref()?.claims()?.get("policy").cloned()
    }

    /// A bearer token for `owner`; without `owner`, the given token for any owner.
    pub(crate) fn bearer(&self, owner: Option<&Owner>, time: u64) -> Result<Lent<'_>, CredentialError> {
        if let Some(token) = &self.bearer {
            check_bearer(token, owner, time).map_err(CredentialError::Bearer)?;
            return Ok(Lent::Given(token));
        }
        let signer = self.signer.as_ref().ok_or(CredentialError::NoBearer)?;
        Ok(Lent::Made(signer.bearer(owner.ok_or(CredentialError::NoOwner)?, time)?))
    }

    /// A grant for one key, at a node whose clock is at `time`.
    pub(crate) fn grant(&self, owner: &Owner, granted: &Granted<'_>, time: u64) -> Result<Lent<'_>, CredentialError> {
        if let Some(token) = &self.grant {
            check_grant(token, owner, granted, time).map_err(CredentialError::Grant)?;
            return Ok(Lent::Given(token));
        }
        let signer = self.signer.as_ref().ok_or(CredentialError::NoGrant)?;
        Ok(Lent::Made(signer.grant(owner, granted, time)?))
    }
}

fn check_bearer(token: &Token, owner: Option<&Owner>, time: u64) -> Result<(), TokenMistake> {
    let claims = token.claims().ok_or(TokenMistake::Claims)?;
    if let Some(owner) = owner {
        expect(&claims, "iss", &owner.issuer)?;
        expect(&claims, "sub", &owner.sub)?;
    }
    check_life(&claims, time)
}

fn check_grant(token: &Token, owner: &Owner, granted: &Granted<'_>, time: u64) -> Result<(), TokenMistake> {
    let claims = token.claims().ok_or(TokenMistake::Claims)?;
    expect(&claims, "iss", &owner.issuer)?;
    expect(&claims, "aud", GRANT_AUDIENCE)?;
    expect(&claims, "sub", &owner.sub)?;
    expect(&claims, "key_type", "RawShare")?;
    let wrong = |claim, wanted: String| {
        let found = claims.get(claim).map_or_else(|| "absent".to_owned(), |value| vault::operator::escape(&value.to_string()));
        TokenMistake::Claim { claim, found, wanted }
    };
    if claims.get("exportable") != Some(&Value::Bool(true)) {
        return Err(wrong("exportable", "true".to_owned()));
    }
    let scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    let is_inside = |scope: &str| granted.handle.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if scope.is_empty() || !is_inside(scope) {
        return Err(wrong("scope", format!("{} or a prefix of it that ends before a slash", granted.handle)));
    }
    // Without cnf the grant would be bound to an attested app, and an operator is not one.
    if claims.pointer("/cnf/x5t#S256").and_then(Value::as_str) != Some(granted.thumbprint) {
        return Err(wrong("cnf", format!("{{\"x5t#S256\":\"{}\"}}, the hash of --client-key", granted.thumbprint)));
    }
    let differences = policy::differences(granted.policy, claims.get("policy").unwrap_or(&Value::Null));
    if let Some(difference) = differences.first() {
        return Err(TokenMistake::Claim {
            claim: "policy",
            found: format!("different at {}", difference.place),
            wanted: "the policy that was given".to_owned(),
        });
    }
    check_life(&claims, time)
}

fn expect(claims: &Value, claim: &'static str, wanted: &str) -> Result<(), TokenMistake> {
    let found = claims.get(claim);
    if found.and_then(Value::as_str) == Some(wanted) {
        return Ok(());
    }
    let found = found.map_or_else(|| "absent".to_owned(), |value| vault::operator::escape(&value.to_string()));
    Err(TokenMistake::Claim { claim, found, wanted: format!("\"{}\"", NodeText::new(wanted)) })
}

fn check_life(claims: &Value, time: u64) -> Result<(), TokenMistake> {
    // A NumericDate may have a fraction (RFC 7519).
    let exp = claims.get("exp").and_then(|exp| exp.as_u64().or_else(|| exp.as_f64()?.trunc().to_string().parse().ok()));
    match exp {
        Some(exp) if exp > time + LIFE_MIN => Ok(()),
        exp => Err(TokenMistake::Expired { exp: exp.unwrap_or(0), time }),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn owner() -> Owner {
        Owner { issuer: "https://issuer.example".to_owned(), sub: "owner-1".to_owned(), roles: Vec::new() }
    }

    fn token(claims: &Value) -> Token {
        Token::new(format!("e30.{}.AA", URL_SAFE_NO_PAD.encode(claims.to_string())).as_bytes()).unwrap()
    }

    #[test]
    fn wrong_grants_are_seen_before_they_are_sent() {
        let policy = json!({ "version": 1 });
        let granted = Granted { handle: "apps/a/key", policy: &policy, thumbprint: "print" };
        let good = json!({
            "iss": "https://issuer.example", "aud": "privasys-vault-keycreate", "sub": "owner-1", "scope": "apps/a",
            "key_type": "RawShare", "exportable": true, "policy": policy, "exp": 2000, "cnf": { "x5t#S256": "print" },
        });
        let with = |claim: &str, value: Value| {
            let mut claims = good.clone();
            claims[claim] = value;
            check_grant(&token(&claims), &owner(), &granted, 1000).map_err(|mistake| mistake.to_string())
        };
        assert_eq!(with("scope", json!("apps/a/key")), Ok(()));
        let cases = [
            (
                "iss",
                json!("https://other.example"),
                "its claim iss is \"https://other.example\"; expected \"https://issuer.example\"",
            ),
            ("aud", json!(["privasys-vault-keycreate"]), "its claim aud is [\"privasys-vault-keycreate\"]; expected"),
            ("sub", json!("\u{1b}[2J"), "its claim sub is \"\\u001b[2J\"; expected \"owner-1\""),
            ("iss", json!("x"), "its claim iss is \"x\"; expected \"https://issuer.example\""),
            ("scope", json!("apps/a/k"), "its claim scope is \"apps/a/k\"; expected apps/a/key or"),
            ("scope", json!(""), "its claim scope is \"\"; expected"),
            ("key_type", json!("Aes256GcmKey"), "its claim key_type is"),
            ("exportable", json!("true"), "its claim exportable is \"true\"; expected true"),
            ("cnf", json!(null), "its claim cnf is null; expected {\"x5t#S256\":\"print\"}"),
            ("policy", json!({ "version": 2 }), "its claim policy is different at /version"),
            ("exp", json!(1060), "it expires at 1060 (Unix seconds), and the node's clock is at 1000"),
            ("exp", json!("soon"), "it expires at 0"),
        ];
        for (claim, value, want) in cases {
            let message = with(claim, value.clone()).unwrap_err();
            assert!(message.starts_with(want), "{claim} {value}: {message}");
        }
    }

    #[test]
    fn bearers_must_speak_for_the_owner_for_a_while_longer() {
        let with = |iss: &str, sub: &str, exp: Value, owner: Option<&Owner>| {
            check_bearer(&token(&json!({ "iss": iss, "sub": sub, "exp": exp })), owner, 1000).is_ok()
        };
        let (owner, issuer) = (owner(), "https://issuer.example");
        assert!(with(issuer, "owner-1", json!(1500), Some(&owner)) && with(issuer, "owner-1", json!(1500.5), Some(&owner)));
        assert!(!with(issuer, "owner-2", json!(1500), Some(&owner)) && with(issuer, "owner-2", json!(1500), None));
        assert!(!with("https://x.example", "owner-1", json!(1500), Some(&owner)));
        assert!(!with(issuer, "owner-1", json!(1001), Some(&owner)) && !with(issuer, "owner-1", json!(null), None));
        let nothing = Credentials::default();
        assert!(matches!(nothing.bearer(Some(&owner), 0), Err(CredentialError::NoBearer)));
        let hostile = Owner { issuer: "\u{1b}[2J".to_owned(), ..owner.clone() };
        let message = check_bearer(&token(&json!({ "iss": "x" })), Some(&hostile), 0).unwrap_err().to_string();
        assert_eq!(message, "its claim iss is \"x\"; expected \"\\u{1b}[2J\"", "a policy file may come from another person");
        assert!(check_bearer(&Token::new(b"a.b.c").unwrap(), None, 0) == Err(TokenMistake::Claims));
    }
}
