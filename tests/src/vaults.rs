//! Vault nodes with a dealt key, and what a policy of theirs demands of a guest.

mod collateral;
mod key;

use std::net::SocketAddr;
use std::sync::Arc;

use ctl::collateral::Sources;
use ctl::policy::{self, Image, Owner, Terms, key_policy};
use ctl::provision::{self, provision};
use ctl::{Credentials, Floors, Nodes, TcbStatus, promote};
use machine::TdInfo;
use sim_dcap::{Pki, Platform, SnpChip};
use vault_node::{Issuer, Misbehaviour, Node, NodeConfig, NodeHandle};

use self::collateral::staple;
use self::key::Key;
use crate::pccs::Pccs;
use crate::relay::{self, Switch};
use crate::{Artifacts, Doing, Failure, clock};

/// The measurement of the simulated vault build.
pub(crate) const MRENCLAVE: [u8; 32] = [0xc1; 32];
/// The key's name at every vault.
pub(crate) const HANDLE: &str = "apps.example/00112233445566778899aabbccddeeff/storage-kek/v1";

/// Who judges a guest's quote, as policies name it: production's are https. The node's own check stands in for it.
const ATTESTATION_SERVER: &str = "https://as.simulated.invalid/verify";

/// A set of nodes that hold the shares of one key.
pub struct Vaults {
    /// The key's name.
    handle: String,
    /// The key that is rotated away from, if any, with its name.
    previous: Option<(String, Key)>,
    /// The fleet that is moved away from, if any.
    before: Option<Box<Vaults>>,
    /// What the nodes run.
    mrenclave: [u8; 32],
    pub(crate) pki: Arc<Pki>,
    nodes: Vec<NodeHandle>,
    /// The machines that they run on.
    platforms: Vec<Platform>,
    /// Where the guest is told that each node is.
    addresses: Vec<SocketAddr>,
    /// The same in other words than the host's address: by name, over vsock.
    called: Vec<Option<String>>,
    /// Where the guest is told that collateral is, `host:port`, and who serves it. Real nodes staple none.
    cache: Option<(String, Pccs)>,
    issuer: Issuer,
    threshold: usize,
    key: Key,
    /// Whether the guest is told what the key must be.
    committed: bool,
}

impl Vaults {
    /// Starts `dealt` honest nodes on the loopback and deals a random key, `needed` of whose shares make it. A cache beside them has
    /// the collateral of their platforms.
    ///
    /// # Errors
    /// When a node does not start.
    pub fn up(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        Self::start(artifacts, needed, dealt, Key::deal(needed, dealt)?, |_| ())
    }

    /// The same with nodes that are configured otherwise.
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

