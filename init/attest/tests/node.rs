//! Verification of nodes, through the entry point that PID 1 uses: a real quote at its own time, and simulated ones with wrong values.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use attest::{
    Anchor, Collateral, Document, Floors, Policy, QuoteHeader, QuoteHeaderError, Tcb, TcbDemand, TcbStatus, Tee, Validity,
    VerifiedNode, VerifyError, verify_node,
};
use dcap::{Pki, Platform, SgxQuote, TdQuote};
use proptest::prelude::*;

const REAL_QUOTE: &[u8] = include_bytes!("../../../tests/vectors/dcap-qvl/sgx_quote");
const REAL_TD_QUOTE: &[u8] = include_bytes!("../../../tests/vectors/dcap-qvl/tdx_quote");
const REAL_COLLATERAL: &[u8] = include_bytes!("../../../tests/vectors/dcap-qvl/sgx_quote_collateral.json");
const INTEL: &[u8] = include_bytes!("../../../initrd/anchors/intel-sgx-root.der");
const MRENCLAVE: [u8; 32] = [0xc1; 32];
const REPORT_DATA: [u8; 64] = [0x5a; 64];
/// 2026-11-23T00:00:00Z, when the simulated root is minted.
const NOW: u64 = 1_795_392_000;
const DAY: u64 = 86_400;
/// 2025-06-25T00:00:00Z, inside the window of the real collateral (2025-06-19 to 2025-07-19).
const REAL_TIME: u64 = 1_750_809_600;

struct World {
    pki: Pki,
    platform: Platform,
}

impl World {
    fn new() -> Self {
        let pki = Pki::mint(NOW).unwrap();
        let platform = pki.platform("node").unwrap();
        Self { pki, platform }
    }

    fn collateral(&self, change: impl FnOnce(&mut dcap::Collateral)) -> Collateral {
        let mut collateral = dcap::Collateral::sgx(&self.platform, NOW);
        change(&mut collateral);
        let signed = serde_json::to_vec(&collateral.sign(&self.pki).unwrap()).unwrap();
        Collateral::from_json(&signed).unwrap()
    }

    fn quote(&self, change: impl FnOnce(&mut SgxQuote)) -> Vec<u8> {
        let mut quote = SgxQuote::new(MRENCLAVE, REPORT_DATA);
        change(&mut quote);
        quote.sign(&self.platform).unwrap()
    }

    fn verify(&self, quote: &[u8], collateral: &Collateral, now: u64) -> Result<VerifiedNode, VerifyError> {
        let anchor = Anchor::from_der(self.pki.root_der().to_vec());
        verify_node(quote, &REPORT_DATA, &anchor, Some(collateral), &policy(), now)
    }
}

fn policy() -> Policy {
    Policy::of_nodes(vec![MRENCLAVE], TcbDemand::Statuses(vec![TcbStatus::UpToDate]), Floors::default())
}

#[test]
fn validity_of_a_node_ends_with_its_other_proofs() {
    let world = World::new();
    let node = world.verify(&world.quote(|_| ()), &world.collateral(|_| ()), NOW).unwrap();
    let (from, until) = node.valid();
    let within = |window| node.clone().within(window).valid();
    assert_eq!(within((0, u64::MAX)), (from, until));
    assert_eq!(within((from + 1, until - 1)), (from + 1, until - 1));
    assert_eq!(node.clone().within((until, until)).issued(), from, "what others say is no bound of the time");
    assert!(node.is_valid_at(NOW) && !node.clone().within((0, NOW - 1)).is_valid_at(NOW));
}

