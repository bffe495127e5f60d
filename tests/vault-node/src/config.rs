//! What a node is, and in what it differs from a real one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dcap::{Pki, Platform};

use crate::issuer::OWNER_AUDIENCE;
use crate::{Error, Issuer, Misbehaviour};

/// After how long the host's proxy drops a connection on which nothing is said.
///
/// Source: key-server-protocol.md, section 1.4.
const IDLE: Duration = Duration::from_secs(300);

/// What a node is.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The root its quotes and those of its guests are under.
    pub pki: Arc<Pki>,
    /// The machine it runs on.
    pub platform: Platform,
    /// The enclave it says it is.
    pub mrenclave: [u8; 32],
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it does wrong, to begin with.
    pub misbehaviour: Misbehaviour,
    /// Whose grants and bearers it takes.
    pub issuer: Issuer,
    /// `aud` of the bearers it takes: each node is configured with its own.
    pub bearer_audience: String,
    /// Where it keeps its keys between runs; absent: nowhere.
    pub state: Option<PathBuf>,
    /// How far its clock is off, in seconds.
    pub clock_offset: i64,
    /// After how long without a request a connection is dropped.
    pub idle_timeout: Duration,
    /// Whom it asks for evidence.
    pub evidence_rule: EvidenceRule,
    /// Whether its leaf carries OID 1.3.6.1.4.1.65230.5.1, the root of the workload's configuration, as nodes with a workload do.
    pub workload_oid: bool,
    /// What real nodes cannot do.
    pub extensions: Extensions,
}

/// Which clients are told `client_evidence: "required"`.
///
/// Source: key-server-protocol.md, section 2.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvidenceRule {
    /// Those whose certificate carries the app extension: today's builds.
    #[default]
    AppExtension,
    /// Those with any certificate: the first build of version 2.
    AnyCertificate,
}

/// What this node can do and real ones cannot. All of it is off unless a test says otherwise, so that no test passes at this node
/// only.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// Staples collateral to its evidence.
    pub staple_collateral: bool,
    /// Keeps `rtmr0` and `rtmr3` in a policy's measurements and matches them; a real node drops both silently.
    pub match_rtmr0_rtmr3: bool,
    /// Has an attestation server that refuses TDs with the attribute DEBUG or MIGRATABLE; a real node does not look at them.
    pub refuse_debug: bool,
    /// Takes SEV-SNP guests on the chip with this public key.
    pub snp_chip: Option<Vec<u8>>,
}

impl NodeConfig {
    /// An honest node, as real ones are, on a free port of the loopback, on the machine `name`, that forgets its keys.
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
