//! The independent verifier dcap-qvl accepts what this crate mints under the minted root, and under no other.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the world of a test is made by unwrapping")]

use dcap::{
    Collateral, CrlSpec, DAY, EnclaveReport, Key, Level, Pki, Platform, PlatformSpec, SgxQuote, SignedCollateral, TdLayout,
    TdQuote,
};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuoteCollateralV3, QuotePolicy, TcbStatus};

/// 2026-11-23.
const NOW: u64 = 1_795_392_000;

/// Changes one field of an honest case.
type Change<T> = Box<dyn FnOnce(&mut T)>;

struct World {
    pki: Pki,
    machine: Platform,
}

impl World {
    fn new() -> Self {
        let pki = Pki::mint(NOW).unwrap();
        let machine = pki.platform("machine").unwrap();
        Self { pki, machine }
    }

    fn td(&self, change: impl FnOnce(&mut TdQuote)) -> Vec<u8> {
        let mut quote = TdQuote::new([7; 64]);
        change(&mut quote);
        quote.sign(&self.machine).unwrap()
    }

    fn tdx(&self, change: impl FnOnce(&mut Collateral)) -> SignedCollateral {
        let mut collateral = Collateral::tdx(&self.machine, NOW);
        change(&mut collateral);
        collateral.sign(&self.pki).unwrap()
    }

    fn verify(&self, quote: &[u8], collateral: &SignedCollateral) -> Result<QuoteClaims, String> {
        verify_under(self.pki.root_der(), quote, collateral, NOW)
    }
}

fn verify_under(root: &[u8], quote: &[u8], collateral: &SignedCollateral, now: u64) -> Result<QuoteClaims, String> {
    let json = serde_json::to_string(collateral).unwrap();
    let collateral: QuoteCollateralV3 = serde_json::from_str(&json).unwrap();
    let policy = QuotePolicy::strict(now).allow_smt(true).allow_dynamic_platform(true);
    QuoteVerifier::new(root.to_vec()).verify_with_policy(quote, collateral, now, &policy).map_err(|error| format!("{error:#}"))
}

fn refusal(result: Result<QuoteClaims, String>) -> String {
    result.map(|claims| claims.tcb.status).expect_err("must be refused")
}

#[test]
fn td_quotes_of_every_layout_are_up_to_date() {
    let world = World::new();
    for layout in [TdLayout::V4, TdLayout::V5Td10, TdLayout::V5Td15] {
        let quote = world.td(|quote| {
            quote.layout = layout;
            quote.rtmr[1] = [1; 48];
        });
        let claims = world.verify(&quote, &world.tdx(|_| ())).unwrap_or_else(|error| panic!("{layout:?}: {error}"));
        let body = claims.report.as_td10().unwrap();
        assert_eq!(claims.tcb.status, TcbStatus::UpToDate, "{layout:?}");
        assert_eq!((body.rt_mr1, body.report_data), ([1; 48], [7; 64]), "{layout:?}");
    }
}

#[test]
fn sgx_quotes_are_up_to_date() {
    let world = World::new();
    let quote = SgxQuote::new([0xab; 32], [7; 64]).sign(&world.machine).unwrap();
    let collateral = Collateral::sgx(&world.machine, NOW).sign(&world.pki).unwrap();
    let claims = world.verify(&quote, &collateral).unwrap();
    let report = claims.report.as_sgx().unwrap();
    assert_eq!(claims.tcb.status, TcbStatus::UpToDate);
    assert_eq!((report.mr_enclave, report.report_data), ([0xab; 32], [7; 64]));
}

#[test]
fn platforms_of_one_root_have_their_own_ids_and_share_collateral() {
    let world = World::new();
    let other = Platform::new(&world.pki, PlatformSpec::of("other", NOW)).unwrap();
    let collateral = world.tdx(|_| ());
    let ids = |machine: &Platform| {
        let quote = TdQuote::new([0; 64]).sign(machine).unwrap();
        let pck = world.verify(&quote, &collateral).unwrap().platform.pck;
        (pck.ppid, pck.platform_instance_id.unwrap())
    };
    let (first, second) = (ids(&world.machine), ids(&other));
    assert_ne!(first.0, second.0);
    assert_ne!(first.1, second.1);
    assert_eq!(first, ids(&world.pki.platform("machine").unwrap()));
}

