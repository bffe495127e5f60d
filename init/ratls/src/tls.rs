//! TLS 1.3 with rustls, and the checks of a node's certificate. The quote, not the certificate, proves the node.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, PeerIncompatible, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use crate::{Error, Identity, NodeCa};

/// The platform's gateway routes by the first; nodes negotiate none.
const ALPN: [&[u8]; 2] = [b"privasys-ratls/1", b"http/1.1"];
/// Bytes of a P-256 SubjectPublicKeyInfo.
const SPKI_P256_BYTES: usize = 91;
/// The DER of a P-256 SubjectPublicKeyInfo up to the key: id-ecPublicKey, prime256v1, uncompressed point (RFC 5480).
const SPKI_P256_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// Extensions with evidence. RA-TLS v2 has none in certificates, so a leaf with one belongs to RA-TLS v1 or another protocol. Other
/// extensions are accepted: nodes put hashes of their configuration under 1.3.6.1.4.1.65230.
const EVIDENCE_OIDS: [&str; 6] = [
    "1.2.840.113741.1.13.1.0",  // SGX quote
    "1.2.840.113741.1.5.5.1.6", // TDX quote
    "1.2.840.113741.1337.6",    // SGX quote, Gramine
    "1.2.840.113741.1337.7",    // SGX quote, interoperable RA-TLS
    "2.23.133.5.4.2",           // TCG DICE endorsements
    "2.23.133.5.4.9",           // TCG DICE conceptual message wrapper
];

/// The TLS configuration for `identity`, to nodes of `node_ca`.
pub(crate) fn config(identity: &Identity, node_ca: &NodeCa) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Error::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(LeafOnly { provider, node_ca: node_ca.clone() }))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified))));
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    // Each connection is attested separately, so no connection may resume another.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// The DER SubjectPublicKeyInfo of a leaf, which must be P-256.
pub(crate) fn p256_spki(leaf: &CertificateDer<'_>) -> Result<Vec<u8>, LeafError> {
    let certificate = Certificate::from_der(leaf).map_err(|_| LeafError::Unreadable)?;
    let fields = certificate.tbs_certificate();
    let spki = fields.subject_public_key_info().to_der().map_err(|_| LeafError::Unreadable)?;
    if spki.len() != SPKI_P256_BYTES || !spki.starts_with(&SPKI_P256_PREFIX) {
        return Err(LeafError::Key);
    }
    Ok(spki)
}

/// The rule that a node's leaf breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// It is not an X.509 certificate.
    #[error("leaf is not an X.509 certificate")]
    Unreadable,
    /// Its key is of another type.
    #[error("leaf key is not P-256")]
    Key,
    /// It contains evidence, as in RA-TLS v1.
    #[error("leaf contains evidence, as in RA-TLS v1")]
    Evidence,
    /// No node CA issued it, or it is not valid now.
    #[error("no node CA of node-ca-*.der (cvmctl: --node-ca) issued the leaf")]
    NodeCa,
    /// A node CA issued it, and it or an intermediate certificate is not valid at the time of a trusted clock.
    #[error("the leaf or an intermediate certificate is not valid at the present time")]
    Validity,
}

/// Accepts any P-256 leaf without evidence in it, and with a node CA, only leaves of it. The quote in the next step proves the node;
/// rustls checks that the peer has the leaf's key (CertificateVerify).
#[derive(Debug)]
struct LeafOnly {
    provider: Arc<CryptoProvider>,
    node_ca: NodeCa,
}

impl ServerCertVerifier for LeafOnly {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = |e: LeafError| rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(e))));
        p256_spki(leaf).map_err(refused)?;
        no_evidence(leaf).map_err(refused)?;
        if !self.node_ca.admits(leaf, intermediates, now) {
            return Err(refused(LeafError::NodeCa));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn no_evidence(leaf: &CertificateDer<'_>) -> Result<(), LeafError> {
    let certificate = Certificate::from_der(leaf).map_err(|_| LeafError::Unreadable)?;
    let mut extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    let evidence = extensions.any(|extension| EVIDENCE_OIDS.contains(&extension.extn_id.to_string().as_str()));
    if evidence { Err(LeafError::Evidence) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm,
    };

    use super::*;

    fn leaf(algorithm: &'static SignatureAlgorithm, extension: Option<&[u64]>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.custom_extensions =
            extension.map(|oid| CustomExtension::from_oid_content(oid, vec![4, 1, 0])).into_iter().collect();
        let key = KeyPair::generate_for(algorithm).unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn leaf_with_a_quote_is_refused_and_one_with_configuration_hashes_is_not() {
        type Case<'a> = (&'a str, Option<&'a [u64]>, Result<(), LeafError>);
        let cases: [Case<'_>; 7] = [
            ("plain", None, Ok(())),
            ("SGX quote", Some(&[1, 2, 840, 113_741, 1, 13, 1, 0]), Err(LeafError::Evidence)),
            ("TDX quote", Some(&[1, 2, 840, 113_741, 1, 5, 5, 1, 6]), Err(LeafError::Evidence)),
            ("Gramine", Some(&[1, 2, 840, 113_741, 1337, 6]), Err(LeafError::Evidence)),
            ("configuration root", Some(&[1, 3, 6, 1, 4, 1, 65230, 1, 1]), Ok(())),
            ("workload's configuration root", Some(&[1, 3, 6, 1, 4, 1, 65230, 5, 1]), Ok(())),
            ("app", Some(&[1, 3, 6, 1, 4, 1, 65230, 4, 1]), Ok(())),
        ];
        for (name, oid, want) in cases {
            assert_eq!(no_evidence(&leaf(&PKCS_ECDSA_P256_SHA256, oid)), want, "{name}");
        }
    }

    #[test]
    fn only_p256_leaves_are_accepted() {
        let spki = p256_spki(&leaf(&PKCS_ECDSA_P256_SHA256, None)).unwrap();
        assert_eq!((spki.len(), &spki[..2]), (91, &[0x30, 0x59][..]));
        assert_eq!(p256_spki(&leaf(&PKCS_ECDSA_P384_SHA384, None)), Err(LeafError::Key));
        assert_eq!(p256_spki(&CertificateDer::from(vec![0x30, 0])), Err(LeafError::Unreadable));
    }
}
