//! C: certificates and revocation lists.

use attest::{Crl, Role, Validity, VerifyError};
use dcap::{CertSpec, CrlSpec, Identity, Key, PckExtension, Pki, Platform, PlatformSpec};

use crate::world::Kind::{Sgx, Tdx};
use crate::world::{Case, DAY, NOW, Plot};

/// Gives the platform a changed leaf; the rest of the chain stays.
fn leaf(plot: &mut Plot, change: impl FnOnce(&mut CertSpec, &mut PckExtension)) {
    let mut spec = PlatformSpec::of("node", NOW);
    let mut extension = spec.pck.take().unwrap();
    change(&mut spec.leaf, &mut extension);
    plot.platform = Platform::new(&plot.pki, PlatformSpec { pck: Some(extension), ..spec }).unwrap();
}

/// Gives the chain another platform CA, and the platform a leaf of it.
fn authority(plot: &mut Plot, change: impl FnOnce(&mut CertSpec)) {
    let mut spec = plot.pki.platform_ca.spec.clone();
    change(&mut spec);
    plot.pki.platform_ca = plot.pki.root.issue(spec, Key::generate().unwrap()).unwrap();
    plot.platform = plot.pki.platform("node").unwrap();
}

/// Gives the chain a platform CA whose certificate is not a CA certificate.
fn powerless(plot: &mut Plot) {
    let real = plot.pki.platform_ca.clone();
    authority(plot, |spec| spec.ca = None);
    plot.collateral.pck_crl.issuer = Some(real);
}

