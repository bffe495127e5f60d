//! A guest, as small as tests can have it: it does what PID 1 does, in a straight line, and checks the node's quote.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, SignatureScheme, StreamOwned};
use serde_json::{Value, json};
use sim_dcap::{Collateral, Key, Pki, Platform, SignedCollateral, TdQuote, sha256};
use vault_node::{CLIENT_LABEL, Extensions, Issuer, Misbehaviour, NODE_LABEL, Node, NodeConfig, NodeHandle, binding};
use x509_cert::der::{Decode as _, Encode as _};

pub(crate) const MRENCLAVE: [u8; 32] = [0xe1; 32];
pub(crate) const HANDLE: &str = "apps.example/00112233445566778899aabbccddeeff/storage-kek/v1";
pub(crate) const OWNER: &str = "owner-1";

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// One root, one issuer, and nodes and guests under them.
pub(crate) struct World {
    pub(crate) pki: Arc<Pki>,
    pub(crate) issuer: Issuer,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { pki: Arc::new(Pki::mint(now()).unwrap()), issuer: Issuer::generate().unwrap() }
    }

    pub(crate) fn config(&self, name: &str) -> NodeConfig {
        NodeConfig::honest(self.pki.clone(), name, MRENCLAVE, self.issuer.clone()).unwrap()
    }

    pub(crate) fn node(&self, misbehaviour: Misbehaviour) -> NodeHandle {
        Node::start(NodeConfig { misbehaviour, ..self.config("vault") }).unwrap()
    }

    /// An honest node with what real nodes cannot do.
    pub(crate) fn extended(&self, extensions: Extensions) -> NodeHandle {
        Node::start(NodeConfig { extensions, ..self.config("vault") }).unwrap()
    }

    /// The policy that lets guests measured as [`Guest::td`] export, and the owner do the rest.
    pub(crate) fn policy(&self) -> Value {
        json!({
            "version": 1,
            "principals": {
                "owner": { "Oidc": { "issuer": self.issuer.url, "sub": OWNER, "required_roles": [] } },
                "managers": [], "auditors": [],
                "tees": [{ "Tee": {
                    "name": "guest-v1",
                    "measurements": [{ "Tdx": {
                        "mrtd": "aa".repeat(48), "rtmr1": "01".repeat(48), "rtmr2": "02".repeat(48),
                    } }],
                    "attestation_servers": [{ "url": "https://as.example/verify", "pinned_spki_sha256_hex": null }],
                    "required_oids": [], "acceptable_tcb_statuses": null,
                } }],
            },
            "operations": [
                { "ops": ["ExportKey"], "principals": ["AnyTee"], "requires": [] },
                { "ops": ["DeleteKey", "UpdatePolicy", "PromoteProfile"], "principals": ["Owner"], "requires": [] },
            ],
            "mutability": {
                "owner_can": ["Tees", "Operations", "PendingProfiles"], "manager_can": [], "immutable": ["Owner", "Mutability"],
            },
            "lifecycle": { "ttl_seconds": 7_776_000, "auto_migrate_to_next_attestation_profile": false },
        })
    }

    pub(crate) fn bearer(&self) -> String {
        self.issuer.bearer(OWNER, &[], now() + 60).unwrap()
    }
}

pub(crate) struct Guest {
    pub(crate) machine: Platform,
    pub(crate) key: Key,
    pub(crate) leaf: Vec<u8>,
    /// What every quote of this guest says, report data aside.
    pub(crate) td: TdQuote,
    /// How long it waits for each answer.
    pub(crate) patience: Duration,
    pub(crate) root: Vec<u8>,
    /// What it verifies a node with that staples nothing, as a cache of collateral would give it.
    pub(crate) collateral: SignedCollateral,
}

impl Guest {
    pub(crate) fn new(world: &World) -> Self {
        Self::with_app(world, Some([0x42; 16]))
    }

