//! Hosts and vaults with wrong identities, clocks, quotes and collateral.

use std::time::Duration;

use dcap::{Collateral, Platform, TdQuote};
use qemu::{DriverQuirks, QuoteAnswer};
use vault_node::Misbehaviour;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, BootResult, DataDisk, Failure, Vaults, clock};

const YEAR: i64 = 31_536_000;

fn boot<'a>(context: &'a TestContext, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(context).data(data, vaults).cmdline("cvm.data.format=if-blank")
}

/// Expects a line with this status and reason about the vault at `index`.
fn vault_line(result: &BootResult, vaults: &Vaults, index: usize, what: &str) -> Result<(), Failure> {
    result.line(&format!("vault {}: {what}", vaults.address_in_guest(index)?)).map(drop)
}

pub(super) fn reports_each_misbehaving_vault(context: &TestContext) -> Result<(), Failure> {
    let untrusted = |why: &str| format!("untrusted: challenge: node not verified: {why}");
    let cases = [
        (Misbehaviour::StaleQuote, untrusted("report data differs")),
        (Misbehaviour::OtherConnection, untrusted("report data differs")),
        (Misbehaviour::WrongSpki, untrusted("report data differs")),
        (Misbehaviour::HalfReportData, untrusted("report data differs")),
        (Misbehaviour::Reflection, untrusted("expected a quote of an SGX enclave")),
        (Misbehaviour::DebugEnclave, untrusted("debug mode is on")),
        (Misbehaviour::WrongMrenclave, untrusted(&format!("mrenclave {} is not in cvm.vault.mrenclave", "3e".repeat(32)))),
        (Misbehaviour::RevokedPck, untrusted("PCK leaf: certificate revoked")),
        (Misbehaviour::OutOfDate, untrusted("TCB status OutOfDate is not accepted")),
        (Misbehaviour::ForeignRoot, untrusted("chain ends in another root")),
        (Misbehaviour::ForeignCollateral, untrusted("chain ends in another root")),
    ];
    // Only the last vault is honest, and two are needed. Some kinds of misbehaviour are in the collateral, so the nodes staple
    // it.
    let mut vaults = Vaults::stapling(&context.artifacts, 2, cases.len() + 1)?;
    for (index, (misbehaviour, _)) in cases.iter().enumerate() {
        vaults = vaults.misbehaving(index, *misbehaviour);
    }
    let data = DataDisk::blank(&context.folder)?;
    let result = boot(context, &data, &vaults).cmdline("cvm.vault.timeout=20s").run()?;
    result.rebooted_with(53)?;
    for (index, (_, what)) in cases.iter().enumerate() {
        vault_line(&result, &vaults, index, what)?;
        // PID 1 sends neither a quote nor a request to a vault that failed verification.
        let served = vaults.node(index)?.served();
        if served.presents > 0 || served.exports > 0 {
            return Err(Failure(format!(
                "expected neither evidence nor a request for vault {index}, which failed verification: {served:?}"
            )));
        }
    }
    Ok(())
}

/// Expects that PID 1 takes the time from the vaults and sets the clock by it.
fn unlocks_with_a_clock_off_by(context: &TestContext, seconds: i64) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let result = boot(context, &data, &vaults).clock_off_by(seconds).tasks("write:x,clock").run()?;
    result.reached_the_real_system()?;
    let report = result.boot_report()?;
    assert_field(&report, "/time/source", &"vaults")?;
    assert_field(&report, "/time/clock_set", &true)?;
    let seconds = result.line("cvm-tests: clock ")?.rsplit_once(' ').and_then(|(_, seconds)| seconds.parse::<u64>().ok());
    match seconds.map(|seconds| seconds.abs_diff(clock::now())) {
        Some(off) if off < 600 => Ok(()),
        off => Err(Failure(format!("the real system's clock is off by {off:?} s"))),
    }
}

pub(super) fn unlocks_with_the_clock_a_year_behind(context: &TestContext) -> Result<(), Failure> {
    unlocks_with_a_clock_off_by(context, -YEAR)
}

pub(super) fn unlocks_with_the_clock_a_year_ahead(context: &TestContext) -> Result<(), Failure> {
    unlocks_with_a_clock_off_by(context, YEAR)
}

/// Expects that the time comes from the vaults and that PID 1 leaves a correct clock alone.
fn time_is_right(result: &BootResult) -> Result<(), Failure> {
    result.reached_the_real_system()?;
    let report = result.boot_report()?;
    assert_field(&report, "/time/clock_set", &false)?;
    assert_field(&report, "/time/host_ahead_seconds", &0)?;
    let time = report.pointer("/time/unix_seconds").and_then(serde_json::Value::as_u64);
    match time.map(|time| time.abs_diff(clock::now())) {
        Some(off) if off < 600 => Ok(()),
        off => Err(Failure(format!("the time in the report is off by {off:?} s"))),
    }
}