/// Another signer of TCB info, issued by the root.
fn signer(plot: &Plot, change: impl FnOnce(&mut CertSpec)) -> Identity {
    let mut spec = plot.pki.tcb_signing.spec.clone();
    change(&mut spec);
    plot.pki.root.issue(spec, Key::generate().unwrap()).unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn chains_other_than_intels_are_refused() {
    let cases: [Case; 37] = [
        ("C1", Sgx, "another root of the same name", |p| p.pki = Pki::mint(NOW).unwrap(), VerifyError::Anchor),
        (
            "C1",
            Sgx,
            "a whole other world",
            |p| {
                p.pki = Pki::mint(NOW).unwrap();
                p.platform = p.pki.platform("node").unwrap();
            },
            VerifyError::Anchor,
        ),
        (
            "C2",
            Sgx,
            "the root's signature changed",
            |p| p.platform.chain[2].last_mut().into_iter().for_each(|b| *b ^= 1),
            VerifyError::Anchor,
        ),
        ("C2", Sgx, "the authority in the root's place", |p| p.platform.chain.swap(1, 2), VerifyError::Anchor),
        (
            "C3",
            Sgx,
            "a leaf of the root's",
            |p| {
                p.platform = Platform::issued_by(
                    &p.pki.root,
                    vec![p.pki.platform_ca.der.clone(), p.pki.root.der.clone()],
                    PlatformSpec::of("node", NOW),
                )
                .unwrap();
            },
            VerifyError::CertificateSignature(Role::PckLeaf),
        ),
        (
            "C4",
            Sgx,
            "authority expired",
            |p| authority(p, |s| s.not_after = NOW - 1),
            VerifyError::Expired(Validity::Certificate(Role::PckAuthority)),
        ),
        (
            "C4",
            Sgx,
            "authority not yet valid",
            |p| authority(p, |s| s.not_before = NOW + DAY),
            VerifyError::Future(Validity::Certificate(Role::PckAuthority)),
        ),
        (
            "C4",
            Sgx,
            "leaf expired",
            |p| leaf(p, |s, _| s.not_after = NOW - 1),
            VerifyError::Expired(Validity::Certificate(Role::PckLeaf)),
        ),
        (
            "C4",
            Sgx,
            "leaf not yet valid",
            |p| leaf(p, |s, _| s.not_before = NOW + DAY),
            VerifyError::Future(Validity::Certificate(Role::PckLeaf)),
        ),
        (
            "C4",
            Sgx,
            "TCB signer expired",
            |p| p.collateral.tcb_signer = Some(signer(p, |s| s.not_after = NOW - 1)),
            VerifyError::Expired(Validity::Certificate(Role::TcbInfoSigner)),
        ),
        (
            "C4",
            Sgx,
            "QE identity signer expired",
            |p| p.collateral.qe_signer = Some(signer(p, |s| s.not_after = NOW - 1)),
            VerifyError::Expired(Validity::Certificate(Role::QeIdentitySigner)),
        ),
        (
            "C5",
            Sgx,
            "leaf without the SGX extension",
            |p| {
                let spec = PlatformSpec { pck: None, ..PlatformSpec::of("node", NOW) };
                p.platform = Platform::new(&p.pki, spec).unwrap();
            },
            VerifyError::PckExtension,
        ),
        ("C5", Sgx, "two SGX extensions", |p| leaf(p, |s, e| s.sgx_extensions.push(e.der())), VerifyError::PckExtension),
        ("C5", Sgx, "an extension that is no DER", |p| leaf_of(p, vec![0xff; 4]), VerifyError::PckExtension),
        ("C5", Sgx, "FMSPC of five bytes", |p| leaf(p, |_, e| e.fmspc.truncate(5)), VerifyError::PckExtension),
        (
            "C6",
            Sgx,
            "another name of the leaf",
            |p| leaf(p, |s, _| s.common_name = "PCK".to_owned()),
            VerifyError::CertificateName(Role::PckLeaf),
        ),
        (
            "C6",
            Sgx,
            "another name of the authority",
            |p| authority(p, |s| s.common_name = "Intel SGX PCK Other CA".to_owned()),
            VerifyError::CertificateName(Role::PckAuthority),
        ),
        (
            "C6",
            Sgx,
            "another name of the TCB signer",
            |p| p.collateral.tcb_signer = Some(signer(p, |s| s.common_name = "Intel SGX".to_owned())),
            VerifyError::CertificateName(Role::TcbInfoSigner),
        ),
        (
            "C6",
            Sgx,
            "another name of the QE identity's signer",
            |p| p.collateral.qe_signer = Some(signer(p, |s| s.common_name = "Intel SGX".to_owned())),
            VerifyError::CertificateName(Role::QeIdentitySigner),
        ),
        (
            "C7",
            Sgx,
            "a leaf that is an authority",
            |p| leaf(p, |s, _| s.ca = Some(0)),
            VerifyError::CertificateKind(Role::PckLeaf),
        ),
        ("C7", Sgx, "an authority that is none", |p| powerless(p), VerifyError::CertificateKind(Role::PckAuthority)),
        (
            "C7",
            Sgx,
            "an authority as TCB signer",
            |p| p.collateral.tcb_signer = Some(signer(p, |s| s.ca = Some(0))),
            VerifyError::CertificateKind(Role::TcbInfoSigner),
        ),
        (
            "C7",
            Sgx,
            "the platform CA as TCB signer",
            |p| p.collateral.tcb_signer = Some(p.pki.platform_ca.clone()),
            VerifyError::CertificateName(Role::TcbInfoSigner),
        ),
        (
            "C8",
            Sgx,
            "a PCK leaf as TCB signer",
            |p| p.collateral.tcb_signer = Some(p.platform.pck.clone()),
            VerifyError::CertificateName(Role::TcbInfoSigner),
        ),
        (
            "C9",
            Sgx,
            "leaf revoked",
            |p| p.collateral.pck_crl.revoked.push(p.platform.pck.serial()),
            VerifyError::Revoked(Role::PckLeaf),
        ),
        (
            "C9",
            Tdx,
            "leaf revoked",
            |p| p.collateral.pck_crl.revoked.push(p.platform.pck.serial()),
            VerifyError::Revoked(Role::PckLeaf),
        ),
        (
            "C9",
            Sgx,
            "authority revoked",
            |p| p.collateral.root_crl.revoked.push(p.pki.platform_ca.serial()),
            VerifyError::Revoked(Role::PckAuthority),
        ),
        (
            "C9",
            Sgx,
            "TCB signer revoked",
            |p| p.collateral.root_crl.revoked.push(p.pki.tcb_signing.serial()),
            VerifyError::Revoked(Role::TcbInfoSigner),
        ),
        (
            "C9",
            Sgx,
            "root revoked",
            |p| p.collateral.root_crl.revoked.push(p.pki.root.serial()),
            VerifyError::Revoked(Role::Root),
        ),
        (
            "C10",
            Sgx,
            "root CRL expired",
            |p| p.collateral.root_crl.next_update = NOW - 1,
            VerifyError::Expired(Validity::Crl(Crl::Root)),
        ),
        (
            "C10",
            Sgx,
            "PCK CRL expired",
            |p| p.collateral.pck_crl.next_update = NOW - 1,
            VerifyError::Expired(Validity::Crl(Crl::Pck)),
        ),
        (
            "C10",
            Sgx,
            "PCK CRL of another issuer",
            |p| p.collateral.pck_crl.issuer = Some(p.pki.root.clone()),
            VerifyError::CrlIssuer(Crl::Pck),
        ),
        (
            "C10",
            Sgx,
            "root CRL of another key under the root's name",
            |p| p.collateral.root_crl.issuer = Some(Identity { key: Key::generate().unwrap(), ..p.pki.root.clone() }),
            VerifyError::CrlSignature(Crl::Root),
        ),
        (
            "C10",
            Sgx,
            "PCK CRL of another key under the authority's name",
            |p| p.collateral.pck_crl.issuer = Some(Identity { key: Key::generate().unwrap(), ..p.pki.platform_ca.clone() }),
            VerifyError::CrlSignature(Crl::Pck),
        ),
        (
            "C10",
            Sgx,
            "the lists swapped",
            |p| p.signed = |c| std::mem::swap(&mut c.root_ca_crl, &mut c.pck_crl),
            VerifyError::CrlIssuer(Crl::Root),
        ),
        ("C10", Sgx, "no PCK CRL", |p| p.signed = |c| c.pck_crl.clear(), VerifyError::CrlUnreadable(Crl::Pck)),
        ("C10", Sgx, "number below the floor", |p| p.policy.floors.pck_crl = 2, VerifyError::Floor("PCK CRL number")),
    ];
    crate::run(&cases);
}

/// Gives the platform a leaf with this SGX extension.
fn leaf_of(plot: &mut Plot, extension: Vec<u8>) {
    let mut spec = PlatformSpec { pck: None, ..PlatformSpec::of("node", NOW) };
    spec.leaf.sgx_extensions.push(extension);
    plot.platform = Platform::new(&plot.pki, spec).unwrap();
}

#[test]
fn list_that_is_not_valid_yet_is_refused() {
    let cases: [Case; 2] = [
        (
            "C10",
            Sgx,
            "root CRL",
            |p| p.collateral.root_crl = CrlSpec { this_update: NOW + DAY, ..CrlSpec::new(NOW) },
            VerifyError::Future(Validity::Collateral),
        ),
        (
            "C10",
            Sgx,
            "PCK CRL",
            |p| p.collateral.pck_crl = CrlSpec { this_update: NOW + DAY, ..CrlSpec::new(NOW) },
            VerifyError::Future(Validity::Collateral),
        ),
    ];
    crate::run(&cases);
}
