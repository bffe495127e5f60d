//! A minimal guest: does what PID 1 does, without retries, and verifies the node's quote.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dcap::{Collateral, Key, Pki, Platform, SignedCollateral, TdQuote};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use vault_node::{Extensions, Issuer, Misbehaviour, Node, NodeConfig, NodeHandle};
use x509_cert::der::{Decode as _, Encode as _};

use crate::link::{AnyNode, Link};

pub(crate) const MRENCLAVE: [u8; 32] = [0xe1; 32];
pub(crate) const HANDLE: &str = "apps.example/00112233445566778899aabbccddeeff/storage-kek/v1";
pub(crate) const OWNER: &str = "owner-1";

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A root, an issuer, and nodes and guests under them.
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

    /// An honest node with features that real nodes lack.
    pub(crate) fn extended(&self, extensions: Extensions) -> NodeHandle {
        Node::start(NodeConfig { extensions, ..self.config("vault") }).unwrap()
    }

    /// The policy that allows export to guests measured as [`Guest::td`], and everything else to the owner.
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
    /// The content of every quote of this guest, except for report data.
    pub(crate) td: TdQuote,
    /// How long it waits for each answer.
    pub(crate) timeout: Duration,
    pub(crate) root: Vec<u8>,
    /// The collateral with which it verifies a node that staples none, as from a cache.
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
        Self { machine, key, leaf, td, timeout: Duration::from_secs(30), root, collateral }
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
        stream.set_read_timeout(Some(self.timeout)).unwrap();
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

    /// Connects, verifies the node and sends its own evidence: ready for vault requests.
    pub(crate) fn unlock(&self, node: SocketAddr) -> Result<Link<'_>, String> {
        let mut link = self.dial(node)?;
        let context = link.attest_node()?;
        match link.present(&context, &link.quote(&context)).0 {
            204 => Ok(link),
            status => Err(format!("present: {status}")),
        }
    }
}
