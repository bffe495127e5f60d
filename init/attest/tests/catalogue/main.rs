//! The catalogue of hostile quotes, through the entry points of production: each entry changes an honest world in one respect and
//! must be refused for that reason and no other. An id names one group of lies.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

mod chain;
mod collateral;
mod format;
mod policy;
mod signature_only;
mod signatures;
mod tcb;
mod world;

use world::{Case, Kind, Plot, honest, judge};

/// Plays every case of a table.
fn play(cases: &[Case]) {
    for (id, kind, name, change, want) in cases {
        let got = judge(*kind, |plot: &mut Plot| change(plot));
        assert_eq!(got.map(|_| "believed"), Err(want.clone()), "{id}: {name}");
    }
}

#[test]
fn honest_quotes_of_every_kind_are_believed() {
    for kind in [Kind::Sgx, Kind::Tdx, Kind::TdxV5, Kind::Tdx15] {
        judge(kind, honest).unwrap_or_else(|refusal| panic!("{kind:?}: {refusal}"));
        judge(kind, |plot| plot.policy.tcb = attest::TcbDemand::Signature)
            .unwrap_or_else(|refusal| panic!("{kind:?}: {refusal}"));
    }
}