pub(super) fn one_vault_cannot_change_the_time(context: &TestContext) -> Result<(), Failure> {
    // The vault with the wrong clock answers before the two honest ones.
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.misbehaving(0, Misbehaviour::WrongClock(YEAR));
    let data = DataDisk::blank(&context.folder)?;
    time_is_right(&boot(context, &data, &vaults).tasks("write:x").run()?)?;
    // Two vaults agree on a wrong time, but one of them has no trusted time and accepts no evidence: a host can bring any node
    // into that state.
    let (frozen, wrong) = (Misbehaviour::FrozenClock(-YEAR), Misbehaviour::WrongClock(-YEAR));
    let vaults = Vaults::up(&context.artifacts, 2, 4)?.misbehaving(0, frozen).misbehaving(1, wrong);
    let (late, data) = (Misbehaviour::Slow(Duration::from_millis(300)), DataDisk::blank(&context.folder)?);
    let vaults = vaults.misbehaving(2, late).misbehaving(3, late);
    let result = boot(context, &data, &vaults).tasks("write:x").run()?;
    result.line("present: http status 503")?;
    time_is_right(&result)
}

pub(super) fn refuses_expired_collateral_when_the_host_clock_is_behind(context: &TestContext) -> Result<(), Failure> {
    // The vaults' clocks are 50 days ahead of the host's. The cache's collateral expired 20 days ago by the vaults' clocks and is
    // valid by the host's, so PID 1 can only reject it after it has the vaults' time.
    let vaults = Vaults::with_clocks_ahead(&context.artifacts, 2, 3, 50 * 86_400)?;
    let data = DataDisk::blank(&context.folder)?;
    let result = boot(context, &data, &vaults).cmdline("cvm.vault.timeout=12s").run()?;
    result.rebooted_with(57)?;
    result.line("stale: its evidence is not valid at the vaults' time")?;
    data.expect_blank()
}

/// A host that gives one wrong answer of each kind, then honest ones.
fn wrong_quotes_then_honest_ones(platform: Platform) -> impl qemu::QuoteSource + 'static {
    let mut turn = 0;
    move |report: &[u8; 1024]| {
        turn += 1;
        let mut quote = TdQuote::from_tdreport(report);
        match turn {
            1 => return QuoteAnswer::Error(0x0001_2001), // an empty blob on Linux 6.12
            2 => return QuoteAnswer::Quote(vec![0xd9; 4000]),
            3 => quote.report_data = [0; 64],
            4 => quote.rtmr[2] = [0xee; 48],
            5 => quote.signature.tail = vec![1; 70],
            _ => {}
        }
        quote.sign(&platform).map_or(QuoteAnswer::Error(0x0001_2001), QuoteAnswer::Quote)
    }
}

pub(super) fn retries_after_wrong_quotes(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let quirks = DriverQuirks { empty_on_error: true, ..DriverQuirks::default() };
    let boot = boot(context, &data, &vaults).quirks(quirks).quotes(wrong_quotes_then_honest_ones);
    let result = boot.tasks("write:x").run()?;
    result.reached_the_real_system()?;
    let reasons = [
        "quoting service: read outblob",
        "answer of the quoting service: expected quote version",
        "the quote has other report data than this request",
        "the quote describes another trust domain",
        "answer of the quoting service: unexpected bytes after the quote",
    ];
    reasons.iter().try_for_each(|reason| result.line(&format!("quote: {reason}")).map(drop))
}

pub(super) fn unlocks_with_a_slow_quoting_service(context: &TestContext) -> Result<(), Failure> {
    // While the guest makes the first quote, the second vault's proxy closes its idle connection; PID 1 connects again.
    let vaults = Vaults::configured(&context.artifacts, 2, 2, |config| config.idle_timeout = Duration::from_secs(8))?;
    let data = DataDisk::blank(&context.folder)?;
    // Like the real driver: it polls once a second.
    let quirks = DriverQuirks { poll: Duration::from_secs(1), ..DriverQuirks::default() };
    let slow = |platform: Platform| {
        move |report: &[u8; 1024]| match TdQuote::from_tdreport(report).sign(&platform) {
            Ok(quote) => QuoteAnswer::Delayed(Duration::from_secs(5), quote),
            Err(_) => QuoteAnswer::Silent,
        }
    };
    let result = boot(context, &data, &vaults).quirks(quirks).quotes(slow).tasks("write:x").run()?;
    result.reached_the_real_system()?;
    result.line("down: present: connection")?;
    assert_field(&result.boot_report()?, "/time/source", &"vaults")
}