#[test]
fn real_quote_is_verified_at_its_own_time_and_at_no_other() {
    let report_data: [u8; 64] = REAL_QUOTE[368..432].try_into().unwrap();
    let mrenclave: [u8; 32] = REAL_QUOTE[112..144].try_into().unwrap();
    let statuses = vec![TcbStatus::UpToDate, TcbStatus::SwHardeningNeeded, TcbStatus::ConfigurationAndSwHardeningNeeded];
    let policy = Policy::of_nodes(vec![mrenclave], TcbDemand::Statuses(statuses), Floors::default());
    let (anchor, collateral) = (Anchor::from_der(INTEL.to_vec()), Collateral::from_json(REAL_COLLATERAL).unwrap());
    let at = |now: u64| verify_node(REAL_QUOTE, &report_data, &anchor, Some(&collateral), &policy, now);
    let node = at(REAL_TIME).unwrap();
    assert_eq!(node.mrenclave(), &mrenclave);
    assert!(node.is_valid_at(REAL_TIME) && node.platform().len() == 16);
    assert_eq!(at(REAL_TIME + 60 * DAY), Err(VerifyError::Expired(Validity::Document(Document::TcbInfo))));
    assert_eq!(at(REAL_TIME - 60 * DAY), Err(VerifyError::Future(Validity::Document(Document::TcbInfo))));
    // Verification agrees with the validity period to the second.
    let (from, until) = node.valid();
    for (time, want) in [(from - 1, false), (from, true), (until, true), (until + 1, false)] {
        assert_eq!((at(time).is_ok(), node.is_valid_at(time)), (want, want), "{time}");
    }
}

#[test]
fn simulated_quote_is_verified_under_its_own_root_only() {
    let (world, other) = (World::new(), World::new());
    let collateral = world.collateral(|_| ());
    let node = world.verify(&world.quote(|_| ()), &collateral, NOW).unwrap();
    assert!(matches!(node.tcb(), Tcb::Assessed { status: TcbStatus::UpToDate, .. }));
    assert_eq!(other.verify(&world.quote(|_| ()), &collateral, NOW), Err(VerifyError::Anchor));
    let intel = Anchor::from_der(INTEL.to_vec());
    let refused = verify_node(&world.quote(|_| ()), &REPORT_DATA, &intel, Some(&collateral), &policy(), NOW);
    assert_eq!(refused, Err(VerifyError::Anchor));
}

#[test]
fn each_wrong_value_in_a_quote_has_its_own_error() {
    type Change = fn(&mut SgxQuote);
    let world = World::new();
    let collateral = world.collateral(|_| ());
    let cases: [(&str, Change, VerifyError); 6] = [
        ("debug", |q| q.report.flags |= 2, VerifyError::Debug),
        ("not initialised", |q| q.report.flags &= !1, VerifyError::Sgx("not initialised")),
        ("provisioning key", |q| q.report.flags |= 0x10, VerifyError::Sgx("access to provisioning or launch keys")),
        (
            "another build",
            |q| q.report.mrenclave[31] ^= 1,
            VerifyError::Mrenclave({
                let mut other = MRENCLAVE;
                other[31] ^= 1;
                other
            }),
        ),
        ("first byte of the report data", |q| q.report.report_data[0] ^= 1, VerifyError::ReportData),
        ("last byte of the report data", |q| q.report.report_data[63] ^= 1, VerifyError::ReportData),
    ];
    for (name, change, want) in cases {
        let refused = world.verify(&world.quote(change), &collateral, NOW).unwrap_err();
        assert_eq!(refused, want, "{name}");
    }
}

#[test]
fn each_wrong_value_in_collateral_is_refused() {
    type Change = fn(&mut dcap::Collateral);
    let world = World::new();
    let quote = world.quote(|_| ());
    let cases: [(&str, Change); 6] = [
        ("expired", |c| c.tcb_info.next_update = NOW - 1),
        ("from the future", |c| c.tcb_info.issue_date = NOW + DAY),
        ("identity from the future", |c| c.qe_identity.issue_date = NOW + DAY),
        ("another PCE", |c| c.tcb_info.pce_id = "0001".to_owned()),
        ("outdated", |c| c.tcb_info.tcb_levels[0].tcb_status = "OutOfDate".to_owned()),
        ("CRL from the future", |c| c.root_crl.this_update = NOW + DAY),
    ];
    for (name, change) in cases {
        assert!(world.verify(&quote, &world.collateral(change), NOW).is_err(), "{name}");
    }
}

