//! Measurements: registers and event logs agree with each other and with the boot report.

use std::time::Duration;

use eventlog::ccel::{Kind, Log};
use eventlog::cel::{self, Record, Register};
use eventlog::register::Hash;
use predict::{Divergence, Firmware, Prediction};
use qemu::measurement::ccel;
use serde_json::Value;

use super::TestContext;
use super::root::assert_field;
use crate::{Artifacts, Boot, BootResult, Context, DataDisk, Failure, KernelSeries, Vaults};
use encoding::hex::encode as hex;

/// The time for firmware, kernel and systemd under emulation.
const THROUGH_FIRMWARE: Duration = Duration::from_secs(150);
/// The events in their order.
const EVENTS: [&str; 6] = ["policy", "root", "vaults", "disk", "debug", "leave-initrd"];

pub(super) fn measures_into_rtmr3(context: &TestContext) -> Result<(), Failure> {
    let (vaults, data) = (Vaults::up(&context.artifacts, 2, 3)?, DataDisk::blank(&context.folder)?);
    let boot = |tasks| {
        Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").cmdline("cvm.measure=rtmr").tasks(tasks)
    };
    for what in ["formatted", "opened"] {
        let boot = boot("measured").cmdline("cvm.debug=timeline");
        let td = boot.measurement()?;
        let result = boot.run()?;
        result.reached_the_real_system()?;
        let report = result.boot_report()?;
        let events = records(&result, "rtmr-measure.log", Register::Rtmr(3), &EVENTS)?;
        let rtmr3 = register(&result, 3)?;
        same("RTMR3 and its log", &hex(&replayed(&events, Hash::Sha384)?), &hex(&rtmr3))?;
        assert_field(&report, "/measurement/rtmr3/after", &hex(&rtmr3))?;
        assert_field(&report, "/measurement/rtmr3/before", &"00".repeat(48))?;
        assert_field(&report, "/measurement/events", &6)?;
        // RTMR2 contains the boot's measurements and the cap only.
        let cap = records(&result, "rtmr-measure.log", Register::Rtmr(2), &EVENTS[5..])?;
        let [_, _, before, _] = td.rtmrs;
        let cap = cap.first().and_then(|record| record.digest(Hash::Sha384)).unwrap_or_default();
        let capped = hex(&Hash::Sha384.extend(&before.0, cap));
        same("RTMR2 and the cap", &capped, &hex(&register(&result, 2)?))?;
        assert_field(&report, "/measurement/rtmr2/before", &hex(&before.0))?;
        assert_field(&report, "/measurement/rtmr2/after", &capped)?;
        // The events contain what the boot report contains.
        let texts = texts(&events)?;
        for (event, event_field, report_field) in [
            (0, "/sha256", "/policy_sha256"),
            (1, "/roothash", "/root_hash"),
            (2, "/unlock/share_set_id", "/unlock/share_set_id"),
            (2, "/unlock/key_proof", "/unlock/key_proof"),
            (2, "/unlock/vaults/0/status", "/unlock/vaults/0/status"),
            (3, "/luks_uuid", "/data/luks_uuid"),
            (3, "/handle", "/unlock/handle"),
            (3, "/header_authenticated", "/data/header_authenticated"),
            (4, "/arguments", "/debug"),
        ] {
            let measured = texts.get(event).and_then(|text| text.pointer(event_field)).cloned().unwrap_or_default();
            let reported = report.pointer(report_field).cloned().unwrap_or_default();
            same(event_field, &measured.to_string(), &reported.to_string())?;
            if reported.is_null() {
                return Err(Failure(format!("the boot report does not contain {report_field}")));
            }
        }
        assert_field(texts.get(3).unwrap_or(&Value::Null), "/open_mode", &what)?;
    }
    Ok(())
}

pub(super) fn nothing_after_the_handoff_gets_the_key(context: &TestContext) -> Result<(), Failure> {
    // The program in the image (tests/refetch-key) gets collateral from the nodes only.
    let (vaults, data) = (Vaults::stapling(&context.artifacts, 2, 3)?, DataDisk::blank(&context.folder)?);
    let boot = || {
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        boot.cmdline("cvm.net.keep=yes").tasks("refetch-key")
    };
    let gave = |result: &BootResult, what: &str| {
        result.lines.iter().filter(|line| line.contains("refetch-key: ") && line.contains(what)).count()
    };
    // Without the cap a program in the running system gets the key, with PID 1's client and its own quotes.
    let open = boot().cmdline("cvm.measure=off").run()?;
    open.reached_the_real_system()?;
    assert_field(&open.boot_report()?, "/measurement/events", &0)?;
    if gave(&open, "gave a share") != 3 {
        return Err(Failure("without the cap a later program must get all three shares, but did not".to_owned()));
    }
    // Like real nodes, these compare MRTD, RTMR1 and RTMR2 only.
    let capped = boot().run()?;
    capped.reached_the_real_system()?;
    assert_field(&capped.boot_report()?, "/measurement/rtmr2_capped", &true)?;
    match (gave(&capped, "gave a share"), gave(&capped, "denied by the key's policy")) {
        (0, 3) => Ok(()),
        (gave, denied) => {
            Err(Failure(format!("{gave} vaults gave a share after the cap, {denied} denied it: {:?}", refetched(&capped))))
        }
    }
}

