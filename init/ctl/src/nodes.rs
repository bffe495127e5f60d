//! Dialling vaults, and having each prove itself as it would to a guest. Nothing but the challenge is sent before that.

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

/// The longest that connecting may take, and then TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest that the evidence of a node may take, without the time for caches of collateral: a node serves one request at a time.
const EVIDENCE: Duration = Duration::from_secs(30);
/// The longest that a request may take: a node serves one at a time, and asks its identity provider for keys meanwhile.
const REQUEST: Duration = Duration::from_secs(30);

/// Where the vaults are, and what each must prove.
#[derive(Clone)]
pub struct Nodes {
    /// `host:port` or `[v6]:port`, in the order in which shares are dealt.
    pub vaults: Vec<String>,
    /// The root that their quotes end in, DER.
    pub anchor: Vec<u8>,
    /// Builds that are vaults, 32 bytes each.
    pub mrenclaves: Vec<[u8; 32]>,
    /// Certificates of which one must have signed a vault's leaf, DER; none: any leaf.
    pub node_ca: Vec<Vec<u8>>,
    /// Platform instance ids or PPIDs that may run a vault, 16 bytes each; none: any platform.
    pub platforms: Vec<Vec<u8>>,
    /// TCB statuses that are good enough.
    pub statuses: Vec<TcbStatus>,
    /// What collateral may not be rolled back behind.
    pub floors: Floors,
    /// When evidence is verified, Unix seconds.
    pub at: u64,
    /// Where collateral comes from when a node staples none that will do. Real nodes staple none.
    pub collateral: Arc<Sources>,
}

/// A vault that proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its address as it was given.
    pub address: String,
    /// Its build.
    pub mrenclave: [u8; 32],
    /// What Intel says of its platform.
    pub tcb: Tcb,
    /// What tells its platform from another.
    pub platform: Vec<u8>,
    /// Its clock when it proved itself, to the minute, Unix seconds. It judges tokens by it.
    pub time: u64,
}

/// A proved vault with the connection on which it proved itself.
pub(crate) struct Proved {
    pub(crate) node: Node,
    pub(crate) server: Operator<TcpStream>,
}

impl Nodes {
    /// Dials every vault at once and has each prove itself, in the order of the list.
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

    /// Dials one vault and has it prove itself.
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
    /// The status, or that there is none.
    #[must_use]
    pub fn status(&self) -> String {
        match &self.tcb {
            Tcb::Assessed { status, .. } => status.to_string(),
            Tcb::Unknown => "unknown".to_owned(),
        }
    }

    /// Intel's advisories for its platform.
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
