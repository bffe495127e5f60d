//! Verification of a quote: all checks in their order, and the appraisal that results when all of them pass.

use dcap_qvl::quote::{Quote, Report};
use dcap_qvl::tcb_info::TcbInfo;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{PckCertFlag, QuoteClaims, QuotePolicy};
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::{DateTime, Decode};

use encoding::hex;

use crate::chain::{self, Link};
use crate::checks::Checks;
use crate::diagnosis::Refused;
use crate::error::{Document, Role, Validity, VerifyError};
use crate::policy::{Anchor, Floors, PlatformProperty, Policy, TcbDemand, TcbStatus, acceptable};
use crate::{Collateral, QuoteHeader, QuoteHeaderError, TcbShortfall, Tee, sgx, signature, td};

/// The TCB of a platform, as far as it was assessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tcb {
    /// What the collateral says.
    Assessed {
        /// Status of platform, TDX module and quoting enclave together.
        status: TcbStatus,
        /// Intel's advisories that apply.
        advisories: Vec<String>,
        /// The lower `tcbEvaluationDataNumber` of the two documents.
        evaluation: u32,
    },
    /// Policy demands signatures only: nothing is known of revocation or TCB.
    Unknown,
}

/// The platform that made a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Identifies the platform: the platform instance id where the PCK leaf has one, else the PPID; 16 bytes.
    pub id: Vec<u8>,
    /// Family, model, stepping, platform type, custom SKU.
    pub fmspc: [u8; 6],
    pub(crate) smt: Option<bool>,
    pub(crate) dynamic: Option<bool>,
    pub(crate) cached_keys: Option<bool>,
}

/// The result of verification: a genuine quote of an accepted platform and of an accepted enclave or trust domain. Only [`verify`]
/// makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal {
    pub(crate) report: Report,
    pub(crate) tcb: Tcb,
    pub(crate) platform: Platform,
    pub(crate) valid: (u64, u64),
}

impl Appraisal {
    /// The 64 bytes that the requester of the quote chose.
    #[must_use]
    pub fn report_data(&self) -> &[u8; 64] {
        match &self.report {
            Report::SgxEnclave(report) => &report.report_data,
            Report::TD10(report) => &report.report_data,
            Report::TD15(report) => &report.base.report_data,
            Report::TD15Ex(report) => &report.base.base.report_data,
        }
    }

    /// The TCB, as far as it was assessed.
    #[must_use]
    pub fn tcb(&self) -> &Tcb {
        &self.tcb
    }

    /// The platform.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// From when until when, both included, every certificate, list and document is valid: Unix seconds.
    #[must_use]
    pub fn valid(&self) -> (u64, u64) {
        self.valid
    }
}

/// Verifies a quote at `now` (Unix seconds): its format, that it is genuine under `anchor`, and that `policy` accepts its platform and
/// its enclave or trust domain. The caller compares what the quote was made for ([`Appraisal::report_data`]).
///
/// `collateral` is used only if policy demands TCB statuses.
///
/// # Errors
/// [`VerifyError`] of the first rule that does not hold.
pub fn verify(
    quote: &[u8],
    collateral: Option<&Collateral>,
    anchor: &Anchor,
    policy: &Policy,
    now: u64,
    checks: &mut Checks,
) -> Result<Appraisal, VerifyError> {
    let header = QuoteHeader::parse(quote)?;
    let parsed = Quote::parse(header.bytes()).map_err(|_| QuoteHeaderError::Short)?;
    let signatures = header.signatures().ok_or(QuoteHeaderError::Short)?;
    checks.passed("quote format", || {
        format!("version {}, {:?}, {} bytes", parsed.header.version, header.tee(), header.bytes().len())
    });
    let pck = chain::pck(signatures.chain, &anchor.0)?;
    checks.passed("anchor", || "the PCK chain ends in the anchor".to_owned());
    checks.passed("PCK chain names", || {
        let names = pck.iter().filter_map(Link::common_name);
        names.collect::<Vec<_>>().join(" < ")
    });
    let evidence = match &policy.tcb {
        TcbDemand::Signature => signature::verify(&header, &signatures, &parsed, &pck, policy, now, checks)?,
        TcbDemand::Statuses(statuses) => {
            let collateral = collateral.ok_or(VerifyError::NoCollateral)?;
            let claims = with_collateral(&header, &pck, collateral, anchor, now, checks)?;
            assess(&claims, collateral, statuses, &policy.floors, now, checks)?
        }
    };
    check_platform(&evidence.platform, policy, checks)?;
    match &evidence.report {
        Report::SgxEnclave(report) => sgx::check(report, &policy.sgx, checks)?,
        report @ (Report::TD10(_) | Report::TD15(_) | Report::TD15Ex(_)) => td::check(report, &policy.td, checks)?,
    }
    Ok(evidence)
}

