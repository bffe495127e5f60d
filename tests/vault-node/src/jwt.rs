//! Compact JWTs with ES256, as far as the vault uses them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap::Key;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::Error;

/// Signs `claims`: `header.payload.signature`, each base64url, the signature raw `r || s`.
pub(crate) fn sign(key: &Key, kid: Option<&str>, claims: &Value) -> Result<String, Error> {
    let mut header = json!({ "alg": "ES256", "typ": "JWT" });
    if let (Some(kid), Some(header)) = (kid, header.as_object_mut()) {
        header.insert("kid".to_owned(), kid.into());
    }
    let part = |value: &Value| serde_json::to_vec(value).map(|bytes| BASE64URL.encode(bytes));
    let signed = format!("{}.{}", part(&header)?, part(claims)?);
    let signature = BASE64URL.encode(key.sign(signed.as_bytes())?);
    Ok(format!("{signed}.{signature}"))
}

/// The unverified header of `token`; `None` if it is no token.
pub(crate) fn header(token: &str) -> Option<Value> {
    let (header, _) = token.split_once('.')?;
    serde_json::from_slice(&BASE64URL.decode(header).ok()?).ok()
}

/// The claims of `token` if `key` signed it with ES256. The caller checks the claims.
pub(crate) fn verify(key: &Key, token: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (_, claims) = signed.split_once('.')?;
    if header(token)?.get("alg") != Some(&json!("ES256")) {
        return None;
    }
    let point = [&[4][..], &key.public()].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &BASE64URL.decode(signature).ok()?).ok()?;
    serde_json::from_slice(&BASE64URL.decode(claims).ok()?).ok()
}
