//! A cache of collateral on the loopback with the answers of a PCCS: bodies as Intel signed them, issuer chains percent-encoded
//! in headers.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dcap::SignedCollateral;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A running cache. Serves until the process ends.
pub(crate) struct Pccs {
    pub(crate) address: SocketAddr,
    /// `http`, or `https` with a self-signed certificate, as a stock PCCS uses.
    pub(crate) scheme: &'static str,
    asked: Arc<AtomicUsize>,
}

impl Pccs {
    /// Serves the collateral of one platform.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn start(collateral: SignedCollateral) -> io::Result<Self> {
        Self::listen("http", move |client: TcpStream| answer(client, &collateral))
    }

    /// Like [`Pccs::start`], over TLS.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn start_tls(collateral: SignedCollateral) -> io::Result<Self> {
        let config = Arc::new(own_certificate()?);
        Self::listen("https", move |client: TcpStream| {
            let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(connection, client);
            answer(&mut stream, &collateral)?;
            stream.conn.send_close_notify();
            stream.conn.complete_io(&mut stream.sock).map(drop)
        })
    }

    fn listen(scheme: &'static str, serve: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::Relaxed);
                // An error of one connection does not end the cache.
                serve(client).unwrap_or_default();
            }
        });
        Ok(Self { address, scheme, asked })
    }

    /// How many requests the cache answered.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// TLS with a new key and a self-signed certificate.
fn own_certificate() -> io::Result<ServerConfig> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["pccs".to_owned()]).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_protocol_versions(&[&rustls::version::TLS13]).map_err(io::Error::other)?.with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    config.with_single_cert(vec![cert.der().clone()], key.into()).map_err(io::Error::other)
}

fn answer(mut client: impl Read + Write, collateral: &SignedCollateral) -> io::Result<()> {
    // A request has no body, so the reader buffers nothing that is needed later.
    let mut head = BufReader::new(&mut client).lines();
    let request = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    drop(head);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let signed = |name: &str, document: &str, signature: &[u8]| {
        format!("{{\"{name}\":{document},\"signature\":\"{}\"}}", encoding::hex::encode(signature)).into_bytes()
    };
    let (chain, body) = match path.split('?').next().unwrap_or_default() {
        "/sgx/certification/v4/tcb" => (
            Some(("TCB-Info-Issuer-Chain", &collateral.tcb_info_issuer_chain)),
            signed("tcbInfo", &collateral.tcb_info, &collateral.tcb_info_signature),
        ),
        "/sgx/certification/v4/qe/identity" => (
            Some(("SGX-Enclave-Identity-Issuer-Chain", &collateral.qe_identity_issuer_chain)),
            signed("enclaveIdentity", &collateral.qe_identity, &collateral.qe_identity_signature),
        ),
        "/sgx/certification/v4/pckcrl" => {
            (Some(("SGX-PCK-CRL-Issuer-Chain", &collateral.pck_crl_issuer_chain)), collateral.pck_crl.clone())
        }
        // A PCCS sends this CRL in hex.
        "/sgx/certification/v4/rootcacrl" => (None, encoding::hex::encode(&collateral.root_ca_crl).into_bytes()),
        _ => return client.write_all(b"HTTP/1.0 404 Not Found\r\n\r\n"),
    };
    let header = chain.map(|(name, pem)| format!("{name}: {}\r\n", percent_encoded(pem))).unwrap_or_default();
    client.write_all(format!("HTTP/1.0 200 OK\r\n{header}Content-Length: {}\r\n\r\n", body.len()).as_bytes())?;
    client.write_all(&body)
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
