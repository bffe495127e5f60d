//! What a node must prove, and at which time its evidence is verified.
//!
//! Until the nodes have agreed on a time, the client has only the host's clock, which it does not trust. So a node passes if all of its
//! evidence is valid at one possible time: the host's, or the earliest at which all of its collateral exists. The code that combines
//! shares checks [`VerifiedNode::is_valid_at`] again when the time is known.

use std::sync::Arc;
use std::time::Instant;

use attest::{Anchor, Collateral, Policy, TcbDemand, VerifiedNode, VerifyError};

use crate::Error;
use crate::message::Evidence;

/// What a node must prove.
pub struct Expectation<'a> {
    /// The root certificate of its quote's chain.
    pub anchor: &'a Anchor,
    /// Accepted builds and platforms.
    pub policy: &'a Policy,
    /// The present time, as far as it is known.
    pub clock: Clock,
    /// Source of collateral for a node that staples none, or none that verifies.
    pub collateral: &'a dyn CollateralSource,
}

/// The time as far as it is known, Unix seconds.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Lower bound: when the image was built.
    pub not_before: u64,
    /// The machine's own clock.
    pub machine: u64,
    /// Whether the machine's clock is trusted: an operator's is, a guest's is not, since the host sets it.
    pub is_trusted: bool,
}

/// A source of collateral other than the node. It need not be trusted, since Intel signs collateral.
pub trait CollateralSource: Sync {
    /// Returns what it finds for this quote until `deadline`, the best first.
    fn find(&self, quote: &[u8], deadline: Instant) -> Vec<Arc<Collateral>>;
}

/// No source but the node itself.
impl CollateralSource for () {
    fn find(&self, _quote: &[u8], _deadline: Instant) -> Vec<Arc<Collateral>> {
        Vec::new()
    }
}

impl Expectation<'_> {
    /// Verifies evidence with the stapled collateral, and if that fails, with collateral of the other source.
    pub(crate) fn verify(&self, evidence: &Evidence, report_data: &[u8; 64], until: Instant) -> Result<VerifiedNode, Error> {
        let quote = &evidence.quote;
        if self.policy.tcb == TcbDemand::Signature {
            return Ok(self.verify_some_time(quote, report_data, None)?);
        }
        let stapled = match evidence.collateral.as_deref().map(Collateral::from_json) {
            None => Err(Error::Collateral(None)),
            Some(Err(error)) => Err(Error::Collateral(Some(error))),
            Some(Ok(collateral)) => Ok(self.verify_with(quote, report_data, &collateral)),
        };
        let refused = match stapled {
            Ok(Ok(node)) => return Ok(node),
            Ok(Err(error)) => Error::Node(error),
            Err(error) => error,
        };
        let others = self.collateral.find(quote, until);
        let mut verdicts = others.iter().map(|collateral| self.verify_with(quote, report_data, collateral));
        match verdicts.find_map(Result::ok) {
            Some(node) => Ok(node),
            // With nothing stapled, the error of the collateral that was found is more useful.
            None if matches!(refused, Error::Collateral(None)) => match others.first() {
                Some(collateral) => self.verify_with(quote, report_data, collateral).map_err(Error::Node),
                None => Err(refused),
            },
            None => Err(refused),
        }
    }

    fn verify_with(&self, quote: &[u8], report_data: &[u8; 64], collateral: &Collateral) -> Result<VerifiedNode, VerifyError> {
        self.verify_some_time(quote, report_data, Some(collateral))
    }

    /// Verifies at the machine's time and, if that fails because of the time, at the earliest possible one.
    fn verify_some_time(
        &self,
        quote: &[u8],
        to: &[u8; 64],
        collateral: Option<&Collateral>,
    ) -> Result<VerifiedNode, VerifyError> {
        let now = self.now();
        let error = match self.verify_at(quote, to, collateral, now) {
            Err(error) if error.is_about_time() && !self.clock.is_trusted => error,
            verdict => return verdict,
        };
        match attest::earliest(quote, collateral, self.anchor).map(|earliest| earliest.max(self.clock.not_before)) {
            Some(earliest) if earliest != now => self.verify_at(quote, to, collateral, earliest).map_err(|_| error),
            _ => Err(error),
        }
    }

    fn verify_at(
        &self,
        quote: &[u8],
        to: &[u8; 64],
        collateral: Option<&Collateral>,
        now: u64,
    ) -> Result<VerifiedNode, VerifyError> {
        attest::verify_node(quote, to, self.anchor, collateral, self.policy, now)
    }

    fn now(&self) -> u64 {
        self.clock.machine.max(self.clock.not_before)
    }
}
