//! The node's side of TLS 1.3, and the content of its and the guest's certificates.

use std::io::{self, Read, Write};
use std::sync::Arc;

use dcap::Key;
use encoding::hex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName as Subject, Error as TlsError, PeerIncompatible, ServerConfig, SignatureScheme,
};
use x509_cert::der::{Decode as _, Encode as _};

use crate::Error;

/// The extension of a guest's certificate: its app's UUID, 16 raw bytes.
pub const APP_EXTENSION: &str = "1.3.6.1.4.1.65230.4.1";
/// The prefix of the OIDs that a policy can require.
const CLAIMS: &str = "1.3.6.1.4.1.65230.";

/// TLS 1.3 only, with the leaf and its CA; requests client certificates without requiring them; no tickets, no early data, no
/// ALPN.
pub(crate) fn server(chain: Vec<CertificateDer<'static>>, key: &Key) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(provider::default_provider());
    let verifier = Arc::new(AnyLeaf(provider.signature_verification_algorithms));
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, private)?;
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Accepts any certificate whose key signed the handshake: the quote proves the identity, not the certificate's issuer.
#[derive(Debug)]
struct AnyLeaf(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyLeaf {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[Subject] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, leaf, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The content of a client's certificate.
#[derive(Debug)]
pub(crate) struct ClientLeaf {
    /// The whole certificate; grants name it by its hash.
    pub(crate) der: Vec<u8>,
    /// Its `SubjectPublicKeyInfo`.
    pub(crate) spki: Vec<u8>,
    /// Extensions under 1.3.6.1.4.1.65230: OID, and value in lower-case hex as in policies.
    pub(crate) oids: Vec<(String, String)>,
    /// Whether it names an app, so that the client must send evidence.
    pub(crate) names_app: bool,
}

impl ClientLeaf {
    /// Parses the certificate; `None` if it is invalid.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let extensions: Vec<_> = body.extensions().map(|all| all.iter().collect()).unwrap_or_default();
        let names_app = extensions
            .iter()
            .any(|one| one.extn_id.to_string() == APP_EXTENSION && one.extn_value.as_bytes().len() == 16 && !one.critical);
        let oids = extensions.iter().map(|one| (one.extn_id.to_string(), hex::encode(one.extn_value.as_bytes())));
        let oids = oids.filter(|(oid, _)| oid.starts_with(CLAIMS)).collect();
        Some(Self { der: der.to_vec(), spki: body.subject_public_key_info().to_der().ok()?, oids, names_app })
    }
}

/// Answers a ClientHello like a server that supports TLS 1.2 at most: rustls is built without TLS 1.2, and a guest must refuse at
/// the first record anyway.
///
/// Source: RFC 5246, section 7.4.1.3.
pub(crate) fn answer_in_tls12(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    let [.., high, low] = header;
    io::copy(&mut stream.take(u16::from_be_bytes([high, low]).into()), &mut io::sink())?;
    // Version 3.3, 32 bytes of random, no session id, ECDHE-ECDSA-AES128-GCM-SHA256, no compression, no extensions.
    let hello = [&[3, 3][..], &[0x12; 32], &[0, 0xc0, 0x2b, 0]].concat();
    let message = [&[2, 0, 0, 38][..], &hello].concat();
    stream.write_all(&[&[22, 3, 3, 0, 42][..], &message].concat())?;
    stream.flush()
}

/// ring, as rustls uses it; for randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let provider: CryptoProvider = provider::default_provider();
    let mut out = [0; N];
    provider.secure_random.fill(&mut out).map_err(TlsError::from)?;
    Ok(out)
}
