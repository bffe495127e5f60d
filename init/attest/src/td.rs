//! Policy checks of a trust domain's report.

use dcap_qvl::quote::{Report, TDReport10, TDReport15};
use encoding::hex;

use crate::VerifyError;
use crate::checks::Checks;
use crate::policy::TdPolicy;

/// TDATTRIBUTES (Intel TDX Module ABI 348551-008): debug; profiling; unused bits of the first byte.
const DEBUG: u64 = 1;
const PROFILING: u64 = 0x70;
const SEPT_VE_DISABLE: u64 = 1 << 28;
const MIGRATABLE: u64 = 1 << 29;
const SERVTD_EXT: u64 = 1 << 17;
/// Features that affect only the guest itself: LASS, PKS.
const HARMLESS: u64 = 1 << 27 | 1 << 30;
/// Features that policy may allow: ICSSD, KL, TPA, PERFMON.
const OPTIONAL: u64 = 1 << 16 | 1 << 31 | 1 << 62 | 1 << 63;
/// XFAM: x87 and SSE always; the rest within what go-tdx-guest's mask allows.
const XFAM_FIXED1: u64 = 0x3;
const XFAM_FIXED0: u64 = 0x0006_dbe7;

pub(crate) fn check(report: &Report, policy: &TdPolicy, checks: &mut Checks) -> Result<(), VerifyError> {
    let td = report.as_td10().ok_or(VerifyError::NotTdx)?;
    check_attributes(td, report.as_td15(), policy)?;
    checks.passed("TD attributes", || format!("{:#018x}: no debug, no profiling", u64::from_le_bytes(td.td_attributes)));
    let xfam = u64::from_le_bytes(td.xfam);
    if xfam & XFAM_FIXED1 != XFAM_FIXED1 || xfam & !XFAM_FIXED0 != 0 {
        return Err(VerifyError::Td("XFAM has bits that are not allowed, or lacks x87 and SSE"));
    }
    checks.passed("XFAM", || format!("{xfam:#x} within {XFAM_FIXED0:#x}"));
    let [rtmr0, rtmr1, rtmr2, rtmr3] = &policy.rtmrs;
    let measurements = [
        ("mrseam", &td.mr_seam, &policy.mrseam),
        ("mrtd", &td.mr_td, &policy.mrtd),
        ("rtmr0", &td.rt_mr0, rtmr0),
        ("rtmr1", &td.rt_mr1, rtmr1),
        ("rtmr2", &td.rt_mr2, rtmr2),
        ("rtmr3", &td.rt_mr3, rtmr3),
        ("mrconfigid", &td.mr_config_id, &policy.mrconfigid),
        ("mrowner", &td.mr_owner, &policy.mrowner),
        ("mrownerconfig", &td.mr_owner_config, &policy.mrownerconfig),
    ];
    for (name, value, wanted) in measurements {
        match wanted {
            None => checks.skipped(name, || format!("{}: not compared: policy gives no value", hex::encode(value))),
            Some(wanted) if wanted == value => checks.passed(name, || hex::encode(value)),
            Some(wanted) => {
                let (expected, found) = (Box::new(*wanted), Box::new(*value));
                return Err(VerifyError::Measurement { name, expected, found });
            }
        }
    }
    Ok(())
}

fn check_attributes(td: &TDReport10, newer: Option<&TDReport15>, policy: &TdPolicy) -> Result<(), VerifyError> {
    let attributes = u64::from_le_bytes(td.td_attributes);
    let is_set = |bits: u64| attributes & bits != 0;
    if is_set(DEBUG) {
        return Err(VerifyError::Debug);
    }
    if is_set(PROFILING) {
        return Err(VerifyError::Td("profiling is on"));
    }
    if is_set(MIGRATABLE) {
        return Err(VerifyError::Td("migratable"));
    }
    if is_set(SERVTD_EXT) || newer.is_some_and(|report| report.mr_service_td != [0; 48]) {
        return Err(VerifyError::Td("bound to a service TD"));
    }
    if !is_set(SEPT_VE_DISABLE) {
        return Err(VerifyError::Td("SEPT_VE_DISABLE is off"));
    }
    if is_set(!(SEPT_VE_DISABLE | HARMLESS | OPTIONAL)) {
        return Err(VerifyError::Td("reserved bits in TDATTRIBUTES"));
    }
    if is_set(OPTIONAL & !policy.attributes_allowed) {
        return Err(VerifyError::Td("an attribute that policy does not allow"));
    }
    Ok(())
}
