//! Parses bytes as collateral, in both formats, and verifies a genuine quote with it. The result may only be the genuine appraisal or an error.
#![no_main]

use std::sync::LazyLock;

use attest::{Anchor, Checks, Collateral, Appraisal, Floors, PcsParts, Policy, TcbDemand, TcbStatus, verify};
use libfuzzer_sys::fuzz_target;

const QUOTE: &[u8] = include_bytes!("../../vectors/dcap-qvl/sgx_quote");
const GENUINE: &[u8] = include_bytes!("../../vectors/dcap-qvl/sgx_quote_collateral.json");
const INTEL: &[u8] = include_bytes!("../../../initrd/anchors/intel-sgx-root.der");
/// 2025-06-25, inside the collateral's windows.
const NOW: u64 = 1_750_809_600;

fn appraise(collateral: &Collateral) -> Option<Appraisal> {
    let statuses = TcbDemand::Statuses(vec![TcbStatus::UpToDate, TcbStatus::ConfigurationAndSwHardeningNeeded]);
    let mut policy = Policy::of_nodes(Vec::new(), statuses, Floors::default());
    policy.sgx.mrenclaves = None;
    verify(QUOTE, Some(collateral), &Anchor::from_der(INTEL.to_vec()), &policy, NOW, &mut Checks::ignored()).ok()
}

static APPRAISAL: LazyLock<Option<Appraisal>> =
    LazyLock::new(|| appraise(&Collateral::from_json(GENUINE).expect("genuine collateral")));

fuzz_target!(|bytes: &[u8]| {
    let parts = PcsParts {
        tcb_info: bytes.to_vec(),
        qe_identity: bytes.to_vec(),
        pck_crl: bytes.to_vec(),
        root_ca_crl: bytes.to_vec(),
        ..PcsParts::default()
    };
    let read = [Collateral::from_json(bytes), Collateral::from_pcs(&parts)];
    for collateral in read.into_iter().flatten() {
        std::hint::black_box(collateral.issued());
        if let Some(appraisal) = appraise(&collateral) {
            assert_eq!(Some(&appraisal), APPRAISAL.as_ref(), "another appraisal resulted");
        }
    }
});
