//! Verification of a vault node: an SGX enclave of a listed build, and a quote made for this connection.

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
    /// The validity of the evidence, or a shorter period ([`VerifiedNode::within`]).
    valid: (u64, u64),
    mrenclave: [u8; 32],
}

impl VerifiedNode {
    /// The measurement of the node's build.
    #[must_use]
    pub fn mrenclave(&self) -> &[u8; 32] {
        &self.mrenclave
    }

    /// The TCB of the platform, as far as it was assessed.
    #[must_use]
    pub fn tcb(&self) -> &Tcb {
        &self.evidence.tcb
    }

    /// Identifies the platform, 16 bytes.
    #[must_use]
    pub fn platform(&self) -> &[u8] {
        &self.evidence.platform.id
    }

    /// First and last second in which all evidence for the node is valid, Unix time.
    #[must_use]
    pub fn valid(&self) -> (u64, u64) {
        self.valid
    }

    /// When the newest part of the evidence was issued, Unix seconds: a lower bound of the present time, signed by Intel. Dates that
    /// [`VerifiedNode::within`] adds are not signed by Intel and do not count.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.evidence.valid.0
    }

    /// The same node with its validity limited to this period, that of another proof in addition to the evidence.
    #[must_use]
    pub fn within(mut self, (from, until): (u64, u64)) -> Self {
        self.valid = (self.valid.0.max(from), self.valid.1.min(until));
        self
    }

    /// Whether verification at `time` (Unix seconds) would succeed too: time decides only about the validity of certificates, lists and
    /// documents, and [`VerifiedNode::valid`] covers all of them.
    #[must_use]
    pub fn is_valid_at(&self, time: u64) -> bool {
        let (from, until) = self.valid;
        (from..=until).contains(&time)
    }
}

/// Verifies that `quote` is of an enclave that `policy` accepts, genuine under `anchor` and `collateral` at `now` (Unix seconds), and
/// made for `report_data`, which the caller computed for its own end of the connection.
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
    if policy.sgx.mrenclaves.is_none() {
        return Err(VerifyError::NoMrenclave);
    }
    let evidence = verify(quote, collateral, anchor, policy, now, &mut Checks::ignored())?;
    if !bool::from(evidence.report_data().ct_eq(report_data)) {
        return Err(VerifyError::ReportData);
    }
    let Report::SgxEnclave(report) = &evidence.report else { return Err(VerifyError::NotSgx) };
    let mrenclave = report.mr_enclave;
    Ok(VerifiedNode { valid: evidence.valid, evidence, mrenclave })
}