/// Debian 13's kernel offers no RTMRs: the boot fails before it asks for a share, unless `cvm.measure=off` is given.
pub(super) fn stops_where_the_kernel_offers_no_registers(context: &TestContext) -> Result<(), Failure> {
    let context = &TestContext {
        artifacts: Artifacts::find(&context.artifacts.top, KernelSeries::Stable)?,
        folder: context.folder.clone(),
    };
    let (vaults, data) = (Vaults::up(&context.artifacts, 2, 3)?, DataDisk::blank(&context.folder)?);
    let boot = |argument: &str| Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").cmdline(argument);
    let result = boot("cvm.measure=auto").run()?;
    result.powered_off_with(90)?;
    result.line("cvm.measure=auto: this kernel does not let the TD extend RTMR2 and RTMR3")?;
    result.no_line("phase net")?;
    let result = boot("cvm.measure=off").run()?;
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/measurement/rtmr2_capped", &false)?;
    assert_field(&result.boot_report()?, "/data/open_mode", &"formatted")
}

fn refetched(result: &BootResult) -> Vec<&String> {
    result.lines.iter().filter(|line| line.contains("refetch-key: ")).collect()
}

pub(super) fn refuses_a_ccel_of_the_host(context: &TestContext) -> Result<(), Failure> {
    let require = || Boot::new(context).cmdline("cvm.measure.require-cmdline=yes");
    // Log and registers agree with each other but not with the kernel's command line.
    let result = require().ccel(ccel).measuring_cmdline("roothash=00 quiet").run()?;
    result.powered_off_with(97)?;
    result.line("no event of the ccel log has the digest of /proc/cmdline")?;

    // A log of the host that contains the kernel's command line but does not match the registers.
    let wrong_log = |memory, cpus, prediction: &Prediction| {
        let mut events = prediction.0.clone();
        events.swap_remove(0);
        ccel(memory, cpus, &Prediction(events))
    };
    let result = require().ccel(wrong_log).run()?;
    result.powered_off_with(97)?;
    result.line("the ccel log does not replay to RTMR1")?;

    // Without `require` the boot continues and reports that the state is unknown.
    let result = Boot::new(context).ccel(|_, _, _| b"no log at all".to_vec()).run()?;
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/measurement/command_line/measured", &"unknown")?;
    assert_field(&result.boot_report()?, "/measurement/command_line/reason", &"the ccel log is malformed")
}

pub(super) fn stops_where_a_named_register_is_missing(context: &TestContext) -> Result<(), Failure> {
    // PID 1 fails before it brings the network up.
    let (vaults, data) = (Vaults::up(&context.artifacts, 2, 3)?, DataDisk::blank(&context.folder)?);
    let result = Boot::new(context).data(&data, &vaults).cmdline("cvm.measure=tpm").run()?;
    result.powered_off_with(90)?;
    result.no_line("phase net")?;
    Boot::new(context).production().cmdline("cvm.measure=rtmr").run()?.powered_off_with(90)?;
    let result = Boot::new(context).data(&data, &vaults).cmdline("cvm.measure.require-cmdline=yes").run()?;
    result.powered_off_with(97)?;
    result.line("firmware left no log")?;
    result.no_line("phase net")
}

pub(super) fn measures_into_a_tpm(context: &TestContext) -> Result<(), Failure> {
    let boot =
        Boot::new(context).production().through_firmware().cmdline("cvm.measure=tpm").cmdline("cvm.measure.require-cmdline=yes");
    let boot = boot.systemd().tasks("measured,firmware,pcrlock").for_at_most(THROUGH_FIRMWARE);
    let prediction = boot.prediction()?;
    let result = boot.run()?;
    result.reached_the_real_system()?;
    let report = result.boot_report()?;
    assert_field(&report, "/measurement/command_line/measured", &"yes")?;
    assert_field(&report, "/measurement/command_line/log", &"tpm")?;
    assert_field(&report, "/measurement/pcr/number", &15)?;
    pcr_holds_its_log(&result)?;
    pcrlock_agrees(&result)?;
    is_predicted(&result, &prediction)
}

/// Expects PCR 15 as the firmware left it, in both banks.
pub(super) fn pcr_is_untouched(result: &BootResult) -> Result<(), Failure> {
    let banks = result.registers("pcr15| ")?;
    if banks.len() == 2 && banks.iter().all(|(_, value)| value.iter().all(|byte| *byte == 0)) {
        return Ok(());
    }
    Err(Failure(format!("PCR 15 was extended: {banks:?}")))
}

