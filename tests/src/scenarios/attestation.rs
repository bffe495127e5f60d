//! Hosts and vaults that lie about who they are, when it is, or what they measured.

use std::time::Duration;

use machine::{Habits, QuoteAnswer};
use sim_dcap::{Collateral, Platform, TdQuote};
use vault_node::Misbehaviour;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Ended, Failure, Vaults, clock};

const YEAR: i64 = 31_536_000;

fn boot<'a>(stage: &'a Stage, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(stage).data(data, vaults).word("cvm.data.format=if-blank")
}

/// Expects a line about the vault at `index` with this verdict and reason.
fn said_of(ended: &Ended, vaults: &Vaults, index: usize, what: &str) -> Result<(), Failure> {
    ended.line(&format!("vault {}: {what}", vaults.address_in_guest(index)?)).map(drop)
}

pub(super) fn names_every_vault_that_lies(stage: &Stage) -> Result<(), Failure> {
    let untrusted = |why: &str| format!("untrusted: challenge: node not verified: {why}");
    let lies = [
        (Misbehaviour::StaleQuote, untrusted("report data differs")),
        (Misbehaviour::OtherConnection, untrusted("report data differs")),
        (Misbehaviour::WrongSpki, untrusted("report data differs")),
        (Misbehaviour::HalfReportData, untrusted("report data differs")),
        (Misbehaviour::Reflection, untrusted("expected a quote of an SGX enclave")),
        (Misbehaviour::DebugEnclave, untrusted("debug mode is on")),
        (Misbehaviour::WrongMrenclave, untrusted("mrenclave ")),
        (Misbehaviour::RevokedPck, untrusted("PCK leaf: certificate revoked")),
        (Misbehaviour::OutOfDate, untrusted("TCB status OutOfDate is not accepted")),
        (Misbehaviour::ForeignRoot, untrusted("chain ends in another root")),
        (Misbehaviour::ForeignCollateral, untrusted("chain ends in another root")),
    ];
    // The last one is honest: one good vault of two that it takes.
    // Some of the lies are about collateral, which the node itself must staple then.
    let mut vaults = Vaults::stapling(&stage.artifacts, 2, lies.len() + 1)?;
    for (index, (lie, _)) in lies.iter().enumerate() {
        vaults = vaults.misbehaving(index, *lie);
    }
    let data = DataDisk::blank(&stage.folder)?;
    let ended = boot(stage, &data, &vaults).word("cvm.vault.timeout=20s").run()?;
    ended.rebooted_with(53)?;
    for (index, (_, what)) in lies.iter().enumerate() {
        said_of(&ended, &vaults, index, what)?;
        // An unverified vault gets neither the guest's quote nor a request.
        let served = vaults.node(index)?.served();
        if served.presents > 0 || served.exports > 0 {
            return Err(Failure(format!("vault {index} was told something: {served:?}")));
        }
    }
    Ok(())
}

/// The time is the vaults', whatever the host says, and the machine's clock is set by it.
fn unlocks_with_a_clock_off_by(stage: &Stage, seconds: i64) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let ended = boot(stage, &data, &vaults).clock_off_by(seconds).tasks("write:x,clock").run()?;
    ended.reached_the_real_system()?;
    let receipt = ended.receipt()?;
    assert_field(&receipt, "/time/source", &"vaults")?;
    assert_field(&receipt, "/time/clock_set", &true)?;
    let told = ended.line("cvm-tests: clock ")?.rsplit_once(' ').and_then(|(_, seconds)| seconds.parse::<u64>().ok());
    match told.map(|told| told.abs_diff(clock::now())) {
        Some(off) if off < 600 => Ok(()),
        off => Err(Failure(format!("the real system's clock is off by {off:?} s"))),
    }
}

pub(super) fn unlocks_with_the_clock_a_year_behind(stage: &Stage) -> Result<(), Failure> {
    unlocks_with_a_clock_off_by(stage, -YEAR)
}

pub(super) fn unlocks_with_the_clock_a_year_ahead(stage: &Stage) -> Result<(), Failure> {
    unlocks_with_a_clock_off_by(stage, YEAR)
}

