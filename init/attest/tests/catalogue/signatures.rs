//! S: signatures. B: report data.

use attest::VerifyError;
use dcap::{Key, Pki, SgxQuote};
use proptest::prelude::*;

use crate::world::Kind::{Sgx, Tdx, Tdx15};
use crate::world::{Case, MRENCLAVE, NOW, REPORT_DATA, appraise, honest};

/// A valid signature of another key.
fn foreign() -> [u8; 64] {
    Key::generate().unwrap().sign(b"something else").unwrap()
}

#[test]
fn every_signature_is_checked() {
    let cases: [Case; 22] = [
        ("S1", Sgx, "header changed", |p| p.quote = |q| q[8] ^= 1, VerifyError::QuoteSignature),
        ("S1", Sgx, "user data changed", |p| p.quote = |q| q[30] ^= 1, VerifyError::QuoteSignature),
        ("S1", Sgx, "MRENCLAVE changed", |p| p.quote = |q| q[48 + 64] ^= 1, VerifyError::QuoteSignature),
        ("S1", Sgx, "report data changed", |p| p.quote = |q| q[48 + 383] ^= 1, VerifyError::QuoteSignature),
        ("S1", Tdx, "RTMR3 changed", |p| p.quote = |q| q[48 + 472] ^= 1, VerifyError::QuoteSignature),
        ("S1", Tdx15, "body changed", |p| p.quote = |q| q[54 + 136] ^= 1, VerifyError::QuoteSignature),
        ("S1", Sgx, "signature changed", |p| p.quote = |q| q[436] ^= 1, VerifyError::QuoteSignature),
        ("S2", Sgx, "r and s are zero", |p| p.sgx.signature.signature = Some([0; 64]), VerifyError::QuoteSignature),
        ("S2", Sgx, "r and s are all ones", |p| p.sgx.signature.signature = Some([0xff; 64]), VerifyError::QuoteSignature),
        ("S2", Sgx, "QE signature of zeros", |p| p.sgx.signature.qe_signature = Some([0; 64]), VerifyError::QeSignature),
        ("S3", Sgx, "attestation key zero", |p| p.sgx.signature.attestation_key = Some([0; 64]), VerifyError::QuoteSignature),
        (
            "S3",
            Sgx,
            "attestation key off the curve",
            |p| p.sgx.signature.attestation_key = Some([7; 64]),
            VerifyError::QuoteSignature,
        ),
        (
            "S4",
            Sgx,
            "attestation key of one's own, and the QE's report as it was",
            |p| {
                let mut reported = [0; 64];
                reported[..32].copy_from_slice(&dcap::sha256(
                    &[p.platform.attestation_key.public().as_slice(), &p.sgx.signature.auth_data].concat(),
                ));
                p.sgx.signature.qe_report_data = Some(reported);
                p.platform.attestation_key = Key::generate().unwrap();
            },
            VerifyError::QeBinding,
        ),
        ("S5", Sgx, "authentication data changed", |p| p.quote = |q| q[436 + 128 + 384 + 64 + 2] ^= 1, VerifyError::QeBinding),
        ("S6", Sgx, "QE report changed", |p| p.quote = |q| q[436 + 128] ^= 1, VerifyError::QeSignature),
        ("S6", Tdx, "QE report changed", |p| p.quote = |q| q[636 + 128 + 6] ^= 1, VerifyError::QeSignature),
        (
            "S7",
            Sgx,
            "QE report signed by another's PCK",
            |p| p.platform.pck.key = Key::generate().unwrap(),
            VerifyError::QeSignature,
        ),
        (
            "S7",
            Tdx,
            "QE signature of something else",
            |p| p.td.signature.qe_signature = Some(foreign()),
            VerifyError::QeSignature,
        ),
        (
            "S8",
            Sgx,
            "signature data of another quote",
            |p| {
                p.quote = |q| {
                    let platform = Pki::mint(NOW).unwrap().platform("node").unwrap();
                    let other = SgxQuote::new(MRENCLAVE, [0; 64]).sign(&platform).unwrap();
                    q.splice(436..436 + 64, other[436..436 + 64].iter().copied());
                }
            },
            VerifyError::QuoteSignature,
        ),
        ("B1", Sgx, "report data of zeros", |p| p.sgx.report.report_data = [0; 64], VerifyError::ReportData),
        ("B2", Sgx, "report data of an earlier exchange", |p| p.sgx.report.report_data[0] ^= 1, VerifyError::ReportData),
        ("B7", Sgx, "the first half is right", |p| p.sgx.report.report_data[32..].fill(0), VerifyError::ReportData),
    ];
    crate::run(&cases);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Each changed bit breaks the format, a signature or a hash.
    #[test]
    fn no_flipped_bit_is_verified(kind in prop_oneof![Just(Sgx), Just(Tdx), Just(Tdx15)], at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        thread_local! { static FLIP: std::cell::Cell<(prop::sample::Index, u8)> = panic!("set before it is read") }
        FLIP.set((at, bit));
        let result = appraise(kind, |plot| {
            plot.td.signature.tail.clear();
            plot.quote = |quote| {
                let (at, bit) = FLIP.get();
                let pem = quote.windows(5).position(|window| window == b"-----").unwrap();
                // White space in PEM and the NUL after it have no effect; there the header is changed instead.
                let at = at.index(quote.len());
                let is_blank = quote[at].is_ascii_whitespace() || quote[at] == 0;
                let at = if at > pem && is_blank { 9 } else { at };
                quote[at] ^= 1 << bit;
            };
        });
        prop_assert!(result.is_err());
    }
}

#[test]
fn report_data_is_compared_whole() {
    assert!(appraise(Sgx, honest).is_ok());
    for at in 0..64 {
        let result = appraise(Sgx, |plot| plot.sgx.report.report_data[at] ^= 0x80);
        assert_eq!(result.map(|_| ()), Err(VerifyError::ReportData), "byte {at} of {REPORT_DATA:?}");
    }
}
