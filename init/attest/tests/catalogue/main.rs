//! The catalogue of hostile quotes, through the public entry points: each case changes one thing in honest input, and verification must
//! fail for that reason. An id names a group of attacks.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

mod chain;
mod collateral;
mod format;
mod policy;
mod signature_only;
mod signatures;
mod tcb;
mod world;

use world::{Case, Kind, Plot, appraise, honest};

/// Runs every case of a table.
fn run(cases: &[Case]) {
    for (id, kind, name, change, want) in cases {
        let got = appraise(*kind, |plot: &mut Plot| change(plot));
        assert_eq!(got.map(|_| "verified"), Err(want.clone()), "{id}: {name}");
    }
}

#[test]
fn honest_quotes_of_every_kind_are_verified() {
    for kind in [Kind::Sgx, Kind::Tdx, Kind::TdxV5, Kind::Tdx15] {
        appraise(kind, honest).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        appraise(kind, |plot| plot.policy.tcb = attest::TcbDemand::Signature).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
}
