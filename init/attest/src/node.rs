//! The verdict on a vault node: a believed enclave of the named builds, for one connection.

use subtle::ConstantTimeEq;

use crate::appraisal::{Appraisal, Tcb, verify};
use crate::checks::Checks;
use crate::policy::{Anchor, Policy};
use crate::{Collateral, QuoteHeader, Tee, VerifyError};
use dcap_qvl::quote::Report;

/// A node whose evidence was verified for one connection. Only [`verify_node`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedNode {
    evidence: Appraisal,
    /// The window of the evidence, or a narrower one ([`VerifiedNode::within`]).
    valid: (u64, u64),
    mrenclave: [u8; 32],
}

impl VerifiedNode {
    /// The measurement of the node's build.
    #[must_use]
    pub fn mrenclave(&self) -> &[u8; 32] {
        &self.mrenclave
    }

    /// What is known of the platform's TCB.
    #[must_use]
    pub fn tcb(&self) -> &Tcb {
        &self.evidence.tcb
    }

    /// What tells this platform from another, 16 bytes.
    #[must_use]
    pub fn platform(&self) -> &[u8] {
        &self.evidence.platform.id
    }

    /// From when until when, both included, everything that speaks for the node is valid: Unix seconds.
    #[must_use]
    pub fn valid(&self) -> (u64, u64) {
        self.valid
    }

    /// When the youngest part of the evidence was issued, all of it signed by Intel: it is not earlier now. Unix seconds. What
    /// [`VerifiedNode::within`] adds does not count, since others than Intel say it.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.evidence.valid.0
    }

    /// The same node, whose window is no wider than this one, that of what speaks for the node beside its evidence.
    #[must_use]
    pub fn within(mut self, (from, until): (u64, u64)) -> Self {
        self.valid = (self.valid.0.max(from), self.valid.1.min(until));
        self
    }

    /// Whether the verdict is the same at `time` (Unix seconds): time decides nothing but the windows of certificates, lists
    /// and documents, and all of them are in [`VerifiedNode::valid`].
    #[must_use]
    pub fn is_valid_at(&self, time: u64) -> bool {
        let (from, until) = self.valid;
        (from..=until).contains(&time)
    }
}

/// Verifies that `quote` is an enclave of `policy`, genuine under `anchor` and `collateral` at `now` (Unix seconds), and that it
/// was made for `report_data`, which the caller computed for its own end of the connection.
///
/// # Errors
/// [`VerifyError`] names the first rule that does not hold.
pub fn verify_node(
    quote: &[u8],
    report_data: &[u8; 64],
    anchor: &Anchor,
    collateral: Option<&Collateral>,
    policy: &Policy,
    now: u64,
) -> Result<VerifiedNode, VerifyError> {
    if QuoteHeader::parse(quote)?.tee() != Tee::Sgx {
        return Err(VerifyError::NotSgx);
    }
    // A node is a build that policy names: a policy that names none makes no node.
    if policy.sgx.mrenclaves.is_none() {
        return Err(VerifyError::Measurement("mrenclave"));
    }
    let evidence = verify(quote, collateral, anchor, policy, now, &mut Checks::ignored())?;
    if !bool::from(evidence.report_data().ct_eq(report_data)) {
        return Err(VerifyError::ReportData);
    }
    let Report::SgxEnclave(report) = &evidence.report else { return Err(VerifyError::NotSgx) };
    let mrenclave = report.mr_enclave;
    Ok(VerifiedNode { valid: evidence.valid, evidence, mrenclave })
}
