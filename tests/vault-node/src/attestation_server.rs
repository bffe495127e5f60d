//! The attestation server that a policy names, in this process: appraises signature and TCB of a guest's quote.

use dcap::{Collateral, Pki, Platform, SnpReport};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;

use crate::guest::{GuestEvidence, Measurements};

/// The error of dcap-qvl about a TD with the attribute MIGRATABLE. It checks attributes last.
const MIGRATABLE: &str = "TD migration is enabled";

/// An attestation server for guests under one simulated root.
pub(crate) struct AttestationServer<'a> {
    pub(crate) pki: &'a Pki,
    /// Any platform: all simulated ones share an FMSPC, so its collateral fits the guest's.
    pub(crate) platform: &'a Platform,
    pub(crate) snp_chip: Option<&'a [u8]>,
    pub(crate) refuse_debug: bool,
    /// The time in Unix seconds.
    pub(crate) now: u64,
}

impl AttestationServer<'_> {
    /// The platform's TCB status, empty if the server derives none; otherwise why the quote is refused.
    pub(crate) fn verify(&self, evidence: &GuestEvidence) -> Result<String, String> {
        match evidence.measurements {
            Measurements::Snp { .. } => self.verify_snp(&evidence.quote).map(|()| String::new()),
            Measurements::Td { .. } => self.verify_dcap(&evidence.quote, &Collateral::tdx(self.platform, self.now)),
            Measurements::Sgx { .. } => self.verify_dcap(&evidence.quote, &Collateral::sgx(self.platform, self.now)),
        }
    }

    fn verify_dcap(&self, quote: &[u8], collateral: &Collateral) -> Result<String, String> {
        let signed = collateral.sign(self.pki).map_err(|error| error.to_string())?;
        let collateral = QuoteCollateralV3 {
            pck_crl_issuer_chain: signed.pck_crl_issuer_chain,
            root_ca_crl: signed.root_ca_crl,
            pck_crl: signed.pck_crl,
            tcb_info_issuer_chain: signed.tcb_info_issuer_chain,
            tcb_info: signed.tcb_info,
            tcb_info_signature: signed.tcb_info_signature,
            qe_identity_issuer_chain: signed.qe_identity_issuer_chain,
            qe_identity: signed.qe_identity,
            qe_identity_signature: signed.qe_identity_signature,
            pck_certificate_chain: None,
        };
        let verifier = QuoteVerifier::<dcap_qvl::configs::DefaultConfig>::new(self.pki.root_der().to_vec());
        match verifier.allow_debug(!self.refuse_debug).verify(quote, &collateral, self.now) {
            Ok(report) => Ok(report.status),
            Err(error) if !self.refuse_debug && format!("{error:#}").contains(MIGRATABLE) => Ok(String::new()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// A real server gets the chip's certificate and its TCB from AMD.
    fn verify_snp(&self, report: &[u8]) -> Result<(), String> {
        let chip = self.snp_chip.ok_or("no chip is known here")?;
        let report = SnpReport::verify(report, chip).ok_or("no report of this chip")?;
        if self.refuse_debug && report.policy & SnpReport::DEBUG != 0 {
            return Err("a debug guest".to_owned());
        }
        if report.vmpl == 0 { Ok(()) } else { Err("a report for another privilege level".to_owned()) }
    }
}

/// Whether a policy with these acceptable statuses accepts this one. No statuses accept every status but Revoked.
///
/// Source: vault crate (texts.rs), `acceptable_tcb_statuses`.
pub(crate) fn accepts(acceptable: Option<&[String]>, status: &str) -> bool {
    let listed = |all: &[String]| ["", "UpToDate", "SWHardeningNeeded"].contains(&status) || all.iter().any(|one| one == status);
    status != "Revoked" && acceptable.is_none_or(listed)
}

#[cfg(test)]
mod tests {
    use dcap::{SnpChip, TdQuote};

    use super::*;

    const NOW: u64 = 1_790_000_000;
    const MIGRATABLE_BIT: u64 = 1 << 29;

    fn evidence(quote: Vec<u8>, is_snp: bool) -> GuestEvidence {
        GuestEvidence::read(quote, is_snp).unwrap().0
    }

    #[test]
    fn server_checks_attributes_only_if_configured() {
        let (pki, other) = (Pki::mint(NOW).unwrap(), Pki::mint(NOW).unwrap());
        let platform = pki.platform("node").unwrap();
        let guest = pki.platform("guest").unwrap();
        let server = |refuse_debug| AttestationServer { pki: &pki, platform: &platform, snp_chip: None, refuse_debug, now: NOW };
        let honest = TdQuote::new([7; 64]);
        let quote = |bits: u64| {
            let td = TdQuote { td_attributes: honest.td_attributes | bits, ..honest.clone() };
            evidence(td.sign(&guest).unwrap(), false)
        };
        for (bits, strict) in
            [(0, true), (TdQuote::DEBUG, false), (MIGRATABLE_BIT, false), (TdQuote::DEBUG | MIGRATABLE_BIT, false)]
        {
            assert!(server(false).verify(&quote(bits)).is_ok(), "{bits:#x}");
            assert_eq!(server(true).verify(&quote(bits)).is_ok(), strict, "{bits:#x}");
        }
        let mut spoiled = quote(MIGRATABLE_BIT);
        spoiled.quote[48 + 136] ^= 1;
        assert!(server(false).verify(&spoiled).is_err(), "a migratable TD's quote is verified all the same");
        let foreign = evidence(honest.sign(&other.platform("guest").unwrap()).unwrap(), false);
        assert!(server(false).verify(&foreign).is_err());
        assert_eq!(server(false).verify(&quote(0)), Ok("UpToDate".to_owned()));
    }

    #[test]
    fn an_snp_report_is_taken_of_the_known_chip_and_its_own_privilege_level() {
        let (pki, chip, other) = (Pki::mint(NOW).unwrap(), SnpChip::generate().unwrap(), SnpChip::generate().unwrap());
        let platform = pki.platform("node").unwrap();
        let public = chip.public();
        let server = |snp_chip| AttestationServer { pki: &pki, platform: &platform, snp_chip, refuse_debug: true, now: NOW };
        let honest = SnpReport::new([7; 64], [9; 48]);
        let debug = SnpReport { policy: honest.policy | SnpReport::DEBUG, ..honest.clone() };
        let lower = SnpReport { vmpl: 1, ..honest.clone() };
        let cases = [
            (&honest, &chip, Some(public.as_slice()), true),
            (&honest, &other, Some(public.as_slice()), false),
            (&honest, &chip, None, false),
            (&debug, &chip, Some(public.as_slice()), false),
            (&lower, &chip, Some(public.as_slice()), false),
        ];
        for (report, signer, known, want) in cases {
            let report = evidence(report.sign(signer).unwrap(), true);
            assert_eq!(server(known).verify(&report).is_ok(), want, "{report:?}");
        }
    }

    #[test]
    fn no_list_of_statuses_accepts_all_but_revoked() {
        let (floor, relaxed) = (Vec::new(), vec!["OutOfDate".to_owned(), "Revoked".to_owned()]);
        let cases = [
            (None, "OutOfDate", true),
            (None, "Revoked", false),
            (Some(floor.as_slice()), "OutOfDate", false),
            (Some(floor.as_slice()), "SWHardeningNeeded", true),
            (Some(floor.as_slice()), "", true),
            (Some(relaxed.as_slice()), "OutOfDate", true),
            (Some(relaxed.as_slice()), "Revoked", false),
        ];
        for (acceptable, status, want) in cases {
            assert_eq!(accepts(acceptable, status), want, "{acceptable:?} {status}");
        }
    }
}