/// Expects the vaults' time, and a clock that was right and is left alone.
fn time_is_right(ended: &Ended) -> Result<(), Failure> {
    ended.reached_the_real_system()?;
    let receipt = ended.receipt()?;
    assert_field(&receipt, "/time/clock_set", &false)?;
    assert_field(&receipt, "/time/host_ahead_seconds", &0)?;
    let time = receipt.pointer("/time/unix_seconds").and_then(serde_json::Value::as_u64);
    match time.map(|time| time.abs_diff(clock::now())) {
        Some(off) if off < 600 => Ok(()),
        off => Err(Failure(format!("the time in the receipt is off by {off:?} s"))),
    }
}

pub(super) fn one_vault_cannot_turn_time(stage: &Stage) -> Result<(), Failure> {
    // The one that lies about the time answers first, the honest two a little later.
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.misbehaving(0, Misbehaviour::WrongClock(YEAR));
    let data = DataDisk::blank(&stage.folder)?;
    time_is_right(&boot(stage, &data, &vaults).tasks("write:x").run()?)?;
    // Two that say the same, one of which knows no time and takes no evidence: the host can bring any node to that.
    let (frozen, lying) = (Misbehaviour::FrozenClock(-YEAR), Misbehaviour::WrongClock(-YEAR));
    let vaults = Vaults::up(&stage.artifacts, 2, 4)?.misbehaving(0, frozen).misbehaving(1, lying);
    let (late, data) = (Misbehaviour::Slow(Duration::from_millis(300)), DataDisk::blank(&stage.folder)?);
    let vaults = vaults.misbehaving(2, late).misbehaving(3, late);
    let ended = boot(stage, &data, &vaults).tasks("write:x").run()?;
    ended.line("present: http status 503")?;
    time_is_right(&ended)
}

