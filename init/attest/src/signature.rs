//! Verification without collateral, where policy is `signature`: it proves genuine hardware, but not its TCB, and not that it is unrevoked.
//!
//! Without a QE identity, only MRSIGNER and ISVPRODID of the quoting enclave distinguish Intel's from another one: the owner of a platform
//! can have its PCE certify an enclave of any build. So the signers are part of policy here.

use dcap_qvl::intel::parse_pck_extension;
use dcap_qvl::quote::Quote;
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::appraisal::{Appraisal, Platform, Tcb, rfc3339};
use crate::chain::Link;
use crate::checks::Checks;
use crate::error::{Role, Validity, VerifyError};
use crate::policy::Policy;
use crate::quote_header::{QuoteHeader, Signatures, Tee};
use encoding::hex;

/// Offsets in an SGX report: flags, MRSIGNER, ISVPRODID, report data.
const FLAGS: usize = 48;
const MRSIGNER: usize = 128;
const ISVPRODID: usize = 256;
const REPORT_DATA: usize = 320;
/// The flag DEBUG.
const DEBUG: u8 = 0x02;

pub(crate) fn verify(
    header: &QuoteHeader<'_>,
    signatures: &Signatures<'_>,
    quote: &Quote,
    pck: &[Link],
    policy: &Policy,
    now: u64,
    checks: &mut Checks,
) -> Result<Appraisal, VerifyError> {
    let [leaf, authority, root] = pck else { return Err(VerifyError::ChainLength(Role::PckLeaf)) };
    let valid = check_chain([leaf, authority, root], now)?;
    checks.passed("validity", || format!("{} in {} .. {}", rfc3339(now), rfc3339(valid.0), rfc3339(valid.1)));
    if !is_signed(&leaf.key(), signatures.qe_report, signatures.qe_signature) {
        return Err(VerifyError::QeSignature);
    }
    let reported = digest(&SHA256, &[signatures.attestation_key.as_slice(), signatures.authentication].concat());
    if signatures.qe_report.get(REPORT_DATA..REPORT_DATA + 32) != Some(reported.as_ref()) {
        return Err(VerifyError::QeBinding);
    }
    check_quoting_enclave(header.tee(), signatures.qe_report, policy, checks)?;
    let key = [&[4], signatures.attestation_key.as_slice()].concat();
    if !is_signed(&key, header.signed(), signatures.signature) {
        return Err(VerifyError::QuoteSignature);
    }
    checks.passed("signatures", || "PCK chain, quoting enclave's report, attestation key, quote".to_owned());
    checks.skipped("TCB status, revocation", || "not checked: policy is `signature`".to_owned());
    let extension = parse_pck_extension(&leaf.der).map_err(|_| VerifyError::PckExtension)?;
    Ok(Appraisal {
        report: quote.report.clone(),
        tcb: Tcb::Unknown,
        platform: Platform {
            id: extension.platform_instance_id.filter(|id| id.len() == 16).unwrap_or(extension.ppid),
            fmspc: extension.fmspc,
            smt: extension.smt_enabled,
            dynamic: extension.dynamic_platform,
            cached_keys: extension.cached_keys,
        },
        valid,
    })
}

/// Verifies the chain up to the anchor, which [`crate::chain`] has compared, at `now`. Returns its validity.
fn check_chain(links: [&Link; 3], now: u64) -> Result<(u64, u64), VerifyError> {
    for link in links {
        let (from, until) = link.window();
        if now < from {
            return Err(VerifyError::Future(Validity::Certificate(link.role)));
        }
        if now > until {
            return Err(VerifyError::Expired(Validity::Certificate(link.role)));
        }
    }
    let [leaf, authority, root] = links;
    let anchors = [anchor_from_trusted_cert(&root.der).map_err(|_| VerifyError::AnchorUnusable)?];
    let entity = EndEntityCert::try_from(&leaf.der).map_err(|_| VerifyError::CertificateUnreadable(Role::PckLeaf))?;
    let intermediates: [CertificateDer<'_>; 1] = [authority.der.clone()];
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
    let algorithms = &[webpki::ring::ECDSA_P256_SHA256];
    let path = entity.verify_for_usage(algorithms, &anchors, &intermediates, time, KeyUsage::server_auth(), None, None);
    // webpki would also accept a leaf that the root issued, without the CA.
    match path.map(|path| path.intermediate_certificates().count()) {
        Ok(1) => {}
        Ok(_) | Err(_) => return Err(VerifyError::CertificateSignature(Role::PckLeaf)),
    }
    let windows = links.map(Link::window);
    let from = windows.iter().map(|(from, _)| *from).max();
    Ok((from.unwrap_or(0), windows.iter().map(|(_, until)| *until).min().unwrap_or(0)))
}

fn check_quoting_enclave(tee: Tee, report: &[u8; 384], policy: &Policy, checks: &mut Checks) -> Result<(), VerifyError> {
    if report.get(FLAGS).is_none_or(|flags| flags & DEBUG != 0) {
        return Err(VerifyError::QeIdentity("debug"));
    }
    let product: &[u8] = match tee {
        Tee::Sgx => &[1, 0],
        Tee::Tdx => &[2, 0],
    };
    if report.get(ISVPRODID..ISVPRODID + 2) != Some(product) {
        return Err(VerifyError::QeIdentity("another product"));
    }
    let signer = report.get(MRSIGNER..MRSIGNER + 32).unwrap_or_default();
    let signers = &policy.floors.qe_signers;
    if signers.is_empty() {
        checks.skipped("quoting enclave", || format!("signer {}: not compared: policy gives no value", hex::encode(signer)));
    } else if signers.iter().any(|known| known == signer) {
        checks.passed("quoting enclave", || format!("signer {} is one of {}", hex::encode(signer), signers.len()));
    } else {
        return Err(VerifyError::QeIdentity("another signer"));
    }
    Ok(())
}

fn is_signed(key: &[u8], signed: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(signed, signature).is_ok()
}
