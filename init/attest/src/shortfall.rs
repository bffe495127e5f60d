//! Why a platform's TCB is not accepted: what an operator must update or accept.

use dcap_qvl::tcb_info::TcbInfo;
use dcap_qvl::{QuoteClaims, SvnComponent, SvnShortfall};

use crate::appraisal::tee_tcb_svn;
use crate::policy::{TcbStatus, acceptable};

/// A TCB status that policy does not accept, and its causes. Intel signed all of the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbShortfall {
    /// Status of platform, TDX module and quoting enclave together.
    pub status: TcbStatus,
    /// The causes, where they are known.
    pub details: Option<Box<TcbDetails>>,
}

/// The causes of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbDetails {
    /// `tcbEvaluationDataNumber` of the collateral.
    pub evaluation: u32,
    /// Components below the nearest platform level that policy accepts. Empty: the TDX module, the quoting enclave or the configuration
    /// is the cause.
    pub short: Vec<SvnShortfall>,
    /// Intel's advisories that apply.
    pub advisories: Vec<String>,
}

impl TcbShortfall {
    /// A status without details.
    #[must_use]
    pub const fn bare(status: TcbStatus) -> Self {
        Self { status, details: None }
    }

    pub(crate) fn of(status: TcbStatus, claims: &QuoteClaims, info: &TcbInfo, accepted: &[TcbStatus]) -> Self {
        let pck = &claims.platform.pck;
        let levels =
            info.tcb_levels.iter().filter(|level| acceptable(level.tcb_status).is_some_and(|status| accepted.contains(&status)));
        let short = levels.filter_map(|level| level.shortfalls(&pck.cpu_svn, pck.pce_svn, tee_tcb_svn(&claims.report)).ok());
        let details = TcbDetails {
            evaluation: claims.tcb.eval_data_number,
            short: short.min_by_key(Vec::len).unwrap_or_default(),
            advisories: claims.tcb.advisory_ids.clone(),
        };
        Self { status, details: Some(Box::new(details)) }
    }
}

impl std::error::Error for TcbShortfall {}

impl std::fmt::Display for TcbShortfall {
    /// `TCB status OutOfDate is not accepted (to accept it, add OutOfDate to the list); TCB evaluation set 20; below an accepted level:
    /// CPUSVN[0] 9 of 11; advisories: ...`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TCB status {} is not accepted", self.status)?;
        let Some(TcbDetails { evaluation, short, advisories }) = self.details.as_deref() else { return Ok(()) };
        write!(f, " (to accept it, add {} to the list); TCB evaluation set {evaluation}; ", self.status)?;
        f.write_str(if short.is_empty() { "TDX module, quoting enclave or configuration" } else { "below an accepted level:" })?;
        for SvnShortfall { component, have, needs } in short {
            match component {
                SvnComponent::Sgx(index) => write!(f, " CPUSVN[{index}]"),
                SvnComponent::Tdx(index) => write!(f, " TEE_TCB_SVN[{index}]"),
                SvnComponent::PceSvn => f.write_str(" PCESVN"),
                SvnComponent::TdxModuleIsvSvn => f.write_str(" TDX module"),
            }?;
            write!(f, " {have} of {needs}")?;
        }
        f.write_str("; advisories:")?;
        if advisories.is_empty() { f.write_str(" none") } else { advisories.iter().try_for_each(|id| write!(f, " {id}")) }
    }
}