pub(super) fn collateral_that_ran_out_is_not_revived_by_the_host(stage: &Stage) -> Result<(), Failure> {
    // By the vaults' clocks it is 50 days later than by the host's, and what the host's cache serves ran out 20 days ago; by the
    // host's clock it is good. The guest cannot know better before the vaults have said what time it is.
    let vaults = Vaults::in_the_future(&stage.artifacts, 2, 3, 50 * 86_400)?;
    let data = DataDisk::blank(&stage.folder)?;
    let ended = boot(stage, &data, &vaults).word("cvm.vault.timeout=12s").run()?;
    ended.rebooted_with(57)?;
    ended.line("stale: its evidence is not valid at the vaults' time")?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

/// A host that tries every lie about quotes once, and then serves honestly.
fn lies_then_serves(platform: Platform) -> impl machine::QuoteSource + 'static {
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

pub(super) fn survives_a_host_that_lies_about_quotes(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let habits = Habits { empty_on_error: true, ..Habits::default() };
    let boot = boot(stage, &data, &vaults).habits(habits).quotes(lies_then_serves);
    let ended = boot.tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    let reasons = [
        "quoting service: read outblob",
        "answer of the quoting service: expected quote version",
        "the quote has other report data than this request",
        "the quote describes another trust domain",
        "answer of the quoting service: unexpected bytes after the quote",
    ];
    reasons.iter().try_for_each(|reason| ended.line(&format!("quote: {reason}")).map(drop))
}

pub(super) fn unlocks_with_a_slow_quoting_service(stage: &Stage) -> Result<(), Failure> {
    // The second vault waits for its turn to be quoted to until its proxy drops the connection: it is dialled again.
    let vaults = Vaults::configured(&stage.artifacts, 2, 2, |config| config.idle_timeout = Duration::from_secs(8))?;
    let data = DataDisk::blank(&stage.folder)?;
    // As the real driver does: it looks once a second, and the service takes its time.
    let habits = Habits { poll: Duration::from_secs(1), ..Habits::default() };
    let slow = |platform: Platform| {
        move |report: &[u8; 1024]| match TdQuote::from_tdreport(report).sign(&platform) {
            Ok(quote) => QuoteAnswer::Delayed(Duration::from_secs(5), quote),
            Err(_) => QuoteAnswer::Silent,
        }
    };
    let ended = boot(stage, &data, &vaults).habits(habits).quotes(slow).tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    ended.line("down: present: connection")?;
    assert_field(&ended.receipt()?, "/time/source", &"vaults")
}

pub(super) fn stops_without_a_quoting_service(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let habits = Habits { timeout: Duration::from_secs(2), ..Habits::default() };
    let silent = |_| |_: &[u8; 1024]| QuoteAnswer::Silent;
    let boot = boot(stage, &data, &vaults).habits(habits).quotes(silent).word("cvm.vault.timeout=15s");
    boot.run()?.rebooted_with(54)
}

pub(super) fn one_stalled_vault_is_passed_by(stage: &Stage) -> Result<(), Failure> {
    // The first two to prove themselves are asked; one of them takes our quote and falls silent.
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?
        .misbehaving(0, Misbehaviour::HangAfterPresent)
        .misbehaving(2, Misbehaviour::Slow(Duration::from_millis(700)));
    let data = DataDisk::blank(&stage.folder)?;
    let ended = boot(stage, &data, &vaults).tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    let receipt = ended.receipt()?;
    assert_field(&receipt, "/unlock/vaults/0/status", &"slow")?;
    assert_field(&receipt, "/unlock/vaults/1/status", &"served")?;
    assert_field(&receipt, "/unlock/vaults/2/status", &"served")
}

/// What a real node does in trouble: it takes nobody's evidence, or its attestation server takes long. A share that comes late is waited for
/// while the others go on.
pub(super) fn nodes_with_troubles_of_their_own_are_passed_by(stage: &Stage) -> Result<(), Failure> {
    let slow = Misbehaviour::SlowAttestation(Duration::from_secs(20));
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.misbehaving(0, slow).misbehaving(1, Misbehaviour::PresentStatus(400));
    let data = DataDisk::blank(&stage.folder)?;
    let ended = boot(stage, &data, &vaults).tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    said_of(&ended, &vaults, 1, "rejected: present: http status 400: the node cannot use our evidence")?;
    let receipt = ended.receipt()?;
    assert_field(&receipt, "/unlock/vaults/0/status", &"served")?;
    assert_field(&receipt, "/unlock/vaults/1/status", &"rejected")?;
    assert_field(&receipt, "/unlock/vaults/2/status", &"served")
}

pub(super) fn two_vaults_with_one_share_count_once(stage: &Stage) -> Result<(), Failure> {
    let vaults =
        Vaults::up(&stage.artifacts, 2, 3)?.copying_share(1, 0)?.misbehaving(2, Misbehaviour::Slow(Duration::from_millis(700)));
    let data = DataDisk::blank(&stage.folder)?;
    let ended = boot(stage, &data, &vaults).tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    let receipt = ended.receipt()?;
    let verdict = |index: usize| receipt.pointer(&format!("/unlock/vaults/{index}/status")).and_then(|v| v.as_str());
    match (verdict(0), verdict(1), verdict(2)) {
        (Some("served"), Some("duplicate"), Some("served")) | (Some("duplicate"), Some("served"), Some("served")) => Ok(()),
        other => Err(Failure(format!("verdicts {other:?}"))),
    }
}

pub(super) fn one_lying_vault_among_four_is_named(stage: &Stage) -> Result<(), Failure> {
    let late = |vaults: Vaults, index| vaults.misbehaving(index, Misbehaviour::Slow(Duration::from_millis(500)));
    let vaults = Vaults::up(&stage.artifacts, 3, 4)?.misbehaving(0, Misbehaviour::WrongShare);
    let vaults = late(vaults, 3);
    let data = DataDisk::blank(&stage.folder)?;
    let ended = boot(stage, &data, &vaults).tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    assert_field(&ended.receipt()?, "/unlock/vaults/0/status", &"bad_share")
}

pub(super) fn signatures_are_enough_where_policy_says_so(stage: &Stage) -> Result<(), Failure> {
    let bare = Vaults::up(&stage.artifacts, 2, 3)?.without_cache();
    let data = DataDisk::blank(&stage.folder)?;
    // Before the vaults' certificates were issued, says the host.
    let boot = boot(stage, &data, &bare).word("cvm.tcb=signature").clock_off_by(-YEAR);
    let ended = boot.tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    assert_field(&ended.receipt()?, "/unlock/tcb", &"signature")?;
    let statuses = ended.lines.iter().filter(|line| line.contains("verified, tcb unknown")).count();
    if statuses >= 2 { Ok(()) } else { Err(Failure(format!("{statuses} vaults verified by signature"))) }
}

/// A stock PCCS speaks HTTPS with a certificate of its own making; all other scenarios have one that speaks HTTP.
pub(super) fn collateral_comes_from_a_cache_once(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?.caching_over_tls()?);
    let ended = boot(stage, &data, &vaults).tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    // Four answers make one set, and one set is enough for all vaults of a platform type.
    match vaults.asked_for_collateral() {
        4 => Ok(()),
        asked => Err(Failure(format!("the cache was asked {asked} times"))),
    }
}

