//! An honest platform with its quotes and collateral, of which a case changes one thing.

use std::sync::LazyLock;

use attest::{
    Anchor, Appraisal, Checks, Floors, Policy, SgxPolicy, TcbDemand, TcbStatus, TdPolicy, VerifyError, verify, verify_node,
};
use dcap::{Pki, Platform, SgxQuote, SignedCollateral, TdLayout, TdQuote};

pub(crate) const MRENCLAVE: [u8; 32] = [0xc1; 32];
pub(crate) const REPORT_DATA: [u8; 64] = [0x5a; 64];
/// 2026-11-23T00:00:00Z.
pub(crate) const NOW: u64 = 1_795_392_000;
pub(crate) const DAY: u64 = 86_400;

/// The TEE and version of the quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An enclave, verified as PID 1 verifies a vault's node.
    Sgx,
    /// A trust domain, version 4.
    Tdx,
    /// A trust domain, version 5 with the body of TDX 1.0.
    TdxV5,
    /// A trust domain, version 5 with the body of TDX 1.5.
    Tdx15,
}

/// Id, kind, name, change, and the rule that the change breaks.
pub(crate) type Case = (&'static str, Kind, &'static str, fn(&mut Plot), VerifyError);

/// All input of one verification, made honest so that a case can change it.
pub(crate) struct Plot {
    pub(crate) pki: Pki,
    pub(crate) platform: Platform,
    pub(crate) sgx: SgxQuote,
    pub(crate) td: TdQuote,
    pub(crate) collateral: dcap::Collateral,
    /// Changes the quote after it was signed.
    pub(crate) quote: fn(&mut Vec<u8>),
    /// Changes the collateral after it was signed.
    pub(crate) signed: fn(&mut SignedCollateral),
    /// Whether collateral is absent.
    pub(crate) bare: bool,
    pub(crate) policy: Policy,
    pub(crate) now: u64,
}

static WORLD: LazyLock<(Pki, Platform)> = LazyLock::new(|| {
    let pki = Pki::mint(NOW).unwrap();
    let platform = pki.platform("node").unwrap();
    (pki, platform)
});

pub(crate) fn honest(_plot: &mut Plot) {}

/// Applies `change` to honest input and verifies the result. Values in errors are replaced by fixed ones.
pub(crate) fn appraise(kind: Kind, change: impl FnOnce(&mut Plot)) -> Result<Appraisal, VerifyError> {
    appraise_in_detail(kind, change).map_err(|error| match error {
        VerifyError::TcbStatus(refused) => VerifyError::status(refused.status),
        VerifyError::Mrenclave(_) => VerifyError::Mrenclave(MRENCLAVE),
        VerifyError::PlatformId(_) => VerifyError::PlatformId(Vec::new()),
        VerifyError::Measurement { name, .. } => measurement(name),
        error => error,
    })
}

/// The error of a measurement, as [`appraise`] returns it: without values.
pub(crate) fn measurement(name: &'static str) -> VerifyError {
    VerifyError::Measurement { name, expected: Box::new([0; 48]), found: Box::new([0; 48]) }
}

/// The same with the values in errors.
pub(crate) fn appraise_in_detail(kind: Kind, change: impl FnOnce(&mut Plot)) -> Result<Appraisal, VerifyError> {
    let (pki, platform) = WORLD.clone();
    let anchor = Anchor::from_der(pki.root_der().to_vec());
    let collateral =
        if kind == Kind::Sgx { dcap::Collateral::sgx(&platform, NOW) } else { dcap::Collateral::tdx(&platform, NOW) };
    let mut plot = Plot {
        sgx: SgxQuote::new(MRENCLAVE, REPORT_DATA),
        td: TdQuote { layout: layout(kind), ..TdQuote::new(REPORT_DATA) },
        collateral,
        pki,
        platform,
        quote: |_| (),
        signed: |_| (),
        bare: false,
        policy: Policy {
            tcb: TcbDemand::Statuses(vec![TcbStatus::UpToDate]),
            floors: Floors::default(),
            platforms: Vec::new(),
            sgx: SgxPolicy { mrenclaves: Some(vec![MRENCLAVE]), ..SgxPolicy::default() },
            td: TdPolicy::default(),
        },
        now: NOW,
    };
    change(&mut plot);
    let mut quote = if kind == Kind::Sgx { plot.sgx.sign(&plot.platform) } else { plot.td.sign(&plot.platform) }.unwrap();
    (plot.quote)(&mut quote);
    let mut signed = plot.collateral.sign(&plot.pki).unwrap();
    (plot.signed)(&mut signed);
    let collateral = attest::Collateral::from_json(&serde_json::to_vec(&signed).unwrap()).unwrap();
    let collateral = (!plot.bare).then_some(&collateral);
    if kind == Kind::Sgx {
        // PID 1's entry point first.
        verify_node(&quote, &REPORT_DATA, &anchor, collateral, &plot.policy, plot.now)?;
    }
    let appraisal = verify(&quote, collateral, &anchor, &plot.policy, plot.now, &mut Checks::kept())?;
    if *appraisal.report_data() == REPORT_DATA { Ok(appraisal) } else { Err(VerifyError::ReportData) }
}

fn layout(kind: Kind) -> TdLayout {
    match kind {
        Kind::Sgx | Kind::Tdx => TdLayout::V4,
        Kind::TdxV5 => TdLayout::V5Td10,
        Kind::Tdx15 => TdLayout::V5Td15,
    }
}