    pub(crate) fn with_app(world: &World, app: Option<[u8; 16]>) -> Self {
        let key = Key::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.custom_extensions = app
            .iter()
            .map(|app| rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 65_230, 4, 1], app.to_vec()))
            .collect();
        let pair = rcgen::KeyPair::try_from(key.pkcs8().as_slice()).unwrap();
        let leaf = params.self_signed(&pair).unwrap().der().to_vec();
        let mut td = TdQuote::new([0; 64]);
        td.mrtd = [0xaa; 48];
        td.rtmr = [[0x70; 48], [1; 48], [2; 48], [0; 48]];
        let root = world.pki.root_der().to_vec();
        let machine = world.pki.platform("guest").unwrap();
        let collateral = Collateral::sgx(&machine, now()).sign(&world.pki).unwrap();
        Self { machine, key, leaf, td, patience: Duration::from_secs(30), root, collateral }
    }

    pub(crate) fn dial(&self, node: SocketAddr) -> Result<Link<'_>, String> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyNode))
            .with_client_auth_cert(
                vec![CertificateDer::from(self.leaf.clone())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.pkcs8())),
            )
            .unwrap();
        config.resumption = rustls::client::Resumption::disabled();
        let stream = TcpStream::connect(node).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(self.patience)).unwrap();
        let name = ServerName::try_from("vault").unwrap();
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).map_err(|error| error.to_string())?;
        }
        let chain: Vec<_> = tls.conn.peer_certificates().unwrap().iter().map(|der| der.to_vec()).collect();
        let leaf = x509_cert::Certificate::from_der(&chain[0]).unwrap();
        let node_spki = leaf.tbs_certificate().subject_public_key_info().to_der().unwrap();
        Ok(Link { guest: self, tls, chain, node_spki, quote_time: String::new() })
    }

    /// Dials, has the node prove itself, and proves itself: ready for vault requests.
    pub(crate) fn unlock(&self, node: SocketAddr) -> Result<Link<'_>, String> {
        let mut link = self.dial(node)?;
        let context = link.attest_node()?;
        match link.present(&context, &link.quote(&context)).0 {
            204 => Ok(link),
            status => Err(format!("present: {status}")),
        }
    }
}

pub(crate) struct Link<'a> {
    guest: &'a Guest,
    pub(crate) tls: StreamOwned<ClientConnection, TcpStream>,
    /// What the node sent as its certificates, DER, the leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) node_spki: Vec<u8>,
    /// What the node said last that its clock says; the guest says the same of its own evidence.
    pub(crate) quote_time: String,
}

