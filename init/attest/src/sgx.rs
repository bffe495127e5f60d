//! Policy checks of an SGX enclave's report.

use dcap_qvl::quote::EnclaveReport;
use encoding::hex;

use crate::VerifyError;
use crate::checks::Checks;
use crate::policy::SgxPolicy;

/// ATTRIBUTES, low byte: initialised; debug mode; access to the provisioning key or to the launch key.
const INIT: u8 = 0x01;
const DEBUG: u8 = 0x02;
const PROVISION_KEY: u8 = 0x10;
const LAUNCH_KEY: u8 = 0x20;
/// MISCSELECT: the CPU reports faults to the enclave (EXINFO, CPINFO). No other bit is defined.
const MISC_KNOWN: u32 = 0b11;

pub(crate) fn check(report: &EnclaveReport, policy: &SgxPolicy, checks: &mut Checks) -> Result<(), VerifyError> {
    let [flags, ..] = report.attributes;
    if flags & DEBUG != 0 {
        return Err(VerifyError::Debug);
    }
    if flags & INIT == 0 {
        return Err(VerifyError::Sgx("not initialised"));
    }
    if flags & (PROVISION_KEY | LAUNCH_KEY) != 0 {
        return Err(VerifyError::Sgx("access to provisioning or launch keys"));
    }
    if report.misc_select & !MISC_KNOWN != 0 {
        return Err(VerifyError::Sgx("unknown bits in MISCSELECT"));
    }
    checks.passed("enclave attributes", || format!("flags {flags:#04x}: initialised, no debug, no provisioning or launch key"));
    check_config(report, policy)?;
    checks.passed("enclave CONFIGID", || "as policy has it, CONFIGSVN 0".to_owned());
    match &policy.mrenclaves {
        None => {
            checks.skipped("MRENCLAVE", || format!("{}: not compared: policy gives no value", hex::encode(&report.mr_enclave)));
        }
        Some(builds) if builds.contains(&report.mr_enclave) => {
            checks.passed("MRENCLAVE", || format!("{} is one of {}", hex::encode(&report.mr_enclave), builds.len()));
        }
        Some(_) => return Err(VerifyError::Mrenclave(report.mr_enclave)),
    }
    Ok(())
}

/// Compares CONFIGID and CONFIGSVN. The host chooses them when it starts an enclave, and MRENCLAVE does not cover them.
fn check_config(report: &EnclaveReport, policy: &SgxPolicy) -> Result<(), VerifyError> {
    // Report bytes 160..256 (CONFIGID at 192) and 260..320 (CONFIGSVN at 260).
    let id = report.reserved3.get(32..).unwrap_or_default();
    let svn = report.reserved4.first_chunk::<2>();
    if id != policy.config_id || svn != Some(&[0, 0]) {
        return Err(VerifyError::Sgx("CONFIGID or CONFIGSVN differs from policy"));
    }
    Ok(())
}
