//! T: TCB status.

use attest::{TcbDemand, TcbStatus, VerifyError};
use dcap::{Level, ModuleLevel, QeLevel};

use crate::world::Kind::{Sgx, Tdx, Tdx15};
use crate::world::{Case, Plot, appraise, appraise_in_detail};

/// As Intel writes it, and as policy does; no policy can accept `Revoked`.
const STATUSES: [(&str, Option<TcbStatus>); 7] = [
    ("UpToDate", Some(TcbStatus::UpToDate)),
    ("OutOfDate", Some(TcbStatus::OutOfDate)),
    ("ConfigurationNeeded", Some(TcbStatus::ConfigurationNeeded)),
    ("OutOfDateConfigurationNeeded", Some(TcbStatus::OutOfDateConfigurationNeeded)),
    ("SWHardeningNeeded", Some(TcbStatus::SwHardeningNeeded)),
    ("ConfigurationAndSWHardeningNeeded", Some(TcbStatus::ConfigurationAndSwHardeningNeeded)),
    ("Revoked", None),
];

/// T1: each status of the platform with each policy of one status.
#[test]
fn a_status_is_accepted_exactly_when_policy_names_it() {
    for (name, status) in STATUSES {
        for accepted in STATUSES.into_iter().filter_map(|(_, status)| status) {
            let result = appraise(Sgx, |plot| {
                plot.collateral.tcb_info.tcb_levels[0].tcb_status = name.to_owned();
                plot.policy.tcb = TcbDemand::Statuses(vec![accepted]);
            });
            let want = match status {
                Some(status) if status == accepted => Ok(()),
                Some(status) => Err(VerifyError::status(status)),
                None => Err(VerifyError::TcbRevoked),
            };
            assert_eq!(result.map(|_| ()), want, "{name} where {accepted} is accepted");
        }
    }
}

/// The message names the status to accept, the collateral's number, and what to update.
#[test]
fn refused_status_names_its_causes() {
    type Change = fn(&mut Plot);
    let cases: [(&str, crate::world::Kind, Change, &str); 4] = [
        (
            "a processor on the lower level",
            Sgx,
            |p| {
                let mut components = p.platform.extension.components;
                components[0] = 255;
                p.collateral.tcb_info.tcb_levels[0] = Level::new(&components, 99, &[], "UpToDate");
                p.collateral.tcb_info.tcb_levels[1].advisories = vec!["INTEL-SA-00001".to_owned(), "INTEL-SA-00002".to_owned()];
            },
            "TCB status OutOfDate is not accepted (to accept it, add OutOfDate to the list); TCB evaluation set 20; below an accepted level: \
             CPUSVN[0] 3 of 255 PCESVN 13 of 99; advisories: INTEL-SA-00001 INTEL-SA-00002",
        ),
        (
            "a domain's module on the lower level",
            Tdx,
            |p| p.td.tee_tcb_svn[2] = 2,
            "TCB status OutOfDate is not accepted (to accept it, add OutOfDate to the list); TCB evaluation set 20; below an accepted level: \
             TEE_TCB_SVN[2] 2 of 3; advisories: INTEL-SA-00960",
        ),
        (
            "nothing of the platform",
            Sgx,
            |p| p.collateral.qe_identity.tcb_levels = vec![QeLevel::new(8, "OutOfDate")],
            "TCB status OutOfDate is not accepted (to accept it, add OutOfDate to the list); TCB evaluation set 20; TDX module, quoting enclave or \
             configuration; advisories: none",
        ),
        (
            "revoked",
            Sgx,
            |p| p.collateral.tcb_info.tcb_levels[0].tcb_status = "Revoked".to_owned(),
            "TCB status Revoked is not accepted",
        ),
    ];
    for (name, kind, change, want) in cases {
        let error = appraise_in_detail(kind, change).unwrap_err();
        assert_eq!(error.to_string(), want, "{name}");
    }
}