/// The earliest time, Unix seconds, at which the quote's certificates and collateral can all be valid: when the last of them was issued.
/// The dates are not verified; call [`verify`] at that time. `None` when a part cannot be parsed.
#[must_use]
pub fn earliest(quote: &[u8], collateral: Option<&Collateral>, anchor: &Anchor) -> Option<u64> {
    let header = QuoteHeader::parse(quote).ok()?;
    let mut links = chain::pck(header.signatures()?.chain, &anchor.0).ok()?;
    let mut issued = 0;
    if let Some(collateral) = collateral {
        issued = collateral.issued()?;
        links.extend(chain::signer(collateral.0.tcb_info_issuer_chain.as_bytes(), Role::TcbInfoSigner, &anchor.0).ok()?);
        links.extend(chain::signer(collateral.0.qe_identity_issuer_chain.as_bytes(), Role::QeIdentitySigner, &anchor.0).ok()?);
    }
    links.iter().map(|link| link.window().0).chain(std::iter::once(issued)).max()
}

/// Runs dcap-qvl, which checks signatures, chains, revocation lists, validity periods and TCB levels.
fn with_collateral(
    header: &QuoteHeader<'_>,
    pck: &[Link],
    collateral: &Collateral,
    anchor: &Anchor,
    now: u64,
    checks: &mut Checks,
) -> Result<QuoteClaims, VerifyError> {
    let of = |pem: &str, role: Role| chain::signer(pem.as_bytes(), role, &anchor.0);
    let info_chain = of(&collateral.0.tcb_info_issuer_chain, Role::TcbInfoSigner)?;
    let identity_chain = of(&collateral.0.qe_identity_issuer_chain, Role::QeIdentitySigner)?;
    checks.passed("collateral chains", || "Intel SGX TCB Signing < the anchor, twice".to_owned());
    let signatures =
        [(&collateral.0.tcb_info_signature, Document::TcbInfo), (&collateral.0.qe_identity_signature, Document::QeIdentity)];
    if let Some((_, document)) = signatures.into_iter().find(|(signature, _)| signature.len() != 64) {
        return Err(VerifyError::DocumentSignature(document));
    }
    check_kinds(header.tee(), collateral)?;
    let verifier = QuoteVerifier::new(anchor.0.clone());
    let outcome = verifier.verify_with_policy(header.bytes(), collateral.0.clone(), now, &QuotePolicy::claims_only(now));
    let claims = outcome.map_err(|error| {
        let refused = Refused { collateral, pck, signers: [&info_chain, &identity_chain], now };
        refused.because(&format!("{error:#}"))
    })?;
    let (from, until) = window(&claims);
    checks.passed("signatures", || {
        "PCK chain, quoting enclave's report, attestation key, quote, TCB info, QE identity, CRLs".to_owned()
    });
    checks.passed("revocation", || {
        format!("root CRL {}, PCK CRL {}: nothing listed", claims.platform.root_ca_crl_num, claims.platform.pck_crl_num)
    });
    checks.passed("validity", || format!("{} in {} .. {}", rfc3339(now), rfc3339(from), rfc3339(until)));
    checks.passed("FMSPC", || hex::encode(&claims.platform.pck.fmspc));
    checks.passed("quoting enclave", || {
        format!("signer {}, SVN {}", hex::encode(&claims.qe.report.mr_signer), claims.qe.report.isv_svn)
    });
    Ok(claims)
}

/// Checks that the documents are for this TEE. dcap-qvl checks it too, but only after the signatures.
fn check_kinds(tee: Tee, collateral: &Collateral) -> Result<(), VerifyError> {
    #[derive(serde::Deserialize)]
    struct Kind {
        /// Absent in version 2, which Intel no longer serves.
        id: Option<String>,
        version: u64,
    }
    let (info, identity) = match tee {
        Tee::Sgx => ("SGX", "QE"),
        Tee::Tdx => ("TDX", "TD_QE"),
    };
    let documents =
        [(Document::TcbInfo, &collateral.0.tcb_info, info), (Document::QeIdentity, &collateral.0.qe_identity, identity)];
    for (document, text, id) in documents {
        let kind: Kind = serde_json::from_str(text).map_err(|_| VerifyError::DocumentMalformed(document))?;
        let is_known = match document {
            Document::TcbInfo => kind.version == 3,
            // Intel announced version 3.
            Document::QeIdentity => kind.version == 2 || kind.version == 3,
        };
        if kind.id.as_deref() != Some(id) || !is_known {
            return Err(VerifyError::DocumentKind(document));
        }
    }
    Ok(())
}

