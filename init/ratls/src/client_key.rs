//! An operator's client key, stored in PEM. A grant is bound to the hash of its certificate, so the certificate must not change.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::{Error, Identity};

impl Identity {
    /// Generates an operator's key and self-signed certificate, in PEM: PKCS#8, then the certificate.
    ///
    /// # Errors
    /// [`Error::Identity`] when the random number generator or the encoder fails.
    pub fn new_operator_pem() -> Result<Zeroizing<Vec<u8>>, Error> {
        let (key, leaf) = Self::new_pair(None)?;
        let blocks =
            [("PRIVATE KEY", Zeroizing::new(STANDARD.encode(&*key))), ("CERTIFICATE", Zeroizing::new(STANDARD.encode(&leaf)))];
        // Of its final size from the start: a buffer that grows leaves a copy of the key behind.
        let mut pem = Zeroizing::new(Vec::with_capacity(blocks.iter().map(|(_, text)| 2 * text.len() + 128).sum()));
        for (label, text) in blocks {
            pem.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
            for line in text.as_bytes().chunks(64) {
                pem.extend_from_slice(line);
                pem.push(b'\n');
            }
            pem.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
        }
        Ok(pem)
    }

    /// Parses the output of [`Identity::new_operator_pem`].
    ///
    /// # Errors
    /// [`Error::Identity`] unless `pem` contains a P-256 key in PKCS#8 and a certificate of that key.
    pub fn from_operator_pem(pem: &[u8]) -> Result<Self, Error> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| Error::Identity)?;
        // The inner type does not wipe itself.
        let key = Zeroizing::new(PrivateKeyDer::from(key));
        let leaf = CertificateDer::from_pem_slice(pem).map_err(|_| Error::Identity)?;
        let signing = rustls::crypto::ring::sign::any_ecdsa_type(&key).map_err(|_| Error::Identity)?;
        let spki = crate::tls::p256_spki(&leaf).map_err(|_| Error::Identity)?;
        if signing.public_key().is_none_or(|public| *public != *spki) {
            return Err(Error::Identity);
        }
        Ok(Self::of(Arc::new(CertifiedKey::new(vec![leaf], signing)), spki))
    }

    /// The value of `cnf` in a grant for this key: `x5t#S256`, SHA-256 of the certificate in base64url (RFC 8705, section 3.1).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.leaf()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_is_the_same_bytes_each_time() {
        let pem = Identity::new_operator_pem().unwrap();
        let [one, two] = [0, 1].map(|_| Identity::from_operator_pem(&pem).unwrap());
        assert_eq!((one.leaf(), one.thumbprint()), (two.leaf(), two.thumbprint()));
        assert_eq!((one.spki().len(), one.thumbprint().len()), (91, 43));
        let other = Identity::from_operator_pem(&Identity::new_operator_pem().unwrap()).unwrap();
        assert_ne!(one.thumbprint(), other.thumbprint());
    }

    #[test]
    fn key_and_certificate_must_be_present_and_match() {
        let [one, two] = [0, 1].map(|_| String::from_utf8(Identity::new_operator_pem().unwrap().to_vec()).unwrap());
        let split = |pem: &str| {
            let at = pem.find("-----BEGIN CERT").unwrap();
            (pem[..at].to_owned(), pem[at..].to_owned())
        };
        let ((key, leaf), (_, foreign)) = (split(&one), split(&two));
        assert!(Identity::from_operator_pem(format!("{leaf}{key}").as_bytes()).is_ok(), "in the other order");
        for (name, pem) in
            [("no leaf", key.clone()), ("no key", leaf), ("foreign leaf", key + &foreign), ("nothing", String::new())]
        {
            assert!(Identity::from_operator_pem(pem.as_bytes()).is_err(), "{name}");
        }
    }
}
