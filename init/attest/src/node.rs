//! The verdict on a vault node's quote.

use dcap_qvl::quote::{EnclaveReport, Quote};
use dcap_qvl::tcb_info::TcbInfo;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuotePolicy};
use subtle::ConstantTimeEq;

use crate::chain::{check_pck_chain, check_signing_chain};
use crate::{Anchor, Collateral, Frame, FrameError, Policy, TcbStatus, Tee};

/// SGX attributes, low byte: the enclave is initialised; it may be debugged; it may use the provisioning or launch key.
const ATTRIBUTE_INIT: u8 = 0x01;
const ATTRIBUTE_DEBUG: u8 = 0x02;
const ATTRIBUTE_PROVISION_KEY: u8 = 0x10;
const ATTRIBUTE_LAUNCH_KEY: u8 = 0x20;

/// Why a node is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not a quote.
    #[error("quote")]
    Frame(#[from] FrameError),
    /// A genuine quote of another kind of machine.
    #[error("quote is not an SGX enclave's")]
    NotSgx,
    /// The chain ends in another root than the anchor.
    #[error("chain ends in another root")]
    Anchor,
    /// The chain is not as Intel's are.
    #[error("{0}")]
    Chain(&'static str),
    /// Signature, window, revocation or TCB, in dcap-qvl's words (bounded).
    #[error("verification: {0}")]
    Verification(String),
    /// A TCB status that policy does not accept.
    #[error("tcb status {0}")]
    TcbStatus(TcbStatus),
    /// Collateral of another platform.
    #[error("collateral is for another PCE")]
    Pce,
    /// Collateral that begins after the time of verification.
    #[error("collateral from the future")]
    Future,
    /// Collateral older than the image allows.
    #[error("{0} below the image's floor")]
    Floor(&'static str),
    /// The enclave may be debugged.
    #[error("debug enclave")]
    Debug,
    /// The enclave is not initialised, or holds keys that no vault needs.
    #[error("enclave attributes")]
    Attributes,
    /// Another build than policy names.
    #[error("mrenclave is not on the list")]
    Measurement,
    /// The quote is not for this connection.
    #[error("report data is not of this connection")]
    ReportData,
}

/// A node whose evidence was verified for one connection. Only [`verify_node`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedNode {
    mrenclave: [u8; 32],
    status: TcbStatus,
    advisories: Vec<String>,
    platform: Vec<u8>,
    expires: u64,
}

impl VerifiedNode {
    /// The measurement of the node's build.
    #[must_use]
    pub fn mrenclave(&self) -> &[u8; 32] {
        &self.mrenclave
    }

    /// TCB status: platform and quoting enclave converged.
    #[must_use]
    pub fn status(&self) -> TcbStatus {
        self.status
    }

    /// Intel's advisories that apply to the platform as it is.
    #[must_use]
    pub fn advisories(&self) -> &[String] {
        &self.advisories
    }

    /// What tells this platform from another: platform instance id (16 bytes) where the PCK has one, else the PPID.
    #[must_use]
    pub fn platform(&self) -> &[u8] {
        &self.platform
    }

    /// When the first piece of the collateral stops being valid, Unix seconds.
    #[must_use]
    pub fn collateral_expires(&self) -> u64 {
        self.expires
    }
}

/// Verifies that `quote` is an enclave of `policy`, genuine under `anchor` and `collateral` at `now` (Unix seconds), and that it
/// was made for `report_data`, which the caller computed for its own end of the connection.
///
/// # Errors
/// [`Refusal`] names the first rule that does not hold.
pub fn verify_node(
    quote: &[u8],
    report_data: &[u8; 64],
    anchor: &Anchor,
    collateral: &Collateral,
    policy: &Policy,
    now: u64,
) -> Result<VerifiedNode, Refusal> {
    let frame = Frame::parse(quote)?;
    if frame.tee() != Tee::Sgx {
        return Err(Refusal::NotSgx);
    }
    let parsed = Quote::parse(frame.bytes()).map_err(|_| Refusal::Frame(FrameError::Short))?;
    check_pck_chain(&parsed, &anchor.0)?;
    check_signing_chain(&collateral.0.tcb_info_issuer_chain, &anchor.0)?;
    check_signing_chain(&collateral.0.qe_identity_issuer_chain, &anchor.0)?;

    let claims = QuoteVerifier::new(anchor.0.clone())
        .verify_with_policy(frame.bytes(), collateral.0.clone(), now, &QuotePolicy::claims_only(now))
        .map_err(|error| Refusal::Verification(bounded(&error.to_string())))?;
    check_collateral(&claims, collateral, policy, now)?;
    let report = claims.report.as_sgx().ok_or(Refusal::NotSgx)?;
    check_enclave(report, policy)?;
    if !bool::from(report.report_data.ct_eq(report_data)) {
        return Err(Refusal::ReportData);
    }
    let pck = &claims.platform.pck;
    Ok(VerifiedNode {
        mrenclave: report.mr_enclave,
        status: claims.tcb.status,
        advisories: claims.tcb.advisory_ids.clone(),
        platform: pck.platform_instance_id.map_or_else(|| pck.ppid.clone(), |id| id.to_vec()),
        expires: claims.earliest_expiration_date.min(claims.qe_iden_earliest_expiration_date),
    })
}

/// What dcap-qvl takes as it comes: status, PCE, dates that begin in the future, rollback.
fn check_collateral(claims: &QuoteClaims, collateral: &Collateral, policy: &Policy, now: u64) -> Result<(), Refusal> {
    let status = claims.tcb.status;
    if status == TcbStatus::Revoked || !policy.statuses.contains(&status) {
        return Err(Refusal::TcbStatus(status));
    }
    // The text was verified; it parses again as it did then.
    let info: TcbInfo = serde_json::from_str(&collateral.0.tcb_info).map_err(|_| Refusal::Pce)?;
    let pce_id = <[u8; 2]>::try_from(claims.platform.pck.pce_id.as_slice()).map(u16::from_be_bytes).map_err(|_| Refusal::Pce)?;
    if u16::from_str_radix(&info.pce_id, 16) != Ok(pce_id) {
        return Err(Refusal::Pce);
    }
    if claims.latest_issue_date > now || claims.qe_iden_latest_issue_date > now {
        return Err(Refusal::Future);
    }
    let floors = &policy.floors;
    let lowest_evaluation = claims.tcb.eval_data_number.min(claims.qe.tcb_eval_data_number);
    let floored = [
        (lowest_evaluation, floors.tcb_evaluation, "tcb evaluation number"),
        (claims.platform.root_ca_crl_num, floors.root_crl, "root CRL number"),
        (claims.platform.pck_crl_num, floors.pck_crl, "PCK CRL number"),
    ];
    match floored.iter().find(|(value, floor, _)| value < floor) {
        Some((_, _, what)) => Err(Refusal::Floor(what)),
        None => Ok(()),
    }
}

fn check_enclave(report: &EnclaveReport, policy: &Policy) -> Result<(), Refusal> {
    let [flags, ..] = report.attributes;
    if flags & ATTRIBUTE_DEBUG != 0 {
        return Err(Refusal::Debug);
    }
    if flags & ATTRIBUTE_INIT == 0 || flags & (ATTRIBUTE_PROVISION_KEY | ATTRIBUTE_LAUNCH_KEY) != 0 {
        return Err(Refusal::Attributes);
    }
    if !policy.mrenclaves.contains(&report.mr_enclave) {
        return Err(Refusal::Measurement);
    }
    Ok(())
}

/// dcap-qvl's words may quote what it was given: printable ASCII only, and not much of it.
fn bounded(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}
