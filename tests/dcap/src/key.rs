//! P-256 keys for certificates (DER signatures) and reports (raw signatures).

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::Error;

/// A P-256 key pair. A key of the simulation: it may be copied, saved and shown.
#[derive(Clone)]
pub struct Key {
    pub(crate) pair: Arc<rcgen::KeyPair>,
    raw: Arc<EcdsaKeyPair>,
}

impl Key {
    /// Makes a fresh key.
    pub fn generate() -> Result<Self, Error> {
        Self::from_pkcs8(&rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?.serialize_der())
    }

    /// Reads a key from its PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let pkcs8 = PrivatePkcs8KeyDer::from(der);
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ECDSA_P256_SHA256)?;
        let raw = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new())
            .map_err(|_| Error::Key("unreadable PKCS#8"))?;
        Ok(Self { pair: Arc::new(pair), raw: Arc::new(raw) })
    }

    /// The private key as PKCS#8 DER.
    #[must_use]
    pub fn pkcs8(&self) -> Vec<u8> {
        self.pair.serialize_der()
    }

    /// The public point `x || y`, 64 bytes, without the leading 0x04.
    #[must_use]
    pub fn public(&self) -> [u8; 64] {
        let point = self.pair.public_key_raw();
        point.last_chunk::<64>().copied().unwrap_or([0; 64])
    }

    /// The DER `SubjectPublicKeyInfo`, 91 bytes.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        use rcgen::PublicKeyData as _;
        self.pair.subject_public_key_info()
    }

    /// `ECDSA(SHA-256(message))` as raw `r || s`, 64 bytes big-endian: the form in reports, collateral and JWTs.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        let signature = self.raw.sign(&SystemRandom::new(), message).map_err(|_| Error::Key("no randomness to sign with"))?;
        signature.as_ref().try_into().map_err(|_| Error::Key("a signature of another length"))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", hex::encode(sha256(&self.spki())))
    }
}

/// `SHA-256(data)`.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, data).as_ref());
    out
}
