//! A guest's request for the key, made by the host with a quote of its choice: what a vault gives to these registers.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use attest::{Anchor, Floors, Policy, TcbDemand, TcbStatus};
use dcap::{Platform, TdQuote};
use qemu::TdInfo;
use ratls::{Clock, Expectation, Handshaken, Identity, OwnEvidence};
use ring::rand::{SecureRandom, SystemRandom};
use vault::Refused;

use super::Vaults;
use crate::{Context, Failure, clock};

/// The longest that one step may take.
const STEP: Duration = Duration::from_secs(30);

impl Vaults {
    /// Asks each node for its share as PID 1 does, as a guest with these registers. The nodes must staple collateral. Returns whether all
    /// gave their share; `false`: all denied it by the key's policy.
    ///
    /// # Errors
    /// The nodes differ, or another error than that denial.
    pub(crate) fn give_key_to(&self, td: &TdInfo) -> Result<bool, Failure> {
        let platform = self.pki.platform("host").context("making the host's platform")?;
        let ask = |node: &vault_node::NodeHandle| self.gives_share(node.addr(), td, &platform);
        let gave = self.nodes.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
        match (gave.contains(&true), gave.contains(&false)) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            _ => Err(Failure(format!("expected one answer from all vaults, found {gave:?}"))),
        }
    }

    fn gives_share(&self, address: SocketAddr, td: &TdInfo, platform: &Platform) -> Result<bool, Failure> {
        let identity = Identity::guest([7; 16]).context("making the guest's identity")?;
        let anchor = Anchor::from_der(self.pki.root_der().to_vec());
        let demand = TcbDemand::Statuses(vec![TcbStatus::UpToDate]);
        let policy = Policy::of_nodes(vec![self.mrenclave], demand, Floors::default());
        let clock = Clock { not_before: 0, machine: clock::now(), is_trusted: true };
        let expected = Expectation { anchor: &anchor, policy: &policy, clock, collateral: &() };
        let mut context = [0; 32];
        SystemRandom::new().fill(&mut context).context("reading random numbers")?;
        let until = || Instant::now() + STEP;
        let stream = TcpStream::connect_timeout(&address, STEP).context("connecting to a vault")?;
        let handshaken = Handshaken::connect(stream, &identity, until()).context("TLS with a vault")?;
        let challenged = handshaken.challenge(&context, &expected, until()).context("challenging a vault")?;
        let own = |report_data: &[u8; 64]| {
            let quote = quote(td, report_data).sign(platform).map_err(|error| ratls::Error::OwnQuote(error.to_string()))?;
            Ok(OwnEvidence { quote, tee: "tdx" })
        };
        let mut session = challenged.present(own, STEP).context("presenting evidence to a vault")?;
        match vault::export_key(&mut session, &self.handle, until()) {
            Ok(_) => Ok(true),
            Err(vault::Error::Refused(Refused::Denied)) => Ok(false),
            Err(error) => Err(Failure(format!("asking a vault for its share: {}", failure::chain(&error)))),
        }
    }
}

fn quote(td: &TdInfo, report_data: &[u8; 64]) -> TdQuote {
    TdQuote {
        td_attributes: td.attributes,
        xfam: td.xfam,
        mrtd: td.mrtd.0,
        rtmr: td.rtmrs.map(|register| register.0),
        ..TdQuote::new(*report_data)
    }
}
