//! The client's TLS identity: a P-256 key and its self-signed certificate.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use zeroize::Zeroizing;

use crate::Error;

/// The app UUID: 16 raw bytes, no inner DER, not critical (key-server-protocol.md, section 1.2).
const OID_APP: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 4, 1];

/// A key and its certificate. A guest's key is generated in each boot and never written.
#[derive(Clone)]
pub struct Identity {
    pub(crate) certified: Arc<CertifiedKey>,
    spki: Vec<u8>,
}

impl Identity {
    /// Generates the identity of a guest. Its certificate contains the `app` UUID, which makes a node ask for the client's quote.
    ///
    /// # Errors
    /// [`Error::Identity`] when the random number generator or the encoder fails.
    pub fn guest(app: [u8; 16]) -> Result<Self, Error> {
        Self::generate(Some(app))
    }

    /// Generates the identity of an operator. Without a UUID, the node asks for no evidence and grants no TEE principal.
    ///
    /// # Errors
    /// As [`Identity::guest`].
    pub fn operator() -> Result<Self, Error> {
        Self::generate(None)
    }

    fn generate(app: Option<[u8; 16]>) -> Result<Self, Error> {
        let (encoded, leaf) = Self::new_pair(app)?;
        let private = PrivateKeyDer::try_from(encoded.as_slice()).map_err(|_| Error::Identity)?;
        let signing = rustls::crypto::ring::sign::any_ecdsa_type(&private).map_err(|_| Error::Identity)?;
        let spki = crate::tls::p256_spki(&leaf).map_err(|_| Error::Identity)?;
        Ok(Self::of(Arc::new(CertifiedKey::new(vec![leaf], signing)), spki))
    }

    pub(crate) fn of(certified: Arc<CertifiedKey>, spki: Vec<u8>) -> Self {
        Self { certified, spki }
    }

    /// Generates a key in PKCS#8 and its certificate.
    pub(crate) fn new_pair(app: Option<[u8; 16]>) -> Result<(Zeroizing<Vec<u8>>, CertificateDer<'static>), Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| Error::Identity)?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "cvm-init");
        params.distinguished_name = name;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.custom_extensions =
            app.map(|uuid| CustomExtension::from_oid_content(OID_APP, uuid.to_vec())).into_iter().collect();
        let leaf = params.self_signed(&key).map_err(|_| Error::Identity)?;
        let encoded = Zeroizing::new(key.serialize_der());
        Ok((encoded, CertificateDer::from(leaf.der().to_vec())))
    }

    /// The SubjectPublicKeyInfo, DER, 91 bytes.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The certificate, DER. Grants are bound to its SHA-256.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        self.certified.cert.first().map(AsRef::as_ref).unwrap_or_default()
    }
}