/// Expects PCR 15 to match its log, in both banks.
fn pcr_holds_its_log(result: &BootResult) -> Result<(), Failure> {
    let records = records(result, "tpm2-measure.log", Register::Pcr(15), &EVENTS)?;
    result.line("cvm-tests: /run/log/systemd/tpm2-measure.log 600")?;
    let banks = result.registers("pcr15| ")?;
    for (_, value) in &banks {
        let hash = Hash::ALL
            .into_iter()
            .find(|hash| hash.bytes() == value.len())
            .ok_or_else(|| Failure("a PCR bank has an unknown length".to_owned()))?;
        same("PCR 15 and its log", &hex(&replayed(&records, hash)?), &hex(value))?;
        assert_field(&result.boot_report()?, &format!("/measurement/pcr/values/{}", hash.name()), &hex(value))?;
    }
    if banks.len() != 2 {
        return Err(Failure(format!("expected two banks of PCR 15, found {}", banks.len())));
    }
    Ok(())
}

/// Expects systemd-pcrlock to accept each event of PCR 15, and the register as a whole.
fn pcrlock_agrees(result: &BootResult) -> Result<(), Failure> {
    let shown = |wanted: &[&str]| pcrlock(result).iter().filter(|line| wanted.iter().all(|part| line.contains(part))).count();
    let (events, whole) = (shown(&["15 █ system-identity", "phase", "✓", " U "]), shown(&["15 █ system-identity", "6 ✓"]));
    if (events, whole) == (6, 1) {
        Ok(())
    } else {
        Err(Failure(format!(
            "expected 6 events of PCR 15 and one complete line in systemd-pcrlock, found {events} and {whole}: {:?}",
            pcrlock(result)
        )))
    }
}

fn pcrlock(result: &BootResult) -> Vec<&String> {
    result.lines.iter().filter(|line| line.contains("pcrlock| ")).collect()
}

/// Expects the firmware's event log, from the first boot option on, and the PCRs as predicted from the image.
pub(super) fn is_predicted(result: &BootResult, prediction: &Prediction) -> Result<(), Failure> {
    let bytes = result.dump("firmware-log")?;
    let log = Log::parse(&bytes).context("parsing the firmware's event log")?;
    for hash in [Hash::Sha256, Hash::Sha384] {
        if let Err(divergence) = predict::compare(&log, Kind::Tpm, hash, prediction, Firmware::Tpm) {
            let Divergence { equal, expected, found } = *divergence;
            let expected = expected.map(|event| (event.pcr, event.what.clone(), hex(&event.digest(hash))));
            let found = found.map(|event| (event.register, hex(&event.digest)));
            return Err(Failure(format!("event {equal}: expected {expected:?}, found {found:?}")));
        }
    }
    let observed = result.registers("pcr| ")?;
    for pcr in prediction.pcrs(Firmware::Tpm).into_iter().filter(|pcr| *pcr != 15) {
        let value = observed.iter().find(|(number, _)| *number == pcr).map(|(_, value)| hex(value)).unwrap_or_default();
        same(&format!("PCR {pcr}"), &hex(&prediction.pcr(pcr, Hash::Sha384, Firmware::Tpm)), &value)?;
    }
    Ok(())
}

/// An RTMR that the task program read.
fn register(result: &BootResult, wanted: u32) -> Result<Vec<u8>, Failure> {
    let found = result.registers("rtmr| ")?.into_iter().find(|(number, _)| *number == wanted);
    found.map(|(_, value)| value).ok_or_else(|| Failure(format!("the task program printed no RTMR{wanted}")))
}

/// The records of a register in a log that the task program printed; expects these events, each with the digest of its text.
fn records(result: &BootResult, name: &str, register: Register, events: &[&str]) -> Result<Vec<Record>, Failure> {
    let records = cel::parse(&result.dump(name)?).context(name)?;
    let records: Vec<Record> =
        records.into_iter().filter(|record| is_of_cvm_init(record) && record.register == register).collect();
    if records.iter().any(|record| !record.content_matches_digests()) {
        return Err(Failure(format!("{name}: a record's digest does not match its text")));
    }
    let names: Vec<String> = texts(&records)?
        .iter()
        .map(|text| text.pointer("/cvm-init").and_then(Value::as_str).unwrap_or_default().to_owned())
        .collect();
    same("events", &events.join(" "), &names.join(" "))?;
    Ok(records)
}

/// Other programs may append to systemd's log.
fn is_of_cvm_init(record: &Record) -> bool {
    record.string.as_deref().is_some_and(|text| text.contains(r#""cvm-init":"#))
}

fn texts(records: &[Record]) -> Result<Vec<Value>, Failure> {
    records
        .iter()
        .map(|record| serde_json::from_str(record.string.as_deref().unwrap_or_default()).context("parsing an event's JSON"))
        .collect()
}

fn replayed(records: &[Record], hash: Hash) -> Result<Vec<u8>, Failure> {
    let digests: Option<Vec<&[u8]>> = records.iter().map(|record| record.digest(hash)).collect();
    digests.map(|digests| hash.replay(digests)).ok_or_else(|| Failure(format!("a record without {}", hash.name())))
}

fn same(what: &str, want: &str, got: &str) -> Result<(), Failure> {
    if want == got { Ok(()) } else { Err(Failure(format!("{what}: expected {want}, found {got}"))) }
}
