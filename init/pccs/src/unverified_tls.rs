//! TLS without verification of the server's certificate, since a default PCCS generates its own. The connection is not authenticated:
//! use it only for data with its own signatures, such as collateral.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use ratls::{Timed, Transport};

/// A TLS 1.3 stream to an unauthenticated server.
pub struct UnverifiedTls<T: Transport>(StreamOwned<ClientConnection, Timed<T>>);

impl<T: Transport> UnverifiedTls<T> {
    /// Runs the handshake over `transport` until `deadline`. `host` is a name or an address; a name is sent (SNI).
    ///
    /// # Errors
    /// Errors of the stream; `InvalidInput` if `host` is neither.
    pub fn connect(transport: T, host: &str, deadline: Instant) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut connection = ClientConnection::new(config().map_err(io::Error::other)?, name).map_err(io::Error::other)?;
        let mut timed = Timed { inner: transport, deadline };
        while connection.is_handshaking() {
            connection.complete_io(&mut timed)?;
        }
        Ok(Self(StreamOwned::new(connection, timed)))
    }
}

impl<T: Transport> Transport for UnverifiedTls<T> {
    fn bound(&mut self, left: Duration) -> io::Result<()> {
        // TLS reads a record in several parts. The deadline is for all of them together.
        self.0.sock.deadline = Instant::now() + left;
        Ok(())
    }
}

impl<T: Transport> Read for UnverifiedTls<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            // Closed without close_notify. Length and signature show whether the answer is complete.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl<T: Transport> Write for UnverifiedTls<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(schemes)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Accepts every certificate without parsing it: OpenSSL's usual command for a self-signed certificate makes X.509 v1, which webpki
/// refuses. Verification of the handshake's signature is skipped too: with an untrusted certificate it would prove nothing.
#[derive(Debug)]
struct AcceptAny(Vec<SignatureScheme>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