#[test]
fn numbers_below_the_floor_have_their_own_error() {
    let world = World::new();
    let (quote, collateral) = (world.quote(|_| ()), world.collateral(|_| ()));
    let anchor = Anchor::from_der(world.pki.root_der().to_vec());
    let cases = [
        ("tcb evaluation number", Floors { tcb_evaluation: 1000, ..Floors::default() }),
        ("root CRL number", Floors { root_crl: 1000, ..Floors::default() }),
        ("PCK CRL number", Floors { pck_crl: 1000, ..Floors::default() }),
    ];
    for (what, floors) in cases {
        let policy = Policy { floors, ..policy() };
        let refused = verify_node(&quote, &REPORT_DATA, &anchor, Some(&collateral), &policy, NOW);
        assert_eq!(refused, Err(VerifyError::Floor(what)));
    }
}

#[test]
fn padding_is_cut_off() {
    let world = World::new();
    let quote = world.quote(|_| ());
    let frame = QuoteHeader::parse(&quote).unwrap();
    assert_eq!((frame.tee(), frame.report_data(), frame.bytes().len()), (Tee::Sgx, &REPORT_DATA[..], quote.len()));
    for end in 0..quote.len() {
        assert!(QuoteHeader::parse(&quote[..end]).is_err(), "cut at {end}");
    }
    let padded = |tail: &[u8]| QuoteHeader::parse(&[&quote, tail].concat()).map(|frame| frame.bytes().len());
    assert_eq!(padded(&[0; 70]), Ok(quote.len()));
    assert_eq!(padded(&[0; 4097]), Err(QuoteHeaderError::Tail));
    assert_eq!(padded(&[0, 0, 1]), Err(QuoteHeaderError::Tail));
}

#[test]
fn td_quotes_are_parsed_and_are_not_nodes() {
    let real = QuoteHeader::parse(REAL_TD_QUOTE).unwrap();
    assert_eq!((real.tee(), real.report_data()), (Tee::Tdx, &REAL_TD_QUOTE[568..632]));
    let world = World::new();
    let quote = TdQuote::new(REPORT_DATA).sign(&world.platform).unwrap();
    assert_eq!(QuoteHeader::parse(&quote).unwrap().report_data(), REPORT_DATA);
    assert_eq!(world.verify(&quote, &world.collateral(|_| ()), NOW), Err(VerifyError::NotSgx));
}

#[test]
fn each_wrong_header_field_has_its_own_error() {
    type Change = fn(&mut Vec<u8>);
    let quote = World::new().quote(|_| ());
    let cases: [(&str, Change, QuoteHeaderError); 5] = [
        ("version", |q| q[0] = 6, QuoteHeaderError::Version(6)),
        ("key type", |q| q[2] = 3, QuoteHeaderError::KeyType(3)),
        ("tee type", |q| q[4] = 0x81, QuoteHeaderError::TeeType(0x81)),
        ("vendor", |q| q[12] ^= 1, QuoteHeaderError::Vendor),
        ("length", |q| q[432] = q[432].wrapping_add(1), QuoteHeaderError::Short),
    ];
    for (name, change, want) in cases {
        let mut spoiled = quote.clone();
        change(&mut spoiled);
        assert_eq!(QuoteHeader::parse(&spoiled), Err(want), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        prop_assert!(QuoteHeader::parse(&bytes).is_err() || bytes.len() > 432);
    }

    #[test]
    fn no_flipped_byte_is_verified(at in 0_usize..432, bit in 0_u8..8) {
        let world = World::new();
        let mut quote = world.quote(|_| ());
        quote[at] ^= 1 << bit;
        prop_assert!(world.verify(&quote, &world.collateral(|_| ()), NOW).is_err());
    }
}
