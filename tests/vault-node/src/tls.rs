//! The node's side of TLS 1.3, and what its certificate and the guest's say.

use std::io::{self, Read, Write};
use std::sync::Arc;

use dcap::Key;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName as Subject, Error as TlsError, PeerIncompatible, ServerConfig, SignatureScheme,
};
use x509_cert::der::{Decode as _, Encode as _};

use crate::Error;

/// The extension of a guest's leaf: its app's UUID, 16 raw bytes.
pub const APP_EXTENSION: &str = "1.3.6.1.4.1.65230.4.1";
/// What the OIDs begin with that a policy can require.
const CLAIMS: &str = "1.3.6.1.4.1.65230.";

/// TLS 1.3 only, the leaf with its CA, client certificates asked for but not required, no tickets, no early data, no ALPN.
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

/// Takes any leaf whose key made the handshake's signature: its quote says whose it is, not its issuer.
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

/// What the node reads in a client's leaf.
#[derive(Debug)]
pub(crate) struct ClientLeaf {
    /// The whole certificate, which grants name by its hash.
    pub(crate) der: Vec<u8>,
    /// `SubjectPublicKeyInfo` as it stands in it.
    pub(crate) spki: Vec<u8>,
    /// Extensions under 1.3.6.1.4.1.65230: OID, and value in lower-case hex as policies require it.
    pub(crate) oids: Vec<(String, String)>,
    /// Whether it names an app, and so asks to prove itself.
    pub(crate) names_app: bool,
}

impl ClientLeaf {
    /// Reads the leaf, or nothing if it is no certificate.
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

/// Answers a ClientHello as a server that knows nothing newer than TLS 1.2: rustls is built without it, and a guest
/// must refuse at the first record anyway.
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

/// ring as rustls uses it here; for randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let provider: CryptoProvider = provider::default_provider();
    let mut out = [0; N];
    provider.secure_random.fill(&mut out).map_err(TlsError::from)?;
    Ok(out)
}