    /// Nodes that staple their collateral, which real ones do not, and no cache.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub fn stapling(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        Self::configured(artifacts, needed, dealt, staple)
    }

    /// The same with the key that the images of tests/chains commit to: their command lines name no cache.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub(crate) fn of_images(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        Self::start(artifacts, needed, dealt, Key::of_images(needed, dealt)?, staple)
    }

    /// Tells the guest no more what the key must be.
    #[must_use]
    pub fn uncommitted(self) -> Self {
        Self { committed: false, ..self }
    }

    /// Tells the guest again what the key must be.
    #[must_use]
    pub fn committed(self) -> Self {
        Self { committed: true, ..self }
    }

    /// Deals another key: from now on the words name it, and the one before as the one that is rotated away from.
    ///
    /// # Errors
    /// As dealing.
    pub fn rotating(mut self) -> Result<Self, Failure> {
        let next = Key::deal(self.threshold, self.nodes.len())?;
        let before = self.handle.clone();
        self.handle.push_str("-next");
        self.previous = Some((before, std::mem::replace(&mut self.key, next)));
        Ok(self)
    }

    /// Names the vaults and the key of another fleet as those that are rotated away from.
    #[must_use]
    pub(crate) fn moving_from(self, before: Self) -> Self {
        Self { before: Some(Box::new(before)), ..self }
    }

    /// Names the current key only.
    #[must_use]
    pub fn rotated(self) -> Self {
        Self { previous: None, before: None, ..self }
    }

    /// The passphrase of the key, for a disk that is made by others with it.
    ///
    /// # Errors
    /// When the key was dealt over the wire.
    pub fn passphrase(&self) -> Result<Vec<u8>, Failure> {
        match &self.key {
            Key::Dealt { dek, .. } => Ok(dek.expose_passphrase().to_vec()),
            Key::Provisioned { .. } => Err(Failure("the key is not known here".to_owned())),
        }
    }

    /// The same with clocks that are `ahead` seconds ahead of the host's.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub fn in_the_future(artifacts: &Artifacts, needed: usize, dealt: usize, ahead: i64) -> Result<Self, Failure> {
        Self::configured(artifacts, needed, dealt, |config| config.clock_offset = ahead)
    }

    /// Honest nodes that believe SEV-SNP guests on this chip.
    ///
    /// # Errors
    /// As [`Vaults::up`].
    pub(crate) fn believing(artifacts: &Artifacts, needed: usize, dealt: usize, chip: &SnpChip) -> Result<Self, Failure> {
        Self::configured(artifacts, needed, dealt, |config| config.extensions.snp_chip = Some(chip.public()))
    }

    /// Starts the nodes and has `cvmctl` deal the key to them, as an operator does: each node is verified before its share is sent.
    ///
    /// # Errors
    /// When a node does not start, or dealing fails.
    pub fn provisioned(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        let mut vaults = Self::start(artifacts, needed, dealt, Key::Provisioned { commitment: [0; 32] }, |_| ())?;
        let provisioned = provision(&provision::Request {
            nodes: vaults.as_operator_sees_them()?,
            threshold: needed,
            handle: HANDLE.to_owned(),
            // No image yet: the commitment is part of what an image measures, so images are let in when they are known.
            policy: vaults.policy(Vec::new()),
            facts: policy::Facts::default(),
            credentials: vaults.credentials()?,
            client_key: None,
            now: clock::now(),
        });
        let provisioned = provisioned.map_err(|error| Failure(format!("cvmctl provision: {}", failure::chain(&error))))?;
        vaults.key = Key::Provisioned { commitment: provisioned.commitment.0 };
        Ok(vaults)
    }

    fn start(
        artifacts: &Artifacts,
        threshold: usize,
        dealt: usize,
        key: Key,
        change: impl Fn(&mut NodeConfig),
    ) -> Result<Self, Failure> {
        let pki = Arc::new(Pki::load_or_mint(&artifacts.pki, clock::now()).doing("the simulated root")?);
        let issuer = Issuer::generate().doing("the issuer")?;
        let config = |number: usize| {
            let config = NodeConfig::honest(Arc::clone(&pki), &format!("vault-{number}"), MRENCLAVE, issuer.clone());
            let mut config = config.doing("a vault's platform")?;
            change(&mut config);
            Ok(config)
        };
        let configs = (1..=dealt).map(config).collect::<Result<Vec<_>, Failure>>()?;
        let is_stapling = configs.iter().any(|config| config.extensions.staple_collateral);
        let platforms = configs.iter().map(|config| config.platform.clone()).collect();
        let mrenclave = configs.first().map_or(MRENCLAVE, |config| config.mrenclave);
        let nodes = configs.into_iter().map(|config| Node::start(config).doing("starting a vault"));
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
            called: vec![None; dealt],
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

    /// Leads the address of the node at `index` to the node at `other`.
    ///
    /// # Errors
    /// When the relay does not start.
    pub fn leading(mut self, index: usize, other: usize) -> Result<Self, Failure> {
        let relay = relay::to(self.node(other)?.addr()).doing("starting a relay")?;
        if let Some(address) = self.addresses.get_mut(index) {
            *address = relay;
        }
        Ok(self)
    }

    /// Leads every address to the node of `others` at the same place, until the host thinks better of it.
    ///
    /// # Errors
    /// When a relay does not start.
    pub(crate) fn led_to(mut self, others: &Self, switch: &Switch) -> Result<Self, Failure> {
        for (index, address) in self.addresses.iter_mut().enumerate() {
            let own = self.nodes.get(index).map(NodeHandle::addr).ok_or_else(|| Failure(format!("no vault {index}")))?;
            *address = relay::until(switch, others.node(index)?.addr(), own).doing("starting a relay")?;
        }
        Ok(self)
    }

    /// Tells the guest another way to the node at `index`, made of the port at which it listens.
    #[must_use]
    pub fn called(mut self, index: usize, name: impl FnOnce(u16) -> String) -> Self {
        if let (Some(called), Some(address)) = (self.called.get_mut(index), self.addresses.get(index)) {
            *called = Some(name(address.port()));
        }
        self
    }

    /// Listens for every node and the cache on the loopback of IPv6 as well, and tells the guest to go there by QEMU's network.
    ///
    /// # Errors
    /// When a relay does not start.
    pub fn over_ipv6(mut self) -> Result<Self, Failure> {
        for index in 0..self.nodes.len() {
            let relay = relay::from("[::1]:0", self.node(index)?.addr()).doing("starting a relay on ::1")?;
            self = self.called(index, |_| format!("[fec0::2]:{}", relay.port()));
        }
        if let Some((place, cache)) = &mut self.cache {
            let relay = relay::from("[::1]:0", cache.address).doing("starting a relay on ::1")?;
            *place = format!("[fec0::2]:{}", relay.port());
        }
        Ok(self)
    }

    /// Has the nodes answer at these ports of the loopback as well, for an image that brings their addresses along.
    ///
    /// # Errors
    /// When a port is taken.
    pub(crate) fn at(self, ports: &[u16]) -> Result<Self, Failure> {
        for (node, port) in self.nodes.iter().zip(ports) {
            relay::from(&format!("127.0.0.1:{port}"), node.addr()).doing("listening for an image's vaults")?;
        }
        Ok(self)
    }

    /// Gives the node at `index` a copy of another's share in place of its own.
    ///
    /// # Errors
    /// When the key was dealt over the wire, where no share is known.
    pub fn copying_share(mut self, index: usize, of: usize) -> Result<Self, Failure> {
        let Key::Dealt { shares, .. } = &mut self.key else { return Err(Failure("shares are not known here".to_owned())) };
        let copy = shares.get(of).cloned();
        match (shares.get_mut(index), copy) {
            (Some(share), Some(copy)) => *share = copy,
            _ => return Err(Failure(format!("no vault {index} or {of}"))),
        }
        Ok(self)
    }

    /// Where the guest is told that the node at `index` is.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn address_in_guest(&self, index: usize) -> Result<String, Failure> {
        let address = self.addresses.get(index).ok_or_else(|| Failure(format!("no vault {index}")))?;
        Ok(format!("{}:{}", machine::spec::HOST_IN_GUEST, address.port()))
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
        let mut words = vec![
            format!("cvm.vault={}", self.places()),
            format!("cvm.vault.mrenclave={}", hex(&self.mrenclave)),
            format!("cvm.vault.handle={}", self.handle),
            format!("cvm.vault.threshold={}", self.threshold),
            "cvm.vault.app=00112233-4455-6677-8899-aabbccddeeff".to_owned(),
        ];
        let commitment = if self.committed { hex(&self.key.commitment()) } else { "none".to_owned() };
        words.push(format!("cvm.vault.key-commitment={commitment}"));
        words.extend(self.cache.iter().map(|(place, cache)| format!("cvm.pccs={}://{place}", cache.scheme)));
        if let Some((handle, key)) = &self.previous {
            words.push(format!("cvm.vault.previous={handle}"));
            words.push(format!("cvm.vault.previous.key-commitment={}", hex(&key.commitment())));
        }
        if let Some(before) = &self.before {
            words.push(format!("cvm.vault.previous={}", before.handle));
            words.push(format!("cvm.vault.previous.key-commitment={}", hex(&before.key.commitment())));
            words.push(format!("cvm.vault.previous.vaults={}", before.places()));
            words.push(format!("cvm.vault.previous.mrenclave={}", hex(&before.mrenclave)));
            words.push(format!("cvm.vault.previous.threshold={}", before.threshold));
        }
        words
    }

    /// Where the guest is told that the nodes are.
    fn places(&self) -> String {
        let host = machine::spec::HOST_IN_GUEST;
        let usual = |address: &SocketAddr| format!("{host}:{}", address.port());
        let places = self.addresses.iter().zip(&self.called).map(|(at, called)| called.clone().unwrap_or_else(|| usual(at)));
        places.collect::<Vec<_>>().join(",")
    }

    /// Lets guests of these measurements have the key, and no others.
    ///
    /// # Errors
    /// When a node does not take it.
    pub fn grant(&self, td: &TdInfo) -> Result<(), Failure> {
        if let Some(before) = &self.before {
            before.grant(td)?;
        }
        let [_, rtmr1, rtmr2, _] = td.rtmrs;
        let policy = self.policy(vec![Image { mrtd: td.mrtd.0, rtmr0: None, rtmr1: rtmr1.0, rtmr2: rtmr2.0 }]);
        if let Some((handle, Key::Dealt { shares, .. })) = &self.previous {
            for (node, share) in self.nodes.iter().zip(shares) {
                node.put_key(handle, share.clone(), policy.clone()).doing("giving a vault its share")?;
            }
        }
        match &self.key {
            Key::Dealt { shares, .. } => {
                for (node, share) in self.nodes.iter().zip(shares) {
                    node.put_key(&self.handle, share.clone(), policy.clone()).doing("giving a vault its share")?;
                }
            }
            Key::Provisioned { .. } => {
                let request = promote::Request {
                    nodes: self.as_operator_sees_them()?,
                    handle: HANDLE.to_owned(),
                    policy,
                    facts: policy::Facts::default(),
                    credentials: self.credentials()?,
                    client_key: None,
                };
                for promoted in promote::promote(&request).doing("cvmctl promote")? {
                    promoted.doing("cvmctl promote")?;
                }
            }
        }
        Ok(())
    }

    /// Lets SEV-SNP guests of this launch measurement have the key, and no others.
    ///
    /// # Errors
    /// When a node does not take it.
    pub(crate) fn grant_snp(&self, measurement: &[u8; 48]) -> Result<(), Failure> {
        let Key::Dealt { shares, .. } = &self.key else { return Err(Failure("shares are not known here".to_owned())) };
        let mut policy = self.policy(vec![Image { mrtd: [0; 48], rtmr0: None, rtmr1: [0; 48], rtmr2: [0; 48] }]);
        if let Some(measurements) = policy.pointer_mut("/principals/tees/0/Tee/measurements") {
            *measurements = serde_json::json!([{ "SevSnp": { "measurement": hex(measurement) } }]);
        }
        for (node, share) in self.nodes.iter().zip(shares) {
            node.put_key(&self.handle, share.clone(), policy.clone()).doing("giving a vault its share")?;
        }
        Ok(())
    }

    fn policy(&self, images: Vec<Image>) -> serde_json::Value {
        let owner = Owner { issuer: self.issuer.url.clone(), sub: "owner-1".to_owned(), roles: Vec::new() };
        let ttl_seconds = policy::TTL_SECONDS;
        let attestation_servers = vec![ATTESTATION_SERVER.to_owned()];
        let terms = Terms { name: "guest".to_owned(), images, owner: Some(owner), attestation_servers, ttl_seconds };
        key_policy(&terms)
    }

    fn as_operator_sees_them(&self) -> Result<Nodes, Failure> {
        let caches: Vec<_> = self.cache.iter().map(|(_, cache)| format!("{}://{}", cache.scheme, cache.address)).collect();
        Ok(Nodes {
            vaults: self.nodes.iter().map(|node| node.addr().to_string()).collect(),
            anchor: self.pki.root_der().to_vec(),
            mrenclaves: vec![self.mrenclave],
            node_ca: self.nodes.iter().map(NodeHandle::ca_der).collect(),
            platforms: self.platforms.iter().map(id_of).collect(),
            statuses: vec![TcbStatus::UpToDate],
            floors: Floors::default(),
            at: clock::now(),
            collateral: Arc::new(Sources::open(&caches).doing("the cache of collateral")?),
        })
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        Credentials::of_issuer(&self.issuer.key.pkcs8(), None, None).doing("the issuer's key")
    }

    /// Everything that must never be seen, as far as it is known here.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        let keys = std::iter::once(&self.key).chain(self.previous.iter().map(|(_, key)| key));
        keys.flat_map(Key::secrets).chain(self.before.iter().flat_map(|before| before.secrets())).collect()
    }
}

/// What tells a platform from another: its instance id, else its PPID.
fn id_of(platform: &Platform) -> Vec<u8> {
    let extension = &platform.extension;
    extension.platform_instance.clone().unwrap_or_else(|| extension.ppid.clone())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