#[test]
fn platform_quoting_enclave_and_module_all_count() {
    let outdated = VerifyError::status(TcbStatus::OutOfDate);
    let revoked = VerifyError::TcbRevoked;
    let cases: [Case; 19] = [
        (
            "T1",
            Sgx,
            "QE outdated",
            |p| p.collateral.qe_identity.tcb_levels = vec![QeLevel::new(8, "OutOfDate")],
            outdated.clone(),
        ),
        (
            "T1",
            Tdx,
            "QE outdated",
            |p| p.collateral.qe_identity.tcb_levels = vec![QeLevel::new(4, "OutOfDate")],
            outdated.clone(),
        ),
        (
            "T1",
            Tdx,
            "module outdated",
            |p| p.collateral.tcb_info.tdx_module_identities[0].tcb_levels = vec![ModuleLevel::new(6, "OutOfDate")],
            outdated.clone(),
        ),
        ("T1", Tdx, "platform on the lower level", |p| p.td.tee_tcb_svn[2] = 2, outdated),
        ("T2", Sgx, "QE revoked", |p| p.collateral.qe_identity.tcb_levels = vec![QeLevel::new(8, "Revoked")], revoked.clone()),
        (
            "T2",
            Tdx,
            "module revoked",
            |p| p.collateral.tcb_info.tdx_module_identities[0].tcb_levels = vec![ModuleLevel::new(6, "Revoked")],
            revoked.clone(),
        ),
        ("T2", Tdx, "platform revoked", |p| p.collateral.tcb_info.tcb_levels[0].tcb_status = "Revoked".to_owned(), revoked),
        (
            "T3",
            Sgx,
            "below the lowest level",
            |p| p.collateral.tcb_info.tcb_levels = vec![Level::new(&[255; 16], 5, &[], "UpToDate")],
            VerifyError::NoTcbLevel,
        ),
        (
            "T3",
            Sgx,
            "PCE below the lowest level",
            |p| p.collateral.tcb_info.tcb_levels = vec![Level::new(&[0; 16], 99, &[], "UpToDate")],
            VerifyError::NoTcbLevel,
        ),
        (
            "T3",
            Sgx,
            "QE below the lowest level",
            |p| p.collateral.qe_identity.tcb_levels = vec![QeLevel::new(9, "UpToDate")],
            VerifyError::QeIdentity("below every level"),
        ),
        ("T3", Tdx, "module below the lowest level", |p| p.td.tee_tcb_svn[0] = 1, VerifyError::TdxModule("below every level")),
        (
            "T4",
            Tdx,
            "module of a version without identity",
            |p| p.td.tee_tcb_svn[1] = 9,
            VerifyError::TdxModule("no identity of its version"),
        ),
        ("T5", Tdx, "another signer of the module", |p| p.td.mrsignerseam[0] = 1, VerifyError::TdxModule("another signer")),
        ("T5", Tdx, "attributes of the module", |p| p.td.seam_attributes[7] = 1, VerifyError::TdxModule("other attributes")),
        (
            "T6",
            Tdx15,
            "the current TCB is below every level",
            |p| p.td.tee_tcb_svn2 = Some([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            VerifyError::NoTcbLevel,
        ),
        (
            "T7",
            Sgx,
            "an advisory that is denied",
            |p| {
                p.collateral.tcb_info.tcb_levels[0].advisories = vec!["INTEL-SA-00615".to_owned(), "INTEL-SA-00960".to_owned()];
                p.policy.floors.advisories_denied = vec!["INTEL-SA-00960".to_owned()];
            },
            VerifyError::Advisory,
        ),
        ("Q1", Sgx, "QE of another signer", |p| p.sgx.signature.qe.mrsigner[0] ^= 1, VerifyError::QeIdentity("another signer")),
        ("Q1", Sgx, "QE of another product", |p| p.sgx.signature.qe.isv_prod_id = 2, VerifyError::QeIdentity("another product")),
        ("Q1", Sgx, "QE that may be debugged", |p| p.sgx.signature.qe.flags |= 2, VerifyError::QeIdentity("debug")),
    ];
    crate::run(&cases);
}

#[test]
fn quoting_enclave_is_masked_and_compared() {
    let cases: [Case; 3] = [
        ("Q1", Sgx, "MISCSELECT of the QE", |p| p.sgx.signature.qe.misc_select = 1, VerifyError::QeIdentity("other MISCSELECT")),
        ("Q1", Sgx, "attributes of the QE", |p| p.sgx.signature.qe.flags |= 0x20, VerifyError::QeIdentity("other attributes")),
        ("Q1", Tdx, "the SGX QE for a domain", |p| p.td.signature.qe.isv_prod_id = 1, VerifyError::QeIdentity("another product")),
    ];
    crate::run(&cases);
}
