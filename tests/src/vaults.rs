//! A set of vault nodes that hold the shares of one key, and the policies that they apply.

mod address;
mod client;
mod collateral;
mod key;
mod policy;

use std::net::SocketAddr;
use std::sync::Arc;

use dcap::{Pki, Platform, SnpChip};
use vault_node::{Issuer, Misbehaviour, Node, NodeConfig, NodeHandle};

use self::collateral::staple;
use self::key::Key;
use crate::pccs::Pccs;
use crate::{Artifacts, Context, Failure, clock};

/// The measurement of the simulated vault build.
pub(crate) const MRENCLAVE: [u8; 32] = [0xc1; 32];
/// The key's name at every vault.
pub(crate) const HANDLE: &str = "apps.example/00112233445566778899aabbccddeeff/storage-kek/v1";

/// A set of nodes that hold the shares of one key.
pub struct Vaults {
    /// The key's handle.
    handle: String,
    /// The previous key in a rotation, with its handle.
    previous: Option<(String, Key)>,
    /// The previous set of vaults in a migration.
    before: Option<Box<Vaults>>,
    /// The nodes' measurement.
    mrenclave: [u8; 32],
    pub(crate) pki: Arc<Pki>,
    nodes: Vec<NodeHandle>,
    /// The nodes' platforms.
    platforms: Vec<Platform>,
    /// The addresses that the guest gets, each on the host's loopback.
    addresses: Vec<SocketAddr>,
    /// Addresses that replace those: host names, vsock.
    address_overrides: Vec<Option<String>>,
    /// The cache of collateral with its address in the guest, `host:port`. Real nodes staple none.
    cache: Option<(String, Pccs)>,
    issuer: Issuer,
    threshold: usize,
    key: Key,
    /// Whether the guest gets a key commitment.
    committed: bool,
}

impl Vaults {
    /// Starts `dealt` honest nodes on the loopback and splits a random key so that `needed` shares recover it. A cache has the
    /// collateral of their platforms.
    ///
    /// # Errors
    /// A node does not start.
    pub fn up(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        Self::start(artifacts, needed, dealt, Key::deal(needed, dealt)?, |_| ())
    }