impl Link<'_> {
    pub(crate) fn post(&mut self, path: &str, body: &[u8], bearer: Option<&str>) -> Result<(u16, Vec<u8>), String> {
        let authorization = bearer.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let head = format!("POST {path} HTTP/1.1\r\nHost: vault\r\n{authorization}Content-Length: {}\r\n\r\n", body.len());
        self.tls.write_all(&[head.as_bytes(), body].concat()).map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let read = self.tls.read(&mut chunk).map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("closed".to_owned());
            }
            answer.extend_from_slice(&chunk[..read]);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut parsed = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(head) = parsed.parse(&answer).map_err(|error| error.to_string())? {
                let length = parsed.headers.iter().find(|header| header.name == "Content-Length");
                let length: usize = length.map_or(0, |header| String::from_utf8_lossy(header.value).parse().unwrap());
                if length > 128 * 1024 {
                    return Err("oversize".to_owned());
                }
                if answer.len() >= head + length {
                    return Ok((parsed.code.unwrap(), answer[head..].to_vec()));
                }
            }
        }
    }

    pub(crate) fn attest(&mut self, body: &Value) -> Result<(u16, Value), String> {
        let (status, body) = self.post("/__privasys/attest", &serde_json::to_vec(body).unwrap(), None)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    pub(crate) fn challenge(&mut self, context: &[u8; 32]) -> Result<(u16, Value), String> {
        let leaf = BASE64URL.encode(sha256(&self.node_spki));
        let answer = self.attest(&json!({ "v": 2, "mode": "challenge", "leaf": leaf, "context": BASE64URL.encode(context) }))?;
        answer.1["quote_time"].as_str().unwrap_or_default().clone_into(&mut self.quote_time);
        Ok(answer)
    }

    /// Challenges the node and verifies all it says. Returns the context it wants answered.
    pub(crate) fn attest_node(&mut self) -> Result<[u8; 32], String> {
        let context = sha256(&Key::generate().unwrap().spki());
        let (status, evidence) = self.challenge(&context)?;
        if status != 200 {
            return Err(format!("challenge: {status}"));
        }
        self.check(&evidence, &context)?;
        let text = evidence["client_context"].as_str().ok_or("nothing asked of the guest")?;
        Ok(BASE64URL.decode(text).unwrap().try_into().unwrap())
    }

    fn check(&self, evidence: &Value, context: &[u8; 32]) -> Result<(), String> {
        let quote = BASE64URL.decode(evidence["quote"].as_str().unwrap()).unwrap();
        let own = || serde_json::to_value(&self.guest.collateral).unwrap();
        let collateral = evidence.get("collateral").cloned().unwrap_or_else(own);
        let collateral: QuoteCollateralV3 = serde_json::from_value(collateral).unwrap();
        let policy = QuotePolicy::strict(now()).allow_smt(true).allow_dynamic_platform(true);
        let claims = QuoteVerifier::new(self.guest.root.clone())
            .verify_with_policy(&quote, collateral, now(), &policy)
            .map_err(|error| format!("{error:#}"))?;
        let report = claims.report.as_sgx().ok_or("no enclave's quote")?;
        if report.mr_enclave != MRENCLAVE {
            return Err("another enclave".to_owned());
        }
        let hctx = self.tls.conn.export_keying_material([0; 32], NODE_LABEL, Some(context)).unwrap();
        if report.report_data != binding(&self.node_spki, context, &hctx) {
            return Err("another binding".to_owned());
        }
        Ok(())
    }

    /// What a quote of this guest must be made over for `context` on this connection.
    pub(crate) fn report_data(&self, context: &[u8; 32]) -> [u8; 64] {
        let hctx = self.tls.conn.export_keying_material([0; 32], CLIENT_LABEL, Some(context)).unwrap();
        binding(&self.guest.key.spki(), context, &hctx)
    }

    /// This guest's quote for `context` on this connection.
    pub(crate) fn quote(&self, context: &[u8; 32]) -> Vec<u8> {
        let td = TdQuote { report_data: self.report_data(context), ..self.guest.td.clone() };
        td.sign(&self.guest.machine).unwrap()
    }

    pub(crate) fn present(&mut self, context: &[u8; 32], quote: &[u8]) -> (u16, Value) {
        self.present_as("tdx", context, quote)
    }

    pub(crate) fn present_as(&mut self, tee: &str, context: &[u8; 32], quote: &[u8]) -> (u16, Value) {
        self.attest(&json!({
            "v": 2, "mode": "present", "context": BASE64URL.encode(context), "tee": tee,
            "quote": BASE64URL.encode(quote), "gpu_evidence": null, "quote_time": self.quote_time,
        }))
        .unwrap()
    }

    pub(crate) fn data(&mut self, request: &Value, bearer: Option<&str>) -> Value {
        let (status, body) = self.post("/data", &serde_json::to_vec(request).unwrap(), bearer).unwrap();
        if status == 200 { serde_json::from_slice(&body).unwrap() } else { json!(status) }
    }

    pub(crate) fn export(&mut self, handle: &str) -> Value {
        self.data(&json!({ "ExportKey": { "handle": handle, "approvals": [] } }), None)
    }
}

/// The material in an answer to `ExportKey`.
pub(crate) fn material(answer: &Value) -> Vec<u8> {
    serde_json::from_value(answer["KeyMaterial"]["material"].clone()).unwrap_or_else(|_| panic!("no material: {answer}"))
}

#[derive(Debug)]
struct AnyNode;

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
