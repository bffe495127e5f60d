//! Signatures without collateral: all checks that need no collateral still run.

use attest::{Role, TcbDemand, Validity, VerifyError};
use dcap::{Key, Platform, PlatformSpec};

use crate::world::Kind::{Sgx, Tdx, Tdx15};
use crate::world::{Case, MRENCLAVE, NOW, Plot, appraise};

fn alone(plot: &mut Plot) {
    plot.bare = true;
    plot.policy.tcb = TcbDemand::Signature;
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn signatures_are_checked_without_collateral_too() {
    let cases: [Case; 17] = [
        (
            "G1",
            Sgx,
            "quote changed",
            |p| {
                alone(p);
                p.quote = |q| q[48 + 64] ^= 1;
            },
            VerifyError::QuoteSignature,
        ),
        (
            "G1",
            Tdx,
            "quote changed",
            |p| {
                alone(p);
                p.quote = |q| q[48 + 136] ^= 1;
            },
            VerifyError::QuoteSignature,
        ),
        (
            "G1",
            Tdx15,
            "quote changed",
            |p| {
                alone(p);
                p.quote = |q| q[54 + 600] ^= 1;
            },
            VerifyError::QuoteSignature,
        ),
        (
            "G2",
            Sgx,
            "QE report changed",
            |p| {
                alone(p);
                p.quote = |q| q[436 + 128] ^= 1;
            },
            VerifyError::QeSignature,
        ),
        (
            "G2",
            Tdx,
            "QE report by another's PCK",
            |p| {
                alone(p);
                p.platform.pck.key = Key::generate().unwrap();
            },
            VerifyError::QeSignature,
        ),
        (
            "G2",
            Sgx,
            "authentication data changed",
            |p| {
                alone(p);
                p.quote = |q| q[436 + 128 + 384 + 64 + 2] ^= 1;
            },
            VerifyError::QeBinding,
        ),
        (
            "G2",
            Sgx,
            "attestation key that the QE did not report",
            |p| {
                alone(p);
                p.sgx.signature.qe_report_data = Some([0; 64]);
            },
            VerifyError::QeBinding,
        ),
        (
            "G3",
            Sgx,
            "QE that may be debugged",
            |p| {
                alone(p);
                p.sgx.signature.qe.flags |= 2;
            },
            VerifyError::QeIdentity("debug"),
        ),
        (
            "G3",
            Sgx,
            "QE of another product",
            |p| {
                alone(p);
                p.sgx.signature.qe.isv_prod_id = 2;
            },
            VerifyError::QeIdentity("another product"),
        ),
        (
            "G3",
            Tdx,
            "QE of another signer",
            |p| {
                alone(p);
                p.policy.floors.qe_signers = vec![[1; 32]];
            },
            VerifyError::QeIdentity("another signer"),
        ),
        (
            "G4",
            Sgx,
            "leaf of the root's",
            |p| {
                alone(p);
                let above = vec![p.pki.platform_ca.der.clone(), p.pki.root.der.clone()];
                p.platform = Platform::issued_by(&p.pki.root, above, PlatformSpec::of("node", NOW)).unwrap();
            },
            VerifyError::CertificateSignature(Role::PckLeaf),
        ),
        (
            "G4",
            Sgx,
            "leaf changed",
            |p| {
                alone(p);
                p.platform.chain[0].last_mut().into_iter().for_each(|b| *b ^= 1);
            },
            VerifyError::CertificateSignature(Role::PckLeaf),
        ),
        (
            "G4",
            Sgx,
            "after the leaf's end",
            |p| {
                alone(p);
                p.now += 3000 * 86_400;
            },
            VerifyError::Expired(Validity::Certificate(Role::PckLeaf)),
        ),
        (
            "G4",
            Sgx,
            "before the leaf's beginning",
            |p| {
                alone(p);
                p.now -= 200 * 86_400;
            },
            VerifyError::Future(Validity::Certificate(Role::PckLeaf)),
        ),
        (
            "G5",
            Sgx,
            "debug",
            |p| {
                alone(p);
                p.sgx.report.flags |= 2;
            },
            VerifyError::Debug,
        ),
        (
            "G5",
            Tdx,
            "SEPT_VE_DISABLE off",
            |p| {
                alone(p);
                p.td.td_attributes = 0;
            },
            VerifyError::Td("SEPT_VE_DISABLE is off"),
        ),
        (
            "G5",
            Sgx,
            "another build",
            |p| {
                alone(p);
                p.sgx.report.mrenclave[0] ^= 1;
            },
            VerifyError::Mrenclave(MRENCLAVE),
        ),
    ];
    crate::run(&cases);
}

/// Without collateral revocation is unknown. That is the meaning of `signature`, and why it is not the default.
#[test]
fn collateral_is_not_used() {
    let result = appraise(Sgx, |plot| {
        plot.policy.tcb = TcbDemand::Signature;
        plot.collateral.pck_crl.revoked.push(plot.platform.pck.serial());
    });
    assert_eq!(result.unwrap().tcb(), &attest::Tcb::Unknown);
}
