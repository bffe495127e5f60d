//! The configuration of a node, including its differences from a real one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dcap::{Pki, Platform};

use crate::issuer::OWNER_AUDIENCE;
use crate::{Error, Issuer, Misbehaviour};

/// The time after which the host's proxy closes an idle connection.
///
/// Source: key-server-protocol.md, section 1.4.
const IDLE: Duration = Duration::from_secs(300);

/// The configuration of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The root of its quotes and of its guests' quotes.
    pub pki: Arc<Pki>,
    /// Its platform.
    pub platform: Platform,
    /// The measurement of its enclave.
    pub mrenclave: [u8; 32],
    /// The address to listen on; port 0 selects a free port.
    pub listen: SocketAddr,
    /// Its misbehaviour at the start.
    pub misbehaviour: Misbehaviour,
    /// The issuer of the grants and bearer tokens that it accepts.
    pub issuer: Issuer,
    /// The `aud` of the bearer tokens that it accepts: each node has its own.
    pub bearer_audience: String,
    /// The folder in which it saves its keys; `None`: it saves none.
    pub state: Option<PathBuf>,
    /// The difference of its clock from the host's, in seconds.
    pub clock_offset: i64,
    /// The time without a request after which it closes a connection.
    pub idle_timeout: Duration,
    /// Which clients must send evidence.
    pub evidence_rule: EvidenceRule,
    /// Whether its certificate contains OID 1.3.6.1.4.1.65230.5.1, the root of the workload's configuration, as on nodes with a
    /// workload.
    pub workload_oid: bool,
    /// Features that real nodes lack.
    pub extensions: Extensions,
}

/// Which clients get `client_evidence: "required"`.
///
/// Source: key-server-protocol.md, section 2.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvidenceRule {
    /// Clients whose certificate contains the app extension: current builds.
    #[default]
    AppExtension,
    /// Clients with any certificate: the first build of version 2.
    AnyCertificate,
}

/// Features that real nodes lack. All are off by default, so that no test passes only with this node.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// Staples collateral to its evidence.
    pub staple_collateral: bool,
    /// Stores `rtmr0` and `rtmr3` of a policy's measurements and compares them; a real node drops both silently.
    pub match_rtmr0_rtmr3: bool,
    /// Uses an attestation server that refuses TDs with the attribute DEBUG or MIGRATABLE; a real node ignores these attributes.
    pub refuse_debug: bool,
    /// Accepts SEV-SNP guests on the chip with this public key.
    pub snp_chip: Option<Vec<u8>>,
}

impl NodeConfig {
    /// An honest node like real ones, on a free port of the loopback and the platform `name`, which saves no keys.
    pub fn honest(pki: Arc<Pki>, name: &str, mrenclave: [u8; 32], issuer: Issuer) -> Result<Self, Error> {
        Ok(Self {
            platform: pki.platform(name)?,
            pki,
            mrenclave,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            misbehaviour: Misbehaviour::None,
            issuer,
            bearer_audience: OWNER_AUDIENCE.to_owned(),
            state: None,
            clock_offset: 0,
            idle_timeout: IDLE,
            evidence_rule: EvidenceRule::default(),
            workload_oid: false,
            extensions: Extensions::default(),
        })
    }
}