pub(super) fn stops_without_a_quoting_service(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let quirks = DriverQuirks { timeout: Duration::from_secs(2), ..DriverQuirks::default() };
    let silent = |_| |_: &[u8; 1024]| QuoteAnswer::Silent;
    let boot = boot(context, &data, &vaults).quirks(quirks).quotes(silent).cmdline("cvm.vault.timeout=15s");
    boot.run()?.rebooted_with(54)
}

pub(super) fn unlocks_beside_a_stalled_vault(context: &TestContext) -> Result<(), Failure> {
    // PID 1 asks the first two vaults that proved their identity; one of them accepts the quote and then stops answering.
    let vaults = Vaults::up(&context.artifacts, 2, 3)?
        .misbehaving(0, Misbehaviour::HangAfterPresent)
        .misbehaving(2, Misbehaviour::Slow(Duration::from_millis(700)));
    let data = DataDisk::blank(&context.folder)?;
    let result = boot(context, &data, &vaults).tasks("write:x").run()?;
    result.reached_the_real_system()?;
    let report = result.boot_report()?;
    assert_field(&report, "/unlock/vaults/0/status", &"slow")?;
    assert_field(&report, "/unlock/vaults/1/status", &"served")?;
    assert_field(&report, "/unlock/vaults/2/status", &"served")
}

/// Failures of real nodes: one accepts no evidence, one waits 20 s for its attestation server. PID 1 uses the late share.
pub(super) fn unlocks_beside_vaults_that_fail(context: &TestContext) -> Result<(), Failure> {
    let slow = Misbehaviour::SlowAttestation(Duration::from_secs(20));
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.misbehaving(0, slow).misbehaving(1, Misbehaviour::PresentStatus(400));
    let data = DataDisk::blank(&context.folder)?;
    let result = boot(context, &data, &vaults).tasks("write:x").run()?;
    result.reached_the_real_system()?;
    vault_line(&result, &vaults, 1, "rejected: present: http status 400: the node cannot use our evidence")?;
    let report = result.boot_report()?;
    assert_field(&report, "/unlock/vaults/0/status", &"served")?;
    assert_field(&report, "/unlock/vaults/1/status", &"rejected")?;
    assert_field(&report, "/unlock/vaults/2/status", &"served")
}

pub(super) fn two_vaults_with_one_share_count_once(context: &TestContext) -> Result<(), Failure> {
    let vaults =
        Vaults::up(&context.artifacts, 2, 3)?.copying_share(1, 0)?.misbehaving(2, Misbehaviour::Slow(Duration::from_millis(700)));
    let data = DataDisk::blank(&context.folder)?;
    let result = boot(context, &data, &vaults).tasks("write:x").run()?;
    result.reached_the_real_system()?;
    let report = result.boot_report()?;
    let status = |index: usize| report.pointer(&format!("/unlock/vaults/{index}/status")).and_then(|v| v.as_str());
    match (status(0), status(1), status(2)) {
        (Some("served"), Some("duplicate"), Some("served")) | (Some("duplicate"), Some("served"), Some("served")) => Ok(()),
        other => Err(Failure(format!("expected one duplicate and two served vaults, found {other:?}"))),
    }
}

pub(super) fn reports_one_wrong_share_among_four(context: &TestContext) -> Result<(), Failure> {
    let late = |vaults: Vaults, index| vaults.misbehaving(index, Misbehaviour::Slow(Duration::from_millis(500)));
    let vaults = Vaults::up(&context.artifacts, 3, 4)?.misbehaving(0, Misbehaviour::WrongShare);
    let vaults = late(vaults, 3);
    let data = DataDisk::blank(&context.folder)?;
    let result = boot(context, &data, &vaults).tasks("write:x").run()?;
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/unlock/vaults/0/status", &"bad_share")
}

pub(super) fn unlocks_by_signature_only(context: &TestContext) -> Result<(), Failure> {
    let bare = Vaults::up(&context.artifacts, 2, 3)?.without_cache();
    let data = DataDisk::blank(&context.folder)?;
    // By the host's clock the vaults' certificates are not yet valid.
    let boot = boot(context, &data, &bare).cmdline("cvm.tcb=signature").clock_off_by(-YEAR);
    let result = boot.tasks("write:x").run()?;
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/unlock/tcb", &"signature")?;
    let statuses = result.lines.iter().filter(|line| line.contains("verified, tcb unknown")).count();
    if statuses >= 2 {
        Ok(())
    } else {
        Err(Failure(format!("expected two vaults or more verified by signature, found {statuses}")))
    }
}

