//! The same initrd in an SEV-SNP guest. Its report goes to the vaults; what a chip's certificate says is not there to be checked.

use machine::QuoteAnswer;
use sim_dcap::{SnpChip, SnpReport};

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Doing, Failure, Vaults};

/// Where a TDREPORT, in which the host's stand-in driver sends what it was told, has report data and TDINFO.
const REPORT_DATA: usize = 128;
const TD_INFO: usize = 512;

pub(super) fn unlocks_as_an_snp_guest(stage: &Stage) -> Result<(), Failure> {
    let chip = SnpChip::generate().doing("a chip")?;
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::believing(&stage.artifacts, 2, 3, &chip)?);
    let boot = |signer: &SnpChip| {
        let signer = signer.clone();
        let boot = Boot::new(stage).initrd(stage.artifacts.snp.clone()).data(&data, &vaults).ungranted();
        let boot = boot.word("cvm.data.format=if-blank");
        boot.quotes(move |_platform| move |report: &[u8; 1024]| answer(report, &signer))
    };
    let guest = boot(&chip);
    vaults.grant_snp(&launch_measurement(&guest.measurement()?.to_bytes()))?;
    let ended = guest.run()?;
    ended.reached_the_real_system()?;
    ended.line("sev_guest: SIMULATED confidential guest")?;
    assert_field(&ended.receipt()?, "/data/open_mode", &"formatted")?;

    // Another image measures otherwise; and a report that another chip signed is nobody's.
    let refused = "cvm.vault.timeout=8s";
    boot(&chip).word("audit=1").word(refused).run()?.rebooted_with(51)?;
    if vaults.node(0)?.refusals().iter().any(|why| why.contains("report")) {
        return Err(Failure(format!("an honest report was refused: {:?}", vaults.node(0)?.refusals())));
    }
    boot(&SnpChip::generate().doing("a chip")?).word(refused).run()?;
    let refusals = [0, 1, 2].map(|index| vaults.node(index).map(|node| node.refusals().join("; ")).unwrap_or_default());
    if refusals.iter().any(|why| why.contains("no report of this chip")) { Ok(()) } else { Err(Failure(format!("{refusals:?}"))) }
}

/// The host has the guest's report made: the driver here has no chip to ask.
fn answer(report: &[u8; 1024], chip: &SnpChip) -> QuoteAnswer {
    let asked = report.get(REPORT_DATA..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; 64]);
    let measurement = launch_measurement(report.get(TD_INFO..).unwrap_or_default());
    SnpReport::new(asked, measurement).sign(chip).map_or(QuoteAnswer::Silent, QuoteAnswer::Quote)
}

/// In place of the launch digest, which has firmware and the digests of kernel, initrd and command line in it: MRTD, RTMR1 and
/// RTMR2 of the TD that this machine would be.
fn launch_measurement(td_info: &[u8]) -> [u8; 48] {
    let parts: Vec<u8> = [16, 256, 304].iter().filter_map(|at| td_info.get(*at..at + 48)).flatten().copied().collect();
    let mut measurement = [0; 48];
    let digest = ring::digest::digest(&ring::digest::SHA384, &parts);
    measurement.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    measurement
}

#[cfg(test)]
mod tests {
    use machine::TdInfo;

    use super::*;

    #[test]
    fn each_register_that_a_policy_names_is_in_the_measurement() {
        let plain = launch_measurement(&TdInfo::default().to_bytes());
        for at in [16, 256, 304] {
            let mut changed = TdInfo::default().to_bytes();
            changed[at + 47] ^= 1;
            assert_ne!(launch_measurement(&changed), plain, "{at}");
        }
    }
}
