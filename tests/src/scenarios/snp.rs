//! The simulated initrd in an SEV-SNP guest. Simulated vaults check its report, but no certificate chain of a chip.

use dcap::{SnpChip, SnpReport};
use qemu::QuoteAnswer;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, Context, DataDisk, Failure, Vaults};

/// Offsets of report data and TDINFO in a TDREPORT, in which the stand-in driver sends what it measured.
const REPORT_DATA: usize = 128;
const TD_INFO: usize = 512;

pub(super) fn unlocks_as_an_snp_guest(context: &TestContext) -> Result<(), Failure> {
    let chip = SnpChip::generate().context("making a chip key")?;
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::accepting_snp_chip(&context.artifacts, 2, 3, &chip)?);
    let boot = |signer: &SnpChip| {
        let signer = signer.clone();
        let boot = Boot::new(context).initrd(context.artifacts.snp.clone()).data(&data, &vaults).without_grant();
        let boot = boot.cmdline("cvm.data.format=if-blank");
        boot.quotes(move |_platform| move |report: &[u8; 1024]| answer(report, &signer))
    };
    let guest = boot(&chip);
    vaults.grant_snp(&launch_measurement(&guest.measurement()?.to_bytes()))?;
    let result = guest.run()?;
    result.reached_the_real_system()?;
    result.line("sev_guest: SIMULATED confidential guest")?;
    assert_field(&result.boot_report()?, "/data/open_mode", &"formatted")?;

    // Another image has another measurement; vaults refuse the report of another chip.
    let refused = "cvm.vault.timeout=8s";
    boot(&chip).cmdline("audit=1").cmdline(refused).run()?.rebooted_with(51)?;
    if vaults.node(0)?.refusals().iter().any(|why| why.contains("report")) {
        return Err(Failure(format!("an honest report was refused: {:?}", vaults.node(0)?.refusals())));
    }
    boot(&SnpChip::generate().context("making a chip key")?).cmdline(refused).run()?;
    let refusals = [0, 1, 2].map(|index| vaults.node(index).map(|node| node.refusals().join("; ")).unwrap_or_default());
    if refusals.iter().any(|why| why.contains("no report of this chip")) { Ok(()) } else { Err(Failure(format!("{refusals:?}"))) }
}

/// The host signs the guest's report: the stand-in driver has no chip.
fn answer(report: &[u8; 1024], chip: &SnpChip) -> QuoteAnswer {
    let asked = report.get(REPORT_DATA..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; 64]);
    let measurement = launch_measurement(report.get(TD_INFO..).unwrap_or_default());
    SnpReport::new(asked, measurement).sign(chip).map_or(QuoteAnswer::Silent, QuoteAnswer::Quote)
}

/// A substitute for the launch digest, which covers firmware and the digests of kernel, initrd and command line: a hash of MRTD,
/// RTMR1 and RTMR2 of the TD that this machine would be.
fn launch_measurement(td_info: &[u8]) -> [u8; 48] {
    let parts: Vec<u8> = [16, 256, 304].iter().filter_map(|at| td_info.get(*at..at + 48)).flatten().copied().collect();
    let mut measurement = [0; 48];
    let digest = ring::digest::digest(&ring::digest::SHA384, &parts);
    measurement.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    measurement
}

#[cfg(test)]
mod tests {
    use qemu::TdInfo;

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