/// What a cache says of the vaults' platforms counts as what a node would staple.
pub(super) fn a_cache_can_say_that_a_platform_is_bad(stage: &Stage) -> Result<(), Failure> {
    let revoked = |collateral: &mut Collateral, platforms: &[Platform]| {
        collateral.pck_crl.revoked.extend(platforms.first().map(|platform| platform.pck.serial()));
    };
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?.caching(revoked)?);
    let ended = boot(stage, &data, &vaults).tasks("write:x").run()?;
    ended.reached_the_real_system()?;
    said_of(&ended, &vaults, 0, "untrusted: challenge: node not verified: PCK leaf: certificate revoked")?;
    let old = |collateral: &mut Collateral, _: &[Platform]| {
        collateral.tcb_info.tcb_levels.iter_mut().for_each(|level| level.tcb_status.replace_range(.., "OutOfDate"));
    };
    let vaults = vaults.caching(old)?;
    let ended = boot(stage, &data, &vaults).word("cvm.vault.timeout=12s").run()?;
    ended.rebooted_with(53)?;
    (0..3).try_for_each(|index| {
        said_of(&ended, &vaults, index, "untrusted: challenge: node not verified: TCB status OutOfDate is not accepted")
    })
}

pub(super) fn collateral_comes_stapled(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::stapling(&stage.artifacts, 2, 3)?);
    boot(stage, &data, &vaults).tasks("write:x").run()?.reached_the_real_system()
}

pub(super) fn collateral_comes_with_the_initrd(stage: &Stage) -> Result<(), Failure> {
    let bare = Vaults::up(&stage.artifacts, 2, 3)?.without_cache();
    let data = DataDisk::blank(&stage.folder)?;
    let ended = boot(stage, &data, &bare).initrd(bare.bundled(stage)?).tasks("write:x").run()?;
    ended.reached_the_real_system()
}

pub(super) fn vaults_run_on_listed_platforms_only(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 2)?);
    let first = boot(stage, &data, &vaults).tasks("write:kept").run()?;
    first.reached_the_real_system()?;
    let receipt = first.receipt()?;
    let platform = |index: usize| {
        let platform = receipt.pointer(&format!("/unlock/vaults/{index}/platform")).and_then(|platform| platform.as_str());
        platform.map(str::to_owned).ok_or_else(|| Failure(format!("no platform of vault {index}")))
    };
    let listed = |platforms: [String; 2]| {
        let boot = boot(stage, &data, &vaults).word(format!("cvm.vault.platforms={}", platforms.join(",")));
        boot.word("cvm.vault.timeout=12s").tasks("read").run()
    };
    listed([platform(0)?, platform(1)?])?.line("cvm-tests: marker is kept")?;
    let ended = listed([platform(0)?, "00".repeat(16)])?;
    ended.rebooted_with(53)?;
    said_of(
        &ended,
        &vaults,
        1,
        &format!("untrusted: challenge: node not verified: platform {} is not in cvm.vault.platforms", platform(1)?),
    )
}
