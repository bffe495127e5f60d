//! One simulated Intel, one issuer, three nodes under them, and a guest as small as a test can have it.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use attest::{Anchor, Policy, TcbDemand};
use cvmctl::policy::{Image, Owner, Terms, key_policy};
use cvmctl::{Floors, Nodes, TcbStatus, provision};
use quorum::Share;
use serde_json::Value;
use sim_dcap::{Pki, TdQuote};
use vault::{Clock, Expectation, Handshaken, Identity, OwnEvidence};
use vault_node::{Extensions, Issuer, Node, NodeConfig, NodeHandle};

pub(crate) const MRENCLAVE: [u8; 32] = [0x11; 32];
/// The node's in-process check stands in for it.
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
        let pki = Arc::new(Pki::mint(now()).unwrap());
        let issuer = Issuer::generate().unwrap();
        let node = |name| {
            let honest = NodeConfig::honest(pki.clone(), name, MRENCLAVE, issuer.clone()).unwrap();
            // cvmctl has no other source of collateral yet.
            let extensions = Extensions { staple_collateral: true, ..Extensions::default() };
            Node::start(NodeConfig { extensions, ..honest }).unwrap()
        };
        Self { nodes: ["a", "b", "c"].map(node), pki, issuer }
    }

    pub(crate) fn vaults(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    pub(crate) fn policy(&self, images: &[Image]) -> Value {
        key_policy(&Terms {
            name: "guest-v1".to_owned(),
            images: images.to_vec(),
            owner: Some(Owner { issuer: self.issuer.url.clone(), sub: "owner-1".to_owned(), roles: Vec::new() }),
            attestation_servers: vec![ATTESTATION_SERVER.to_owned()],
            ttl_seconds: 86_400,
        })
    }

    /// Two of three shares, under [`HANDLE`], for [`OLD_IMAGE`].
    pub(crate) fn request(&self) -> provision::Request {
        provision::Request {
            nodes: Nodes {
                vaults: self.vaults(),
                anchor: self.pki.root_der().to_vec(),
                mrenclaves: vec![MRENCLAVE],
                statuses: vec![TcbStatus::UpToDate],
                floors: Floors::default(),
                at: now(),
            },
            threshold: 2,
            handle: HANDLE.to_owned(),
            policy: self.policy(&[OLD_IMAGE]),
            issuer_key: self.issuer.key.pkcs8().into(),
        }
    }

    /// What the vault at `index` gives to a guest measured as `image`.
    pub(crate) fn export(&self, index: usize, image: &Image) -> Result<Share, vault::Error> {
        let deadline = || Instant::now() + Duration::from_secs(10);
        let anchor = Anchor::from_der(self.pki.root_der().to_vec());
        let policy = Policy::of_nodes(vec![MRENCLAVE], TcbDemand::Statuses(vec![TcbStatus::UpToDate]), Floors::default());
        let expected = Expectation {
            anchor: &anchor,
            policy: &policy,
            clock: Clock { not_before: 0, machine: now(), is_trusted: true },
            collateral: &(),
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
        Ok(Share::parse(&session.export_key(HANDLE, deadline())?.material).unwrap())
    }

    /// Whether no vault has a key of this name.
    pub(crate) fn is_empty(&self) -> bool {
        (0..self.nodes.len())
            .all(|index| matches!(self.export(index, &OLD_IMAGE), Err(vault::Error::Refused(vault::Refused::Absent))))
    }
}
