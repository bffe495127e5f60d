//! What a node must prove, and when it may be.
//!
//! Before anybody who could be believed has said what time it is, a node passes if everything that speaks for it is valid at one
//! time that may be: the host's, or else the earliest at which its collateral can be current. Whoever combines shares looks at
//! [`VerifiedNode::is_valid_at`] again when the time is known.

use std::sync::Arc;
use std::time::Instant;

use attest::{Anchor, Collateral, Policy, TcbDemand, VerifiedNode, VerifyError};

use crate::Error;
use crate::message::Evidence;

/// What the node must prove.
pub struct Expectation<'a> {
    /// The root that its quote's chain ends in.
    pub anchor: &'a Anchor,
    /// Which builds and platforms are believed.
    pub policy: &'a Policy,
    /// What time it may be.
    pub clock: Clock,
    /// Where collateral comes from when the node staples none that will do.
    pub collateral: &'a dyn CollateralSource,
}

/// What is known of the time, Unix seconds.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// It is not earlier: the image was built then.
    pub not_before: u64,
    /// What the machine's own clock says.
    pub machine: u64,
    /// Whether that is to be believed: an operator's is, a host's is not.
    pub is_trusted: bool,
}

/// Collateral from elsewhere than the node. It is Intel-signed, so where it comes from is not trusted.
pub trait CollateralSource: Sync {
    /// What there is for this quote, the best first, found until `deadline`.
    fn find(&self, quote: &[u8], deadline: Instant) -> Vec<Arc<Collateral>>;
}

/// No other source than the node itself.
impl CollateralSource for () {
    fn find(&self, _quote: &[u8], _deadline: Instant) -> Vec<Arc<Collateral>> {
        Vec::new()
    }
}

impl Expectation<'_> {
    /// Verifies evidence with what the node stapled, and if that will not do, with what else there is.
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
            // With nothing stapled, what was found says more than that nothing was stapled.
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

    /// At the machine's time, and where that is what is wrong, at the earliest that may be.
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
