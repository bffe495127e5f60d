//! Dialling vaults, and having each prove itself as it would to a guest. Nothing but the challenge is sent before that.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use attest::{Anchor, Floors, Policy, Tcb, TcbDemand, TcbStatus};
use ring::rand::{SecureRandom, SystemRandom};
use vault::{Clock, Expectation, Handshaken, Identity, Session};

use crate::{Cause, Failure, dial};

/// The longest that one step of an exchange may take.
const STEP: Duration = Duration::from_secs(10);

/// Where the vaults are, and what each must prove.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// `host:port` or `[v6]:port`, in the order in which shares are dealt.
    pub vaults: Vec<String>,
    /// The root that their quotes end in, DER.
    pub anchor: Vec<u8>,
    /// Builds that are vaults, 32 bytes each.
    pub mrenclaves: Vec<[u8; 32]>,
    /// TCB statuses that are good enough.
    pub statuses: Vec<TcbStatus>,
    /// What collateral may not be rolled back behind.
    pub floors: Floors,
    /// When evidence is verified, Unix seconds.
    pub at: u64,
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
}

/// A proved vault with the connection on which it proved itself.
pub(crate) struct Proved {
    pub(crate) node: Node,
    session: Session<TcpStream>,
}

impl Nodes {
    /// Dials every vault at once and has each prove itself, in the order of the list.
    pub(crate) fn prove(&self, identity: &Identity) -> Vec<Result<Proved, Failure>> {
        let anchor = Anchor::from_der(self.anchor.clone());
        let demand = TcbDemand::Statuses(self.statuses.clone());
        let policy = Policy::of_nodes(self.mrenclaves.clone(), demand, self.floors.clone());
        let clock = Clock { not_before: self.floors.built, machine: self.at, is_trusted: true };
        let expected = Expectation { anchor: &anchor, policy: &policy, clock, collateral: &() };
        thread::scope(|scope| {
            let dialling: Vec<_> = self
                .vaults
                .iter()
                .map(|address| {
                    let expected = &expected;
                    scope.spawn(move || {
                        Proved::dial(address, identity, expected).map_err(|cause| Failure { vault: address.clone(), cause })
                    })
                })
                .collect();
            dialling.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
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
    fn dial(address: &str, identity: &Identity, expected: &Expectation<'_>) -> Result<Self, Cause> {
        let stream = dial::connect(address, Instant::now() + STEP)?;
        let mut context = [0; 32];
        SystemRandom::new().fill(&mut context).map_err(|_| Cause::Random)?;
        let handshaken = Handshaken::connect(stream, identity, Instant::now() + STEP)?;
        let challenged = handshaken.challenge(&context, expected, Instant::now() + STEP)?;
        let proved = challenged.node();
        let node = Node {
            address: address.to_owned(),
            mrenclave: *proved.mrenclave(),
            tcb: proved.tcb().clone(),
            platform: proved.platform().to_vec(),
        };
        Ok(Self { node, session: challenged.unattested()? })
    }

    /// Makes a request as it stands in wire.md, section 3.
    pub(crate) fn ask(&mut self, request: &serde_json::Value, bearer: Option<&str>) -> Result<vault::Answer, vault::Error> {
        self.session.request(request, bearer, Instant::now() + STEP)
    }

    pub(crate) fn failed(&self, cause: Cause) -> Failure {
        Failure { vault: self.node.address.clone(), cause }
    }
}
