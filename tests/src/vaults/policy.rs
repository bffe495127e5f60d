//! Policies of the vaults, set by `cvmctl` or directly at the nodes.

use std::sync::Arc;

use ctl::collateral::Sources;
use ctl::policy::{self, Image, Owner, Terms, key_policy};
use ctl::provision::{self, provision};
use ctl::{Credentials, Floors, Nodes, TcbStatus, promote};
use dcap::Platform;
use qemu::TdInfo;
use vault_node::NodeHandle;

use super::key::Key;
use encoding::hex::encode as hex;

use super::{HANDLE, Vaults};
use crate::{Artifacts, Context, Failure, clock};

/// The attestation server in policies, which must be https in production. The simulated node checks quotes itself.
const ATTESTATION_SERVER: &str = "https://as.simulated.invalid/verify";

impl Vaults {
    /// Starts the nodes; `cvmctl` makes the key and sends the shares, as an operator does.
    ///
    /// # Errors
    /// A node does not start, or `cvmctl` fails.
    pub fn provisioned(artifacts: &Artifacts, needed: usize, dealt: usize) -> Result<Self, Failure> {
        let mut vaults = Self::start(artifacts, needed, dealt, Key::Provisioned { commitment: [0; 32] }, |_| ())?;
        let provisioned = provision(&provision::Request {
            nodes: vaults.as_operator_sees_them()?,
            threshold: needed,
            handle: HANDLE.to_owned(),
            // No image is admitted yet: images measure the key commitment, so it must exist before them.
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

    /// Admits guests with this measurement, and no others.
    ///
    /// # Errors
    /// A node refuses the policy.
    pub fn grant(&self, td: &TdInfo) -> Result<(), Failure> {
        let [_, rtmr1, rtmr2, _] = td.rtmrs;
        self.grant_image(&Image { mrtd: td.mrtd.0, rtmr0: None, rtmr1: rtmr1.0, rtmr2: rtmr2.0 })
    }

    /// Admits guests with this measurement and this RTMR0, and no others ([`Vaults::matching_rtmr0`]).
    ///
    /// # Errors
    /// A node refuses the policy.
    pub(crate) fn grant_with_rtmr0(&self, td: &TdInfo) -> Result<(), Failure> {
        let [rtmr0, rtmr1, rtmr2, _] = td.rtmrs;
        self.grant_image(&Image { mrtd: td.mrtd.0, rtmr0: Some(rtmr0.0), rtmr1: rtmr1.0, rtmr2: rtmr2.0 })
    }

    fn grant_image(&self, image: &Image) -> Result<(), Failure> {
        if let Some(before) = &self.before {
            before.grant_image(image)?;
        }
        let policy = self.policy(vec![*image]);
        if let Some((handle, Key::Dealt { shares, .. })) = &self.previous {
            for (node, share) in self.nodes.iter().zip(shares) {
                node.put_key(handle, share.clone(), policy.clone()).context("storing a share at a vault")?;
            }
        }
        match &self.key {
            Key::Dealt { shares, .. } => {
                for (node, share) in self.nodes.iter().zip(shares) {
                    node.put_key(&self.handle, share.clone(), policy.clone()).context("storing a share at a vault")?;
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
                for promoted in promote::promote(&request).context("cvmctl promote")? {
                    promoted.context("cvmctl promote")?;
                }
            }
        }
        Ok(())
    }

    /// Admits SEV-SNP guests with this launch measurement, and no others.
    ///
    /// # Errors
    /// A node refuses the policy.
    pub(crate) fn grant_snp(&self, measurement: &[u8; 48]) -> Result<(), Failure> {
        let Key::Dealt { shares, .. } = &self.key else {
            return Err(Failure("cvmctl made the key, so its shares are unknown".to_owned()));
        };
        let mut policy = self.policy(vec![Image { mrtd: [0; 48], rtmr0: None, rtmr1: [0; 48], rtmr2: [0; 48] }]);
        if let Some(measurements) = policy.pointer_mut("/principals/tees/0/Tee/measurements") {
            *measurements = serde_json::json!([{ "SevSnp": { "measurement": hex(measurement) } }]);
        }
        for (node, share) in self.nodes.iter().zip(shares) {
            node.put_key(&self.handle, share.clone(), policy.clone()).context("storing a share at a vault")?;
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
            collateral: Arc::new(Sources::open(&caches).context("opening the collateral cache")?),
        })
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        Credentials::of_issuer(&self.issuer.key.pkcs8(), None, None).context("reading the issuer's key")
    }
}

/// The identifier of a platform: its instance id, else its PPID.
fn id_of(platform: &Platform) -> Vec<u8> {
    let extension = &platform.extension;
    extension.platform_instance.clone().unwrap_or_else(|| extension.ppid.clone())
}