/// The cache uses HTTPS with a self-signed certificate, as a stock PCCS does; in other scenarios it uses HTTP.
pub(super) fn collateral_comes_from_a_cache_once(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?.caching_over_tls()?);
    let result = boot(context, &data, &vaults).tasks("write:x").run()?;
    result.reached_the_real_system()?;
    // One set of collateral is four requests, and PID 1 needs one set per type of platform.
    match vaults.cache_requests() {
        4 => Ok(()),
        asked => Err(Failure(format!("expected four requests to the cache, found {asked}"))),
    }
}

/// Collateral of a cache counts like stapled collateral.
pub(super) fn refuses_platforms_that_the_cache_reports_bad(context: &TestContext) -> Result<(), Failure> {
    let revoked = |collateral: &mut Collateral, platforms: &[Platform]| {
        collateral.pck_crl.revoked.extend(platforms.first().map(|platform| platform.pck.serial()));
    };
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?.caching(revoked)?);
    let result = boot(context, &data, &vaults).tasks("write:x").run()?;
    result.reached_the_real_system()?;
    vault_line(&result, &vaults, 0, "untrusted: challenge: node not verified: PCK leaf: certificate revoked")?;
    let old = |collateral: &mut Collateral, _: &[Platform]| {
        collateral.tcb_info.tcb_levels.iter_mut().for_each(|level| level.tcb_status.replace_range(.., "OutOfDate"));
    };
    let vaults = vaults.caching(old)?;
    let result = boot(context, &data, &vaults).cmdline("cvm.vault.timeout=12s").run()?;
    result.rebooted_with(53)?;
    (0..3).try_for_each(|index| {
        vault_line(&result, &vaults, index, "untrusted: challenge: node not verified: TCB status OutOfDate is not accepted")
    })
}

pub(super) fn collateral_comes_stapled(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::stapling(&context.artifacts, 2, 3)?);
    boot(context, &data, &vaults).tasks("write:x").run()?.reached_the_real_system()
}

pub(super) fn collateral_comes_with_the_initrd(context: &TestContext) -> Result<(), Failure> {
    let bare = Vaults::up(&context.artifacts, 2, 3)?.without_cache();
    let data = DataDisk::blank(&context.folder)?;
    let result = boot(context, &data, &bare).initrd(bare.initrd_with_collateral(context)?).tasks("write:x").run()?;
    result.reached_the_real_system()
}

pub(super) fn accepts_vaults_on_listed_platforms_only(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 2)?);
    let first = boot(context, &data, &vaults).tasks("write:kept").run()?;
    first.reached_the_real_system()?;
    let report = first.boot_report()?;
    let platform = |index: usize| {
        let platform = report.pointer(&format!("/unlock/vaults/{index}/platform")).and_then(|platform| platform.as_str());
        platform.map(str::to_owned).ok_or_else(|| Failure(format!("the boot report contains no platform of vault {index}")))
    };
    let listed = |platforms: [String; 2]| {
        let boot = boot(context, &data, &vaults).cmdline(format!("cvm.vault.platforms={}", platforms.join(",")));
        boot.cmdline("cvm.vault.timeout=12s").tasks("read").run()
    };
    listed([platform(0)?, platform(1)?])?.line("cvm-tests: marker is kept")?;
    let result = listed([platform(0)?, "00".repeat(16)])?;
    result.rebooted_with(53)?;
    vault_line(
        &result,
        &vaults,
        1,
        &format!("untrusted: challenge: node not verified: platform {} is not in cvm.vault.platforms", platform(1)?),
    )
}

pub(super) fn accepts_vaults_of_the_node_ca_only(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 2)?);
    // Each node of the harness has its own CA.
    let certificate = |index: usize| {
        let name = format!("etc/cvm-init/anchors/{}", initrd::node_ca_name(index));
        vaults.node(index).map(|node| (name, node.ca_der()))
    };
    let with = |certificates: Vec<(String, Vec<u8>)>| {
        let boot = boot(context, &data, &vaults).initrd(context.initrd_with_files(certificates)?);
        boot.cmdline("cvm.vault.timeout=12s").tasks("write:kept").run()
    };
    let result = with(vec![certificate(0)?])?;
    result.rebooted_with(53)?;
    vault_line(&result, &vaults, 1, "untrusted: handshake: certificate refused: no node CA of node-ca-*.der")?;
    with(vec![certificate(0)?, certificate(1)?])?.reached_the_real_system()
}