    /// Like [`Vaults::up`], with a changed configuration of the nodes.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub(crate) fn configured(
        artifacts: &Artifacts,
        needed: usize,
        dealt: usize,
        change: impl Fn(&mut NodeConfig),
    ) -> Result<Self, Failure> {
        Self::start(artifacts, needed, dealt, Key::deal(needed, dealt)?, change)
    }

    /// Nodes that staple their collateral, which real ones do not; no cache.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub fn stapling(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        Self::configured(artifacts, needed, dealt, staple)
    }

    /// Like [`Vaults::stapling`]; the nodes compare RTMR0 if a policy names it, which real ones do not.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub(crate) fn matching_rtmr0(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        Self::configured(artifacts, needed, dealt, |config| {
            staple(config);
            config.extensions.match_rtmr0_rtmr3 = true;
        })
    }

    /// Like [`Vaults::stapling`], with the key that the images of tests/chains commit to; their command lines name no cache.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub(crate) fn of_images(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        Self::start(artifacts, needed, dealt, Key::of_images(needed, dealt)?, staple)
    }

    /// Removes the key commitment from the guest's command line.
    #[must_use]
    pub fn without_commitment(self) -> Self {
        Self { committed: false, ..self }
    }

    /// Restores the key commitment.
    #[must_use]
    pub fn with_commitment(self) -> Self {
        Self { committed: true, ..self }
    }

    /// Splits a new key. The command line then names it as the current key, and the old one as the previous key.
    ///
    /// # Errors
    /// The key cannot be split.
    pub fn rotating(mut self) -> Result<Self, Failure> {
        let next = Key::deal(self.threshold, self.nodes.len())?;
        let before = self.handle.clone();
        self.handle.push_str("-next");
        self.previous = Some((before, std::mem::replace(&mut self.key, next)));
        Ok(self)
    }

    /// Names another set of vaults and its key as the previous ones.
    #[must_use]
    pub(crate) fn migrating_from(self, before: Self) -> Self {
        Self { before: Some(Box::new(before)), ..self }
    }

    /// Removes the previous key from the command line.
    #[must_use]
    pub fn without_previous(self) -> Self {
        Self { previous: None, before: None, ..self }
    }

    /// The passphrase of the key, for disks made by other tools.
    ///
    /// # Errors
    /// `cvmctl` made the key.
    pub fn passphrase(&self) -> Result<Vec<u8>, Failure> {
        match &self.key {
            Key::Dealt { dek, .. } => Ok(dek.expose_passphrase().to_vec()),
            Key::Provisioned { .. } => Err(Failure("cvmctl made the key, so it is unknown".to_owned())),
        }
    }

    /// Nodes whose clocks are `ahead` seconds ahead of the host's.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub fn with_clocks_ahead(artifacts: &Artifacts, needed: usize, dealt: usize, ahead: i64) -> Result<Self, Failure> {
        Self::configured(artifacts, needed, dealt, |config| config.clock_offset = ahead)
    }

    /// Honest nodes that accept SEV-SNP guests on this chip.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub(crate) fn accepting_snp_chip(
        artifacts: &Artifacts,
        needed: usize,
        dealt: usize,
        chip: &SnpChip,
    ) -> Result<Self, Failure> {
        Self::configured(artifacts, needed, dealt, |config| config.extensions.snp_chip = Some(chip.public()))
    }

    fn start(
        artifacts: &Artifacts,
        threshold: usize,
        dealt: usize,
        key: Key,
        change: impl Fn(&mut NodeConfig),
    ) -> Result<Self, Failure> {
        let pki = Arc::new(Pki::load_or_mint(&artifacts.pki, clock::now()).context("loading the simulated root")?);
        let issuer = Issuer::generate().context("making the issuer")?;
        let config = |number: usize| {
            let config = NodeConfig::honest(Arc::clone(&pki), &format!("vault-{number}"), MRENCLAVE, issuer.clone());
            let mut config = config.context("making a vault's platform")?;
            change(&mut config);
            Ok(config)
        };
        let configs = (1..=dealt).map(config).collect::<Result<Vec<_>, Failure>>()?;
        let is_stapling = configs.iter().any(|config| config.extensions.staple_collateral);
        let platforms = configs.iter().map(|config| config.platform.clone()).collect();
        let mrenclave = configs.first().map_or(MRENCLAVE, |config| config.mrenclave);
        let nodes = configs.into_iter().map(|config| Node::start(config).context("starting a vault"));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let vaults = Self {
            handle: HANDLE.to_owned(),
            previous: None,
            before: None,
            mrenclave,
            pki: Arc::clone(&pki),
            addresses: nodes.iter().map(NodeHandle::addr).collect(),
            nodes,
            platforms,
            address_overrides: vec![None; dealt],
            cache: None,
            issuer,
            threshold,
            key,
            committed: true,
        };
        if is_stapling { Ok(vaults) } else { vaults.caching(|_, _| ()) }
    }

    /// Makes the node at `index` misbehave from its next connection on.
    #[must_use]
    pub fn misbehaving(self, index: usize, misbehaviour: Misbehaviour) -> Self {
        if let Some(node) = self.nodes.get(index) {
            node.set_misbehaviour(misbehaviour);
        }
        self
    }

    /// Gives the node at `index` a copy of the share of `of`.
    ///
    /// # Errors
    /// `cvmctl` made the key, so the shares are unknown.
    pub fn copying_share(mut self, index: usize, of: usize) -> Result<Self, Failure> {
        let Key::Dealt { shares, .. } = &mut self.key else {
            return Err(Failure("cvmctl made the key, so its shares are unknown".to_owned()));
        };
        let copy = shares.get(of).cloned();
        match (shares.get_mut(index), copy) {
            (Some(share), Some(copy)) => *share = copy,
            _ => return Err(Failure(format!("there is no vault {index} or {of}"))),
        }
        Ok(self)
    }

    /// The node at `index`.
    ///
    /// # Errors
    /// There is no such node.
    pub fn node(&self, index: usize) -> Result<&NodeHandle, Failure> {
        self.nodes.get(index).ok_or_else(|| Failure(format!("there is no vault {index}")))
    }

    /// All secrets that the harness knows: none may appear on a console.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        let keys = std::iter::once(&self.key).chain(self.previous.iter().map(|(_, key)| key));
        keys.flat_map(Key::secrets).chain(self.before.iter().flat_map(|before| before.secrets())).collect()
    }
}
