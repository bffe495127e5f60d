//! Vault nodes with a dealt key, and what a policy of theirs demands of a guest.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::SystemTime;

use machine::TdInfo;
use quorum::{Dek, Generation, Threshold, split};
use sim_dcap::Pki;
use vault_node::{Issuer, Misbehaviour, Node, NodeConfig, NodeHandle};

use crate::{Artifacts, Doing, Failure};

/// The measurement of the simulated vault build.
pub(crate) const MRENCLAVE: [u8; 32] = [0xc1; 32];
/// The key's name at every vault.
pub(crate) const HANDLE: &str = "apps.example/00112233445566778899aabbccddeeff/storage-kek/v1";

/// A set of nodes that hold the shares of one key.
pub struct Vaults {
    pub(crate) pki: Arc<Pki>,
    nodes: Vec<NodeHandle>,
    threshold: usize,
    dek: Dek,
    shares: Vec<Vec<u8>>,
}

impl Vaults {
    /// Starts `dealt` honest nodes on the loopback and deals a random key, `needed` of whose shares make it.
    ///
    /// # Errors
    /// When a node does not start.
    pub fn up(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).doing("the clock")?.as_secs();
        let pki = Arc::new(Pki::load_or_mint(&artifacts.pki, now).doing("the simulated root")?);
        let issuer = Issuer::generate().doing("the issuer")?;
        let start = |number: usize| {
            let config = NodeConfig::honest(Arc::clone(&pki), &format!("vault-{number}"), MRENCLAVE, issuer.clone());
            Node::start(config.doing("a vault's platform")?).doing("starting a vault")
        };
        let nodes = (1..=dealt).map(start).collect::<Result<_, _>>()?;
        let mut random = File::open("/dev/urandom").doing("random numbers")?;
        let dek = Dek::fill_with(|bytes| random.read_exact(bytes)).doing("random numbers")?;
        let threshold = Threshold::new(needed, dealt).ok_or_else(|| Failure(format!("{needed} of {dealt} is no threshold")))?;
        let shares = split(&dek, threshold, Generation([0x67; 16])).ok_or_else(|| Failure("dealing".to_owned()))?;
        let shares = shares.iter().map(|share| share.expose_material().to_vec()).collect();
        Ok(Self { pki, nodes, threshold: needed, dek, shares })
    }

    /// Makes the node at `index` misbehave from its next connection on.
    #[must_use]
    pub fn misbehaving(self, index: usize, misbehaviour: Misbehaviour) -> Self {
        if let Some(node) = self.nodes.get(index) {
            node.set_misbehaviour(misbehaviour);
        }
        self
    }

    /// The node at `index`.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, index: usize) -> Result<&NodeHandle, Failure> {
        self.nodes.get(index).ok_or_else(|| Failure(format!("no vault {index}")))
    }

    /// The words of the command line that name these vaults.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let host = machine::spec::HOST_IN_GUEST;
        let addresses: Vec<_> = self.nodes.iter().map(|node| format!("{host}:{}", node.addr().port())).collect();
        vec![
            format!("cvm.vault={}", addresses.join(",")),
            format!("cvm.vault.mrenclave={}", hex(&MRENCLAVE)),
            format!("cvm.vault.handle={HANDLE}"),
            format!("cvm.vault.threshold={}", self.threshold),
            "cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff".to_owned(),
        ]
    }

    /// The word that commits to the key.
    #[must_use]
    pub fn commitment(&self) -> String {
        format!("cvm.vault.commit={}", hex(&self.dek.commitment().0))
    }

    /// Gives every node its share, for guests of these measurements and no others.
    ///
    /// # Errors
    /// When a node does not take it.
    pub fn grant(&self, td: &TdInfo) -> Result<(), Failure> {
        let [_, rtmr1, rtmr2, _] = td.rtmrs;
        let policy = serde_json::json!({
            "version": 1,
            "principals": {
                "owner": { "Oidc": { "issuer": "https://issuer.simulated.invalid", "sub": "owner-1", "required_roles": [] } },
                "managers": [], "auditors": [],
                "tees": [{ "Tee": {
                    "name": "guest", "attestation_servers": [], "required_oids": [], "acceptable_tcb_statuses": null,
                    "measurements": [{ "Tdx": { "mrtd": hex(&td.mrtd.0), "rtmr1": hex(&rtmr1.0), "rtmr2": hex(&rtmr2.0) } }],
                } }],
            },
            "operations": [{ "ops": ["ExportKey"], "principals": ["AnyTee"], "requires": [] }],
            "mutability": { "owner_can": [], "manager_can": [], "immutable": ["Owner", "Mutability"] },
            "lifecycle": { "ttl_seconds": 7_776_000, "auto_migrate_to_next_attestation_profile": false },
        });
        for (node, share) in self.nodes.iter().zip(&self.shares) {
            node.put_key(HANDLE, share.clone(), policy.clone()).doing("giving a vault its share")?;
        }
        Ok(())
    }

    /// Everything that must never be seen: the key, its passphrase form, the data of every share.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        // The generation and X of a share are public.
        let data = self.shares.iter().filter_map(|share| share.get(17..)).map(<[u8]>::to_vec);
        [self.dek.expose().to_vec(), self.dek.expose_passphrase().to_vec()].into_iter().chain(data).collect()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