#[test]
fn td_report_fields_reach_the_quote() {
    let world = World::new();
    let mut report = [0; 1024];
    report[128..192].fill(0xd0);
    report[264..280].copy_from_slice(&[6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    report[280..328].fill(0x5e);
    report[512..520].copy_from_slice(&TdQuote::SEPT_VE_DISABLE.to_le_bytes());
    report[520..528].copy_from_slice(&0xe7_u64.to_le_bytes());
    for (byte, at) in (1..).zip((528..912).step_by(48)) {
        report[at..at + 48].fill(byte);
    }
    let quote = TdQuote::from_tdreport(&report).sign(&world.machine).unwrap();
    let claims = world.verify(&quote, &world.tdx(|_| ())).unwrap();
    let body = claims.report.as_td10().unwrap();
    assert_eq!(body.mr_seam, [0x5e; 48]);
    assert_eq!([body.mr_td, body.mr_config_id, body.mr_owner, body.mr_owner_config], [[1; 48], [2; 48], [3; 48], [4; 48]]);
    assert_eq!([body.rt_mr0, body.rt_mr1, body.rt_mr2, body.rt_mr3], [[5; 48], [6; 48], [7; 48], [8; 48]]);
    assert_eq!(body.report_data, [0xd0; 64]);
}

#[test]
fn intels_root_accepts_no_simulated_quote() {
    let world = World::new();
    let collateral = serde_json::from_str(&serde_json::to_string(&world.tdx(|_| ())).unwrap()).unwrap();
    let result = QuoteVerifier::new_prod().verify(&world.td(|_| ()), &collateral, NOW);
    assert!(result.is_err(), "a simulated quote passed for Intel's");
}

#[test]
fn another_root_of_the_same_name_is_another_root() {
    let world = World::new();
    let twin = Pki::mint(NOW).unwrap();
    assert!(verify_under(twin.root_der(), &world.td(|_| ()), &world.tdx(|_| ()), NOW).is_err());
}

#[test]
fn every_signed_byte_of_a_quote_counts() {
    let world = World::new();
    let (quote, collateral) = (world.td(|_| ()), world.tdx(|_| ()));
    // From the header's user data to the end of the body; the verifier refuses earlier fields as unknown instead.
    for at in (28..632).step_by(13) {
        let mut flipped = quote.clone();
        flipped[at] ^= 1;
        assert!(world.verify(&flipped, &collateral).is_err(), "byte {at}");
    }
}

#[test]
fn refuses_collateral_with_one_changed_field() {
    let world = World::new();
    let quote = world.td(|_| ());
    let stranger = world.pki.root.issue(dcap::CertSpec::new("Intel SGX TCB Signing", NOW), Key::generate().unwrap());
    let serials = [world.machine.pck.serial(), world.pki.platform_ca.serial(), world.pki.tcb_signing.serial()];
    let [leaf, ca, signer] = serials;
    let cases: Vec<(&str, Change<Collateral>, &str)> = vec![
        ("TCB info over", Box::new(|c| c.tcb_info.next_update = NOW - 1), "TCBInfo expired"),
        ("TCB info to come", Box::new(|c| c.tcb_info.issue_date = NOW + DAY), "in the future"),
        ("QE identity over", Box::new(|c| c.qe_identity.next_update = NOW - 1), "QE Identity expired"),
        ("TCB info for SGX", Box::new(|c| c.tcb_info.id = "SGX".into()), "non-TDX"),
        ("QE identity for SGX", Box::new(|c| c.qe_identity.id = "QE".into()), "Unsupported QE Identity"),
        ("another FMSPC", Box::new(|c| c.tcb_info.fmspc = "00A067110000".into()), "Fmspc mismatch"),
        ("out of date", Box::new(|c| c.tcb_info.tcb_levels[0].tcb_status = "OutOfDate".into()), "OutOfDate"),
        ("revoked level", Box::new(|c| c.tcb_info.tcb_levels[0].tcb_status = "Revoked".into()), "Revoked"),
        ("unknown status", Box::new(|c| c.tcb_info.tcb_levels[0].tcb_status = "Fine".into()), "decode TcbInfo"),
        (
            "level out of reach",
            Box::new(|c| c.tcb_info.tcb_levels = vec![Level::new(&[9; 16], 13, &[0; 16], "UpToDate")]),
            "No matching TCB level",
        ),
        ("fifteen components", Box::new(|c| c.tcb_info.tcb_levels[0].tcb.sgx.truncate(15)), "component count"),
        ("no module", Box::new(|c| c.tcb_info.tdx_module = None), "missing tdxModule"),
        ("module of another version", Box::new(|c| c.tcb_info.tdx_module_identities[0].id = "TDX_03".into()), "TDX_01"),
        ("trailing JSON", Box::new(|c| c.tcb_info_text = Some("{} {}".into())), "decode TcbInfo"),
        ("QE of another signer", Box::new(|c| c.qe_identity.mrsigner = "00".repeat(32)), "MRSIGNER"),
        ("leaf revoked", Box::new(|c| c.pck_crl.revoked.push(leaf)), "CertRevoked"),
        ("Platform CA revoked", Box::new(|c| c.root_crl.revoked.push(ca)), "CertRevoked"),
        ("TCB signer revoked", Box::new(|c| c.root_crl.revoked.push(signer)), "CertRevoked"),
        ("CRL over", Box::new(|c| c.pck_crl = CrlSpec { next_update: NOW - 1, ..CrlSpec::new(NOW) }), "CrlExpired"),
    ];
    for (name, change, want) in cases {
        let message = refusal(world.verify(&quote, &world.tdx(change)));
        assert!(message.contains(want), "{name}: {message}");
    }
    let by_stranger = world.tdx(|c| c.tcb_signer = Some(stranger.unwrap()));
    assert!(world.verify(&quote, &by_stranger).is_ok(), "a second TCB signer under the root is as good as the first");
    let by_machine = world.tdx(|c| c.tcb_signer = Some(world.machine.pck.clone()));
    assert!(world.verify(&quote, &by_machine).is_err(), "a PCK key is no TCB signer");
}

#[test]
fn refuses_quotes_with_one_changed_field() {
    let world = World::new();
    let collateral = world.tdx(|_| ());
    let other = world.pki.platform("other").unwrap();
    let cases: Vec<(&str, Change<TdQuote>)> = vec![
        ("DEBUG", Box::new(|q| q.td_attributes |= TdQuote::DEBUG)),
        ("vendor", Box::new(|q| q.vendor = [0; 16])),
        ("version 6", Box::new(|q| q.version = Some(6))),
        ("key type", Box::new(|q| q.key_type = 3)),
        ("tee type", Box::new(|q| q.tee_type = 0)),
        ("module signer", Box::new(|q| q.mrsignerseam = [1; 48])),
        ("unknown module version", Box::new(|q| q.tee_tcb_svn[1] = 9)),
        ("QE report data of another key", Box::new(|q| q.signature.qe_report_data = Some([1; 64]))),
        ("QE in debug", Box::new(|q| q.signature.qe.flags |= EnclaveReport::DEBUG)),
        ("short auth data", Box::new(|q| q.signature.auth_data = vec![1; 31])),
        (
            "another machine's attestation key",
            Box::new(move |q| q.signature.attestation_key = Some(other.attestation_key.public())),
        ),
        ("no signature at all", Box::new(|q| q.signature.signature = Some([0; 64]))),
        ("inner type 3", Box::new(|q| q.signature.inner_type = 3)),
        ("length too long", Box::new(|q| q.signature.length = Some(u32::MAX))),
        ("v5 with an SGX body type", Box::new(|q| (q.layout, q.body_type) = (TdLayout::V5Td10, Some(1)))),
    ];
    for (name, change) in cases {
        assert!(world.verify(&world.td(change), &collateral).is_err(), "{name}");
    }
}

#[test]
fn claims_carry_the_numbers_of_the_collateral() {
    let world = World::new();
    let collateral = world.tdx(|c| {
        (c.root_crl.number, c.pck_crl.number) = (300, 7);
        (c.tcb_info.tcb_evaluation_data_number, c.qe_identity.tcb_evaluation_data_number) = (21, 19);
    });
    let claims = world.verify(&world.td(|_| ()), &collateral).unwrap();
    assert_eq!((claims.platform.root_ca_crl_num, claims.platform.pck_crl_num), (300, 7));
    assert_eq!(claims.tcb.eval_data_number, 19);
}

/// Forms that dcap-qvl does not refuse: this crate mints them for the product's own checks.
#[test]
fn chains_of_other_shapes_are_minted_too() {
    let mut world = World::new();
    let (root, spec) = (&world.pki.root, || PlatformSpec::of("machine", NOW));
    let by_root = Platform::issued_by(root, vec![root.der.clone()], spec()).unwrap();
    let mut misnamed = spec();
    misnamed.leaf.common_name = "Intel SGX PCK Impostor".to_owned();
    let misnamed = Platform::new(&world.pki, misnamed).unwrap();
    for machine in [by_root, misnamed] {
        world.machine = machine;
        world.verify(&world.td(|_| ()), &world.tdx(|_| ())).unwrap();
    }
    world.machine = Platform::new(&world.pki, PlatformSpec { pck: None, ..spec() }).unwrap();
    assert!(world.verify(&world.td(|_| ()), &world.tdx(|_| ())).is_err(), "a leaf without the SGX extension");
}

#[test]
fn saved_chain_is_the_chain_that_was_minted() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("pki");
    let pki = Pki::load_or_mint(&place, NOW).unwrap();
    let again = Pki::load_or_mint(&place, NOW + DAY).unwrap();
    assert_eq!(pki.root_der(), again.root_der());
    assert_eq!(pki.tcb_signing.serial(), again.tcb_signing.serial());
    let machine = again.platform("machine").unwrap();
    let collateral = Collateral::tdx(&machine, NOW).sign(&again).unwrap();
    let quote = TdQuote::new([0; 64]).sign(&machine).unwrap();
    verify_under(pki.root_der(), &quote, &collateral, NOW).unwrap();
}
