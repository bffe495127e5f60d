//! The client leg: what a guest's TDX quote or SEV-SNP report proves on this connection.

use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy};
use sim_dcap::{Collateral, Pki, Platform, SnpReport};

/// What a verified quote measures; policies are matched against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measurements {
    /// A TD.
    Td {
        /// The TD's initial memory.
        mrtd: [u8; 48],
        /// Run-time registers 0 to 3.
        rtmr: [[u8; 48]; 4],
    },
    /// An SEV-SNP guest.
    Snp {
        /// The guest at launch: firmware, and with it the digests of kernel, initrd and command line.
        measurement: [u8; 48],
    },
}

/// Verifies an SEV-SNP report of the chip with this key. Debug guests and reports for other privilege levels are refused.
///
/// A real node would have the chip's certificate, and its TCB, from AMD.
pub(crate) fn verify_snp(report: &[u8], expected: &[u8; 64], chip: Option<&[u8]>) -> Result<Measurements, String> {
    let report = SnpReport::verify(report, chip.ok_or("no chip is known here")?).ok_or("no report of this chip")?;
    if report.policy & SnpReport::DEBUG != 0 || report.vmpl != 0 {
        return Err("a debug guest, or not its own privilege level".to_owned());
    }
    if report.report_data != *expected {
        return Err("report data of another connection".to_owned());
    }
    Ok(Measurements::Snp { measurement: report.measurement })
}

/// Verifies `quote` under the simulated root and compares its report data whole. Debug TDs are refused.
///
/// Collateral is the node's own: minted for the FMSPC that every simulated platform shares.
pub(crate) fn verify(
    quote: &[u8],
    expected: &[u8; 64],
    pki: &Pki,
    platform: &Platform,
    now: u64,
) -> Result<Measurements, String> {
    let collateral = Collateral::tdx(platform, now).sign(pki).map_err(|error| error.to_string())?;
    let collateral = QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain,
        root_ca_crl: collateral.root_ca_crl,
        pck_crl: collateral.pck_crl,
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain,
        tcb_info: collateral.tcb_info,
        tcb_info_signature: collateral.tcb_info_signature,
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain,
        qe_identity: collateral.qe_identity,
        qe_identity_signature: collateral.qe_identity_signature,
        pck_certificate_chain: None,
    };
    // Every Xeon that runs TDX is a dynamic platform with SMT on.
    let policy = QuotePolicy::strict(now).allow_smt(true).allow_dynamic_platform(true);
    let claims = QuoteVerifier::new(pki.root_der().to_vec())
        .verify_with_policy(quote, collateral, now, &policy)
        .map_err(|error| format!("{error:#}"))?;
    let td = claims.report.as_td10().ok_or("not a TD's quote")?;
    if td.td_attributes.first().is_none_or(|byte| byte & 1 != 0) {
        return Err("a debug TD".to_owned());
    }
    if td.report_data != *expected {
        return Err("report data of another connection".to_owned());
    }
    Ok(Measurements::Td { mrtd: td.mr_td, rtmr: [td.rt_mr0, td.rt_mr1, td.rt_mr2, td.rt_mr3] })
}

#[cfg(test)]
mod tests {
    use sim_dcap::SnpChip;

    use super::*;

    #[test]
    fn a_report_is_believed_of_its_chip_its_connection_and_no_debug_guest() {
        let (chip, other) = (SnpChip::generate().unwrap(), SnpChip::generate().unwrap());
        let honest = SnpReport::new([7; 64], [9; 48]);
        let verdict = |report: &SnpReport, signer: &SnpChip, known: Option<&[u8]>| {
            verify_snp(&report.sign(signer).unwrap(), &[7; 64], known)
                .map_err(|why| why.split(' ').take(2).collect::<Vec<_>>().join(" "))
        };
        let public = chip.public();
        let known = Some(public.as_slice());
        assert_eq!(verdict(&honest, &chip, known), Ok(Measurements::Snp { measurement: [9; 48] }));
        assert_eq!(verdict(&honest, &other, known), Err("no report".to_owned()));
        assert_eq!(verdict(&honest, &chip, None), Err("no chip".to_owned()));
        let debug = SnpReport { policy: honest.policy | SnpReport::DEBUG, ..honest.clone() };
        assert_eq!(verdict(&debug, &chip, known), Err("a debug".to_owned()));
        assert_eq!(verdict(&SnpReport { vmpl: 1, ..honest.clone() }, &chip, known), Err("a debug".to_owned()));
        let replayed = SnpReport { report_data: [8; 64], ..honest };
        assert_eq!(verdict(&replayed, &chip, known), Err("report data".to_owned()));
    }
}
