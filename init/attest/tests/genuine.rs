//! Genuine quotes of real platforms at their own time, under Intel's root. tests/vectors/genuine lists their sources.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::path::PathBuf;

use TcbStatus::{OutOfDate, OutOfDateConfigurationNeeded, SwHardeningNeeded, TdRelaunchAdvised, UpToDate};
use attest::{
    Anchor, Appraisal, Checks, ClaimedPlatform, Collateral, Document, Floors, Policy, SgxPolicy, Tcb, TcbDemand, TcbStatus,
    TdPolicy, VerifyError, verify,
};

const INTEL: &[u8] = include_bytes!("../../../initrd/anchors/intel-sgx-root.der");

/// Floors with the MRSIGNER of Intel's quoting enclaves, SGX and TDX, as every QE identity here contains it.
fn floors() -> Floors {
    Floors::from_json(
        br#"{"built":0,"tcb_evaluation":0,"root_crl":0,"pck_crl":0,
        "qe_signers":["8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff",
                      "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5"]}"#,
    )
    .unwrap()
}

fn verify_sample(name: &str, demand: TcbDemand, now: u64) -> Result<Appraisal, VerifyError> {
    let folder = PathBuf::from("../../tests/vectors/genuine").join(name);
    let quote = std::fs::read(folder.join("quote.bin")).unwrap();
    let collateral = Collateral::from_json(&std::fs::read(folder.join("collateral.json")).unwrap()).unwrap();
    let policy =
        Policy { tcb: demand, floors: floors(), platforms: Vec::new(), sgx: SgxPolicy::default(), td: TdPolicy::default() };
    assert!(ClaimedPlatform::of(&quote).is_some(), "{name}");
    verify(&quote, Some(&collateral), &Anchor::from_der(INTEL.to_vec()), &policy, now, &mut Checks::kept())
}

fn earliest_of(name: &str) -> Option<u64> {
    let folder = PathBuf::from("../../tests/vectors/genuine").join(name);
    let quote = std::fs::read(folder.join("quote.bin")).unwrap();
    let collateral = Collateral::from_json(&std::fs::read(folder.join("collateral.json")).unwrap()).unwrap();
    attest::earliest(&quote, Some(&collateral), &Anchor::from_der(INTEL.to_vec()))
}

fn any() -> TcbDemand {
    let all = [UpToDate, SwHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, TdRelaunchAdvised];
    TcbDemand::Statuses(all.to_vec())
}

/// Name, Unix seconds within its validity, TCB status by Intel.
const VERIFIED: &[(&str, u64, TcbStatus)] = &[
    ("dcap-qvl-tdx_quote", 1_751_623_200, UpToDate), // 2025-07-04, TDX 1.5 module
    ("dcap-qvl-tdx_quote_td15ex", 1_792_000_000, UpToDate), // 2026-10-14, version 5, extended body
    ("dcap-qvl-20a06f", 1_758_093_720, UpToDate),    // 2025-09-17
    ("trustee-tdx-03", 1_762_289_100, OutOfDate),    // 2025-11-04, module TDX_03
    ("openenclave-module-update", 1_741_604_640, TdRelaunchAdvised), // 2025-03-10, module updated under a running domain
    ("automata-sgx", 1_719_814_260, SwHardeningNeeded), // 2024-07-01
    ("raiko-sgx", 1_710_603_360, OutOfDateConfigurationNeeded), // 2024-03-16
];

#[test]
fn each_is_verified_at_its_own_time_with_the_status_that_intel_gives() {
    for (name, now, want) in VERIFIED {
        let appraisal = verify_sample(name, any(), *now).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (from, until) = appraisal.valid();
        assert!(matches!(appraisal.tcb(), Tcb::Assessed { status, .. } if status == want), "{name}: {:?}", appraisal.tcb());
        // Validity is exact to the second.
        assert!((from..=until).contains(now), "{name}");
        assert!(verify_sample(name, any(), from - 1).unwrap_err().is_about_time(), "{name}: before");
        assert!(verify_sample(name, any(), until + 1).unwrap_err().is_about_time(), "{name}: after");
        assert!(verify_sample(name, any(), from).is_ok() && verify_sample(name, any(), until).is_ok(), "{name}: at its ends");
        assert_eq!(earliest_of(name), Some(from), "{name}");
        if *want != UpToDate {
            let strict = verify_sample(name, TcbDemand::Statuses(vec![UpToDate]), *now);
            assert!(matches!(strict, Err(VerifyError::TcbStatus(refused)) if refused.status == *want), "{name}");
        }
    }
}

#[test]
fn each_is_verified_by_its_signatures_alone() {
    for (name, now, _) in VERIFIED {
        let appraisal = verify_sample(name, TcbDemand::Signature, *now).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(appraisal.tcb(), &Tcb::Unknown, "{name}");
    }
}

#[test]
fn genuine_but_unacceptable_quotes_have_their_own_error() {
    let cases = [
        ("trustee-debug-td", 1_687_939_380, VerifyError::Debug),
        // From before 2021: another certificate of the same root key, PEM blocks on one line. It is a debug enclave.
        ("intel-earlier-root", 1_668_705_600, VerifyError::Debug),
        ("automata-service-domain", 1_750_768_860, VerifyError::Td("bound to a service TD")),
        ("dcap-qvl-tdx_quote_outdated", 1_772_718_600, VerifyError::NoTcbLevel),
        ("google-spr-e4", 1_687_939_380, VerifyError::NoTcbLevel),
        ("teepot-tcb-info-v2", 1_742_376_120, VerifyError::DocumentKind(Document::TcbInfo)),
    ];
    for (name, now, want) in cases {
        assert_eq!(verify_sample(name, any(), now), Err(want), "{name}");
    }
    // Domains of the first TDX modules had no SEPT_VE_DISABLE. Without it the host can inject page faults.
    assert_eq!(
        verify_sample("google-spr-e4", TcbDemand::Signature, 1_687_939_380),
        Err(VerifyError::Td("SEPT_VE_DISABLE is off"))
    );
}
