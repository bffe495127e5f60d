//! Verifies bytes as a quote, with and without genuine collateral. A quote may verify only if its signed part is that of a genuine quote.
#![no_main]

use std::sync::LazyLock;

use attest::{Anchor, Checks, ClaimedPlatform, Collateral, Floors, QuoteHeader, Policy, TcbDemand, TcbStatus, verify};
use libfuzzer_sys::fuzz_target;

/// The start of the corpus: the only quotes that may verify.
const GENUINE: &[&[u8]] = &[
    include_bytes!("../../vectors/dcap-qvl/sgx_quote"),
    include_bytes!("../../vectors/dcap-qvl/tdx_quote"),
    include_bytes!("../../vectors/genuine/automata-service-domain/quote.bin"),
    include_bytes!("../../vectors/genuine/automata-sgx/quote.bin"),
    include_bytes!("../../vectors/genuine/dcap-qvl-20a06f/quote.bin"),
    include_bytes!("../../vectors/genuine/dcap-qvl-tdx_quote/quote.bin"),
    include_bytes!("../../vectors/genuine/dcap-qvl-tdx_quote_outdated/quote.bin"),
    include_bytes!("../../vectors/genuine/dcap-qvl-tdx_quote_td15ex/quote.bin"),
    include_bytes!("../../vectors/genuine/google-spr-e4/quote.bin"),
    include_bytes!("../../vectors/genuine/intel-earlier-root/quote.bin"),
    include_bytes!("../../vectors/genuine/openenclave-module-update/quote.bin"),
    include_bytes!("../../vectors/genuine/raiko-sgx/quote.bin"),
    include_bytes!("../../vectors/genuine/teepot-tcb-info-v2/quote.bin"),
    include_bytes!("../../vectors/genuine/trustee-debug-td/quote.bin"),
    include_bytes!("../../vectors/genuine/trustee-tdx-03/quote.bin"),
];
const COLLATERAL: &[u8] = include_bytes!("../../vectors/dcap-qvl/sgx_quote_collateral.json");
const INTEL: &[u8] = include_bytes!("../../../initrd/anchors/intel-sgx-root.der");
/// 2025-06-25, inside the collateral's windows.
const NOW: u64 = 1_750_809_600;
/// Length of the signed part, at least: of an enclave's quote, of a trust domain's.
const SIGNED: [usize; 2] = [432, 632];

struct World {
    anchor: Anchor,
    collateral: Collateral,
    policies: [Policy; 2],
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let statuses = TcbDemand::Statuses(vec![TcbStatus::ConfigurationAndSwHardeningNeeded]);
    let policies = [statuses, TcbDemand::Signature].map(|demand| {
        let mut policy = Policy::of_nodes(Vec::new(), demand, Floors::default());
        policy.sgx.mrenclaves = None;
        policy
    });
    let collateral = Collateral::from_json(COLLATERAL).expect("genuine collateral");
    World { anchor: Anchor::from_der(INTEL.to_vec()), collateral, policies }
});

fuzz_target!(|quote: &[u8]| {
    if let Ok(header) = QuoteHeader::parse(quote) {
        assert!(header.bytes().len() <= quote.len() && header.report_data().len() == 64);
    }
    std::hint::black_box(ClaimedPlatform::of(quote));
    for policy in &WORLD.policies {
        if verify(quote, Some(&WORLD.collateral), &WORLD.anchor, policy, NOW, &mut Checks::kept()).is_ok() {
            let signed = SIGNED[usize::from(quote[0] != 3)];
            let known = GENUINE.iter().any(|genuine| genuine.get(..signed) == quote.get(..signed));
            assert!(known, "another quote was verified");
        }
    }
});
