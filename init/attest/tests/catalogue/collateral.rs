//! K: signed documents.

use attest::{Document, Validity, VerifyError};
use dcap::{Key, Level};

use crate::world::Kind::{Sgx, Tdx};
use crate::world::{Case, DAY, NOW, Plot, appraise};

const INFO: Document = Document::TcbInfo;
const IDENTITY: Document = Document::QeIdentity;

/// Changes the text of the TCB info and signs it.
fn info(plot: &mut Plot, change: impl FnOnce(String) -> String) {
    plot.collateral.tcb_info_text = Some(change(serde_json::to_string(&plot.collateral.tcb_info).unwrap()));
}

/// Changes the text of the QE identity and signs it.
fn identity(plot: &mut Plot, change: impl FnOnce(String) -> String) {
    plot.collateral.qe_identity_text = Some(change(serde_json::to_string(&plot.collateral.qe_identity).unwrap()));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn documents_of_others_or_for_other_platforms_are_refused() {
    let cases: [Case; 39] = [
        ("K0", Sgx, "no collateral", |p| p.bare = true, VerifyError::NoCollateral),
        (
            "K1",
            Sgx,
            "TCB info signature changed",
            |p| p.signed = |c| c.tcb_info_signature[0] ^= 1,
            VerifyError::DocumentSignature(INFO),
        ),
        (
            "K1",
            Sgx,
            "TCB info signature cut",
            |p| p.signed = |c| c.tcb_info_signature.truncate(63),
            VerifyError::DocumentSignature(INFO),
        ),
        (
            "K1",
            Sgx,
            "QE identity signature changed",
            |p| p.signed = |c| c.qe_identity_signature[63] ^= 1,
            VerifyError::DocumentSignature(IDENTITY),
        ),
        (
            "K1",
            Sgx,
            "QE identity signature empty",
            |p| p.signed = |c| c.qe_identity_signature.clear(),
            VerifyError::DocumentSignature(IDENTITY),
        ),
        (
            "K1",
            Sgx,
            "TCB info with a space more",
            |p| p.signed = |c| c.tcb_info.insert(1, ' '),
            VerifyError::DocumentSignature(INFO),
        ),
        (
            "K1",
            Sgx,
            "TCB info of one's own",
            |p| p.collateral.tcb_signer = Some(dcap::Identity { key: Key::generate().unwrap(), ..p.pki.tcb_signing.clone() }),
            VerifyError::DocumentSignature(INFO),
        ),
        (
            "K1",
            Sgx,
            "a key twice",
            |p| info(p, |t| t.replacen("\"pceId\"", "\"pceId\":\"0000\",\"pceId\"", 1)),
            VerifyError::DocumentMalformed(INFO),
        ),
        ("K1", Sgx, "JSON behind JSON", |p| info(p, |t| t + "{}"), VerifyError::DocumentMalformed(INFO)),
        ("K1", Sgx, "no JSON", |p| info(p, |_| "no".to_owned()), VerifyError::DocumentMalformed(INFO)),
        (
            "K1",
            Sgx,
            "an unknown status",
            |p| p.collateral.tcb_info.tcb_levels[0].tcb_status = "Fine".to_owned(),
            VerifyError::DocumentMalformed(INFO),
        ),
        (
            "K1",
            Sgx,
            "fifteen components",
            |p| p.collateral.tcb_info.tcb_levels[0].tcb.sgx.truncate(15),
            VerifyError::DocumentMalformed(INFO),
        ),
        (
            "K1",
            Sgx,
            "a component of 256",
            |p| p.collateral.tcb_info.tcb_levels[0].tcb.sgx[0].svn = 256,
            VerifyError::DocumentMalformed(INFO),
        ),
        ("K1", Sgx, "a date that is none", |p| info(p, |t| t.replacen("Z\"", "\"", 1)), VerifyError::DocumentMalformed(INFO)),
        ("K1", Sgx, "no levels", |p| p.collateral.tcb_info.tcb_levels.clear(), VerifyError::NoTcbLevel),
        ("K1", Tdx, "no TDX module", |p| p.collateral.tcb_info.tdx_module = None, VerifyError::DocumentMalformed(INFO)),
        ("K1", Sgx, "QE identity that is no JSON", |p| identity(p, |_| String::new()), VerifyError::DocumentMalformed(IDENTITY)),
        ("K1", Sgx, "MRSIGNER cut", |p| p.collateral.qe_identity.mrsigner.truncate(62), VerifyError::DocumentMalformed(IDENTITY)),
        (
            "K1",
            Sgx,
            "QE identity without levels",
            |p| p.collateral.qe_identity.tcb_levels.clear(),
            VerifyError::DocumentMalformed(IDENTITY),
        ),
        ("K2", Sgx, "TCB info for TDX", |p| p.collateral.tcb_info.id = "TDX".to_owned(), VerifyError::DocumentKind(INFO)),
        ("K2", Tdx, "TCB info for SGX", |p| p.collateral.tcb_info.id = "SGX".to_owned(), VerifyError::DocumentKind(INFO)),
        (
            "K2",
            Sgx,
            "identity of the TDX QE",
            |p| p.collateral.qe_identity.id = "TD_QE".to_owned(),
            VerifyError::DocumentKind(IDENTITY),
        ),
        (
            "K2",
            Tdx,
            "identity of the SGX QE",
            |p| p.collateral.qe_identity.id = "QE".to_owned(),
            VerifyError::DocumentKind(IDENTITY),
        ),
        (
            "K2",
            Sgx,
            "identity of the verification enclave",
            |p| p.collateral.qe_identity.id = "QVE".to_owned(),
            VerifyError::DocumentKind(IDENTITY),
        ),
        ("K2", Sgx, "TCB info version 2", |p| p.collateral.tcb_info.version = 2, VerifyError::DocumentKind(INFO)),
        ("K2", Sgx, "TCB info version 4", |p| p.collateral.tcb_info.version = 4, VerifyError::DocumentKind(INFO)),
        ("K2", Sgx, "QE identity version 1", |p| p.collateral.qe_identity.version = 1, VerifyError::DocumentKind(IDENTITY)),
        ("K3", Sgx, "another FMSPC", |p| p.collateral.tcb_info.fmspc = "B0C06F000001".to_owned(), VerifyError::Fmspc),
        ("K3", Sgx, "another PCE", |p| p.collateral.tcb_info.pce_id = "0001".to_owned(), VerifyError::Pce),
        ("K3", Sgx, "a PCE that is none", |p| p.collateral.tcb_info.pce_id = "zz".to_owned(), VerifyError::Pce),
        (
            "K4",
            Sgx,
            "TCB info expired",
            |p| p.collateral.tcb_info.next_update = NOW - 1,
            VerifyError::Expired(Validity::Document(INFO)),
        ),
        (
            "K4",
            Sgx,
            "TCB info from the future",
            |p| p.collateral.tcb_info.issue_date = NOW + DAY,
            VerifyError::Future(Validity::Document(INFO)),
        ),
        (
            "K4",
            Sgx,
            "QE identity expired",
            |p| p.collateral.qe_identity.next_update = NOW - 1,
            VerifyError::Expired(Validity::Document(IDENTITY)),
        ),
        (
            "K4",
            Sgx,
            "QE identity from the future",
            |p| p.collateral.qe_identity.issue_date = NOW + DAY,
            VerifyError::Future(Validity::Document(IDENTITY)),
        ),
        ("K4", Tdx, "in a year", |p| p.now += 365 * DAY, VerifyError::Expired(Validity::Crl(attest::Crl::Root))),
        ("K4", Tdx, "a month ago", |p| p.now -= 30 * DAY, VerifyError::Future(Validity::Document(INFO))),
        (
            "K5",
            Sgx,
            "evaluation below the floor",
            |p| p.policy.floors.tcb_evaluation = 21,
            VerifyError::Floor("tcb evaluation number"),
        ),
        (
            "K5",
            Sgx,
            "the QE identity's alone",
            |p| {
                p.collateral.qe_identity.tcb_evaluation_data_number = 19;
                p.policy.floors.tcb_evaluation = 20;
            },
            VerifyError::Floor("tcb evaluation number"),
        ),
        ("K5", Sgx, "root CRL below the floor", |p| p.policy.floors.root_crl = 2, VerifyError::Floor("root CRL number")),
    ];
    crate::run(&cases);
}

/// K6: the order of levels does not matter.
#[test]
fn levels_are_found_in_any_order() {
    let reversed = appraise(Sgx, |plot| plot.collateral.tcb_info.tcb_levels.reverse());
    assert!(matches!(reversed.unwrap().tcb(), attest::Tcb::Assessed { status: attest::TcbStatus::UpToDate, .. }));
    let shuffled = appraise(Tdx, |plot| {
        let above = Level::new(&[255; 16], 99, &[255; 16], "Revoked");
        plot.collateral.tcb_info.tcb_levels.push(above);
        plot.collateral.tcb_info.tcb_levels.rotate_left(1);
    });
    assert!(shuffled.is_ok(), "{shuffled:?}");
}
