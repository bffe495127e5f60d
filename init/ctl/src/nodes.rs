//! Connections to vaults. Each vault proves itself as to a guest; before that, only the challenge is sent.

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use attest::{Anchor, Floors, Policy, Tcb, TcbDemand, TcbStatus};
use ratls::{Clock, Expectation, Handshaken, Identity, NodeCa};
use ring::rand::{SecureRandom, SystemRandom};
use vault::operator::Operator;

use crate::collateral::Sources;
use crate::{Cause, Failure, dial};

/// Timeout of the TCP connection, and of the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Timeout of a node's evidence, without the time for caches of collateral: a node serves one request at a time.
const EVIDENCE: Duration = Duration::from_secs(30);
/// Timeout of a request: a node serves one at a time, and may fetch keys of its identity provider.
const REQUEST: Duration = Duration::from_secs(30);

/// Addresses of the vaults, and what each must prove.
#[derive(Clone)]
pub struct Nodes {
    /// `host:port` or `[v6]:port`, in the order in which shares are dealt.
    pub vaults: Vec<String>,
    /// The root certificate of their quotes, DER.
    pub anchor: Vec<u8>,
    /// Accepted MRENCLAVEs.
    pub mrenclaves: Vec<[u8; 32]>,
    /// CA certificates, DER; one must have issued a vault's certificate. Empty: any certificate.
    pub node_ca: Vec<Vec<u8>>,
    /// Accepted platform instance ids or PPIDs, 16 bytes each. Empty: any platform.
    pub platforms: Vec<Vec<u8>>,
    /// Accepted TCB statuses.
    pub statuses: Vec<TcbStatus>,
    /// Lower bounds for collateral.
    pub floors: Floors,
    /// When evidence is verified, Unix seconds.
    pub at: u64,
    /// Source of collateral if a node staples none that verifies. Real nodes staple none.
    pub collateral: Arc<Sources>,
}

/// A verified vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its address, as on the command line.
    pub address: String,
    /// Its MRENCLAVE.
    pub mrenclave: [u8; 32],
    /// The TCB of its platform.
    pub tcb: Tcb,
    /// Identifies its platform.
    pub platform: Vec<u8>,
    /// Its clock at verification, to the minute, Unix seconds. The node checks tokens by this clock.
    pub time: u64,
}

/// A verified vault and its session.
pub(crate) struct Proved {
    pub(crate) node: Node,
    pub(crate) server: Operator<TcpStream>,
}

impl Nodes {
    /// Connects to all vaults at once and verifies each. Results are in the order of the list.
    pub(crate) fn prove(&self, identity: &Identity) -> Vec<Result<Proved, Failure>> {
        thread::scope(|scope| {
            let dial = |address: &String| {
                let address = address.clone();
                scope.spawn(move || self.prove_one(&address, identity))
            };
            let dialling: Vec<_> = self.vaults.iter().map(dial).collect();
            dialling.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }

    /// Connects to one vault and verifies it.
    pub(crate) fn prove_one(&self, address: &str, identity: &Identity) -> Result<Proved, Failure> {
        let anchor = Anchor::from_der(self.anchor.clone());
        let demand = TcbDemand::Statuses(self.statuses.clone());
        let policy = Policy::of_nodes(self.mrenclaves.clone(), demand, self.floors.clone());
        let policy = Policy { platforms: self.platforms.clone(), ..policy };
        let node_ca = NodeCa::of(self.node_ca.clone());
        let clock = Clock { not_before: self.floors.built, machine: self.at, is_trusted: true };
        let expected = Expectation { anchor: &anchor, policy: &policy, clock, collateral: &*self.collateral };
        Proved::dial(address, identity, &node_ca, &expected, EVIDENCE + self.collateral.timeout()).map_err(|cause| {
            let is_about_evidence = matches!(cause, Cause::Vault(ratls::Error::Collateral(_) | ratls::Error::Node(_)));
            let caches = if is_about_evidence { self.collateral.problems() } else { Vec::new() };
            let cause = if caches.is_empty() { cause } else { Cause::Unverified { why: Box::new(cause), caches } };
            Failure { vault: address.to_owned(), cause }
        })
    }
}

impl Node {
    /// The TCB status, or `unknown`.
    #[must_use]
    pub fn status(&self) -> String {
        match &self.tcb {
            Tcb::Assessed { status, .. } => status.to_string(),
            Tcb::Unknown => "unknown".to_owned(),
        }
    }

    /// Advisories that apply to its platform.
    #[must_use]
    pub fn advisories(&self) -> &[String] {
        match &self.tcb {
            Tcb::Assessed { advisories, .. } => advisories,
            Tcb::Unknown => &[],
        }
    }
}

impl Proved {
    fn dial(
        address: &str,
        identity: &Identity,
        node_ca: &NodeCa,
        expected: &Expectation<'_>,
        verification: Duration,
    ) -> Result<Self, Cause> {
        let stream = dial::connect(address, Instant::now() + CONNECT)?;
        let mut context = [0; 32];
        SystemRandom::new().fill(&mut context).map_err(|_| Cause::Random)?;
        let handshaken = Handshaken::connect_within(node_ca, stream, identity, Instant::now() + CONNECT)?;
        let challenged = handshaken.challenge(&context, expected, Instant::now() + verification)?;
        let proved = challenged.node();
        let node = Node {
            address: address.to_owned(),
            mrenclave: *proved.mrenclave(),
            tcb: proved.tcb().clone(),
            platform: proved.platform().to_vec(),
            time: challenged.quote_time().unix_seconds(),
        };
        Ok(Self { node, server: Operator::new(challenged.unattested(), REQUEST) })
    }

    pub(crate) fn failed(&self, cause: Cause) -> Failure {
        Failure { vault: self.node.address.clone(), cause }
    }
}