/// Checks what dcap-qvl only reports: status, PCE, start of validity, rollback, advisories.
fn assess(
    claims: &QuoteClaims,
    collateral: &Collateral,
    statuses: &[TcbStatus],
    floors: &Floors,
    now: u64,
    checks: &mut Checks,
) -> Result<Appraisal, VerifyError> {
    // dcap-qvl verified and parsed the same text before.
    let info: TcbInfo = serde_json::from_str(&collateral.0.tcb_info).map_err(|_| VerifyError::Pce)?;
    let pce_id =
        <[u8; 2]>::try_from(claims.platform.pck.pce_id.as_slice()).map(u16::from_be_bytes).map_err(|_| VerifyError::Pce)?;
    if u16::from_str_radix(&info.pce_id, 16) != Ok(pce_id) {
        return Err(VerifyError::Pce);
    }
    checks.passed("PCE", || format!("{pce_id:04x}"));
    let valid @ (from, until) = window(claims);
    if now < from {
        return Err(VerifyError::Future(Validity::Collateral));
    }
    if now > until {
        return Err(VerifyError::Expired(Validity::Collateral));
    }
    let evaluation = claims.tcb.eval_data_number.min(claims.qe.tcb_eval_data_number);
    let floored = [
        (evaluation, floors.tcb_evaluation, "tcb evaluation number"),
        (claims.platform.root_ca_crl_num, floors.root_crl, "root CRL number"),
        (claims.platform.pck_crl_num, floors.pck_crl, "PCK CRL number"),
    ];
    for (value, floor, what) in floored {
        if value < floor {
            return Err(VerifyError::Floor(what));
        }
        checks.passed(what, || format!("{value} is not below {floor}"));
    }
    let status = acceptable(claims.tcb.status).ok_or(VerifyError::TcbRevoked)?;
    if !statuses.contains(&status) {
        return Err(VerifyError::TcbStatus(TcbShortfall::of(status, claims, &info, statuses)));
    }
    checks.passed("TCB status", || format!("{status} is accepted"));
    let advisories = &claims.tcb.advisory_ids;
    if advisories.iter().any(|advisory| floors.advisories_denied.contains(advisory)) {
        return Err(VerifyError::Advisory);
    }
    checks.passed("advisories", || format!("[{}]: none of {} denied", advisories.join(" "), floors.advisories_denied.len()));
    let pck = &claims.platform.pck;
    Ok(Appraisal {
        report: claims.report.clone(),
        tcb: Tcb::Assessed { status, advisories: advisories.clone(), evaluation },
        platform: Platform {
            id: pck.platform_instance_id.map_or_else(|| pck.ppid.clone(), |id| id.to_vec()),
            fmspc: pck.fmspc,
            smt: flag(pck.smt_enabled),
            dynamic: flag(pck.dynamic_platform),
            cached_keys: flag(pck.cached_keys),
        },
        valid,
    })
}

/// TEE_TCB_SVN of a trust domain; an enclave has none.
pub(crate) fn tee_tcb_svn(report: &Report) -> Option<&[u8; 16]> {
    match report {
        Report::SgxEnclave(_) => None,
        Report::TD10(report) => Some(&report.tee_tcb_svn),
        Report::TD15(report) => Some(&report.base.tee_tcb_svn),
        Report::TD15Ex(report) => Some(&report.base.base.tee_tcb_svn),
    }
}

/// The period in which every part is valid: from when the last was issued until before the first expires. In the second of its next
/// update, a list is expired for webpki and a document still valid for dcap-qvl; here both are expired.
fn window(claims: &QuoteClaims) -> (u64, u64) {
    let from = claims.latest_issue_date.max(claims.qe_iden_latest_issue_date);
    (from, claims.earliest_expiration_date.min(claims.qe_iden_earliest_expiration_date).saturating_sub(1))
}

fn check_platform(platform: &Platform, policy: &Policy, checks: &mut Checks) -> Result<(), VerifyError> {
    let properties = [
        (PlatformProperty::Smt, platform.smt, "hyperthreading is on"),
        (PlatformProperty::Dynamic, platform.dynamic, "packages can be added later"),
        (PlatformProperty::CachedKeys, platform.cached_keys, "root keys are kept by the registration service"),
    ];
    for (property, has, what) in properties {
        if has == Some(true) && policy.floors.platforms_denied.contains(&property) {
            return Err(VerifyError::Platform(what));
        }
    }
    checks.passed("platform properties", || {
        let named: Vec<_> = properties.iter().filter(|(_, has, _)| *has == Some(true)).map(|(_, _, what)| *what).collect();
        format!("[{}]: {} denied", named.join(", "), policy.floors.platforms_denied.len())
    });
    if policy.platforms.is_empty() {
        checks.skipped("platform", || format!("{}: not compared: policy gives no value", hex::encode(&platform.id)));
    } else if policy.platforms.contains(&platform.id) {
        checks.passed("platform", || hex::encode(&platform.id));
    } else {
        return Err(VerifyError::PlatformId(platform.id.clone()));
    }
    Ok(())
}

fn flag(flag: PckCertFlag) -> Option<bool> {
    match flag {
        PckCertFlag::True => Some(true),
        PckCertFlag::False => Some(false),
        PckCertFlag::Undefined => None,
    }
}

/// `thisUpdate` of a revocation list, Unix seconds. Unverified.
pub(crate) fn crl_this_update(der: &[u8]) -> Option<u64> {
    let list = CertificateList::<Rfc5280>::from_der(der).ok()?;
    Some(list.tbs_cert_list.this_update.to_unix_duration().as_secs())
}

/// `2025-06-19T10:56:11Z`.
pub(crate) fn rfc3339(unix_seconds: u64) -> String {
    let time = DateTime::from_unix_duration(std::time::Duration::from_secs(unix_seconds));
    time.map_or_else(|_| unix_seconds.to_string(), |time| time.to_string())
}
