//! A simulated Intel, an issuer, three nodes, and a minimal guest.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use attest::{Anchor, Policy, TcbDemand};
use ctl::collateral::Sources;
use ctl::policy::{Facts, Image, Owner, Terms, key_policy};
use ctl::{Credentials, Floors, Nodes, TcbStatus, keys, promote, provision};
use dcap::{Pki, TdQuote};
use quorum::{Share, ShareSetId};
use ratls::{Clock, Expectation, Handshaken, Identity, OwnEvidence};
use serde_json::Value;
use vault::ShareMaterial;
use vault_node::{Issuer, Node, NodeConfig, NodeHandle};

pub(crate) const MRENCLAVE: [u8; 32] = [0x11; 32];
/// Replaced by a check in the node's process.
pub(crate) const ATTESTATION_SERVER: &str = "https://as.simulated.invalid/verify";
pub(crate) const HANDLE: &str = "apps.example/disk/v1";
pub(crate) const OLD_IMAGE: Image = Image { mrtd: [0xaa; 48], rtmr0: None, rtmr1: [1; 48], rtmr2: [2; 48] };
pub(crate) const NEW_IMAGE: Image = Image { rtmr2: [3; 48], ..OLD_IMAGE };

pub(crate) struct World {
    pub(crate) pki: Arc<Pki>,
    pub(crate) issuer: Issuer,
    pub(crate) nodes: [NodeHandle; 3],
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| ())
    }

    /// A world whose nodes' configuration `change` modifies.
    pub(crate) fn with(change: impl Fn(&mut NodeConfig, usize)) -> Self {
        let pki = Arc::new(Pki::mint(now()).unwrap());
        let issuer = Issuer::generate().unwrap();
        let node = |index: usize| {
            let mut config = NodeConfig::honest(pki.clone(), ["a", "b", "c"][index], MRENCLAVE, issuer.clone()).unwrap();
            change(&mut config, index);
            Node::start(config).unwrap()
        };
        Self { nodes: [0, 1, 2].map(node), pki, issuer }
    }

    pub(crate) fn vaults(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    pub(crate) fn policy(&self, images: &[Image]) -> Value {
        key_policy(&Terms {
            name: "guest-v1".to_owned(),
            images: images.to_vec(),
            owner: Some(self.owner()),
            attestation_servers: vec![ATTESTATION_SERVER.to_owned()],
            ttl_seconds: 86_400,
        })
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner { issuer: self.issuer.url.clone(), sub: "owner-1".to_owned(), roles: Vec::new() }
    }

    /// Collateral for the platforms of this world, in dcap-qvl's format.
    pub(crate) fn collateral(&self) -> Vec<u8> {
        let platform = self.pki.platform("a").unwrap();
        serde_json::to_vec(&dcap::Collateral::sgx(&platform, now()).sign(&self.pki).unwrap()).unwrap()
    }

    pub(crate) fn nodes(&self) -> Nodes {
        let collateral = attest::Collateral::from_json(&self.collateral()).unwrap();
        Nodes {
            vaults: self.vaults(),
            anchor: self.pki.root_der().to_vec(),
            mrenclaves: vec![MRENCLAVE],
            node_ca: Vec::new(),
            platforms: Vec::new(),
            statuses: vec![TcbStatus::UpToDate],
            floors: Floors::default(),
            at: now(),
            collateral: Arc::new(Sources::of(vec![collateral])),
        }
    }

    /// Credentials with the key of the nodes' issuer.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::of_issuer(&self.issuer.key.pkcs8(), None, None).unwrap()
    }

    /// Two of three shares, under [`HANDLE`], for [`OLD_IMAGE`].
    pub(crate) fn request(&self) -> provision::Request {
        provision::Request {
            nodes: self.nodes(),
            threshold: 2,
            handle: HANDLE.to_owned(),
            policy: self.policy(&[OLD_IMAGE]),
            facts: Facts::default(),
            credentials: self.credentials(),
            client_key: None,
            now: now(),
        }
    }

    pub(crate) fn promotion(&self, images: &[Image]) -> promote::Request {
        promote::Request {
            nodes: self.nodes(),
            handle: HANDLE.to_owned(),
            policy: self.policy(images),
            facts: Facts::default(),
            credentials: self.credentials(),
            client_key: None,
        }
    }

    /// A request of the owner.
    pub(crate) fn as_owner(&self) -> keys::Request {
        keys::Request { nodes: self.nodes(), credentials: self.credentials(), owner: Some(self.owner()), client_key: None }
    }

    /// Exports the share of the vault at `index` to a guest with the measurements of `image`.
    pub(crate) fn export(&self, index: usize, image: &Image) -> Result<Share, vault::Error> {
        let deadline = || Instant::now() + Duration::from_secs(10);
        let anchor = Anchor::from_der(self.pki.root_der().to_vec());
        let collateral = self.nodes().collateral;
        let policy = Policy::of_nodes(vec![MRENCLAVE], TcbDemand::Statuses(vec![TcbStatus::UpToDate]), Floors::default());
        let expected = Expectation {
            anchor: &anchor,
            policy: &policy,
            clock: Clock { not_before: 0, machine: now(), is_trusted: true },
            collateral: &*collateral,
        };
        let quote = |report_data: &[u8; 64]| {
            let mut td = TdQuote::new(*report_data);
            td.mrtd = image.mrtd;
            td.rtmr = [[0; 48], image.rtmr1, image.rtmr2, [0; 48]];
            let quote = td.sign(&self.pki.platform("guest").unwrap()).unwrap();
            Ok(OwnEvidence { quote, tee: "tdx" })
        };
        let stream = TcpStream::connect(self.nodes[index].addr()).unwrap();
        let handshaken = Handshaken::connect(stream, &Identity::guest([9; 16])?, deadline())?;
        let mut session = handshaken.challenge(&[3; 32], &expected, deadline())?.present(quote, Duration::from_secs(5))?;
        let key = vault::export_key(&mut session, HANDLE, deadline())?;
        let share = ShareMaterial::parse(&key.material).unwrap();
        Ok(Share::new(ShareSetId(*share.set_id), share.x, share.data))
    }

    /// Whether no vault has a key of this name.
    pub(crate) fn is_empty(&self) -> bool {
        (0..self.nodes.len())
            .all(|index| matches!(self.export(index, &OLD_IMAGE), Err(vault::Error::Refused(vault::Refused::Absent))))
    }
}
