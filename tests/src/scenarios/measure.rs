//! What happened is measured, and what was measured is found again.

use std::time::Duration;

use eventlog::ccel::Log;
use eventlog::cel::{self, Record, Register};
use eventlog::register::Hash;
use machine::measurement::ccel;
use predict::Prediction;
use serde_json::Value;

use super::Stage;
use super::root::assert_field;
use crate::vaults::hex;
use crate::{Artifacts, Boot, DataDisk, Doing, Ended, Failure, KernelLine, Vaults};

/// Firmware, kernel and systemd under emulation.
const THROUGH_FIRMWARE: Duration = Duration::from_secs(150);
/// Events as they are named, in their order.
const EVENTS: [&str; 6] = ["policy", "root", "vaults", "disk", "debug", "leave-initrd"];

pub(super) fn measures_into_rtmr3(stage: &Stage) -> Result<(), Failure> {
    let (vaults, data) = (Vaults::up(&stage.artifacts, 2, 3)?, DataDisk::blank(&stage.folder)?);
    let boot =
        |tasks| Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").word("cvm.measure=rtmr").tasks(tasks);
    for what in ["formatted", "opened"] {
        let boot = boot("measured").word("cvm.debug=timeline");
        let td = boot.measurement()?;
        let ended = boot.run()?;
        ended.reached_the_real_system()?;
        let receipt = ended.receipt()?;
        let events = records(&ended, "rtmr-measure.log", Register::Rtmr(3), &EVENTS)?;
        let rtmr3 = register(&ended, 3)?;
        same("RTMR3 and its log", &hex(&replayed(&events, Hash::Sha384)?), &hex(&rtmr3))?;
        assert_field(&receipt, "/measurement/rtmr3/after", &hex(&rtmr3))?;
        assert_field(&receipt, "/measurement/rtmr3/before", &"00".repeat(48))?;
        assert_field(&receipt, "/measurement/events", &6)?;
        // RTMR2 is what the boot measured and the cap, and nothing else.
        let cap = records(&ended, "rtmr-measure.log", Register::Rtmr(2), &EVENTS[5..])?;
        let [_, _, before, _] = td.rtmrs;
        let cap = cap.first().and_then(|record| record.digest(Hash::Sha384)).unwrap_or_default();
        let capped = hex(&Hash::Sha384.extend(&before.0, cap));
        same("RTMR2 and the cap", &capped, &hex(&register(&ended, 2)?))?;
        assert_field(&receipt, "/measurement/rtmr2/before", &hex(&before.0))?;
        assert_field(&receipt, "/measurement/rtmr2/after", &capped)?;
        // What a verifier reads is what the receipt says.
        let texts = texts(&events)?;
        for (event, event_field, receipt_field) in [
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
            let told = receipt.pointer(receipt_field).cloned().unwrap_or_default();
            same(event_field, &measured.to_string(), &told.to_string())?;
            if told.is_null() {
                return Err(Failure(format!("{receipt_field} of the receipt is not there")));
            }
        }
        assert_field(texts.get(3).unwrap_or(&Value::Null), "/open_mode", &what)?;
    }
    Ok(())
}

pub(super) fn nothing_after_the_handoff_gets_the_key(stage: &Stage) -> Result<(), Failure> {
    // The program in the image (tests/again) has no other source of collateral than the nodes.
    let (vaults, data) = (Vaults::stapling(&stage.artifacts, 2, 3)?, DataDisk::blank(&stage.folder)?);
    let boot = || {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
        boot.word("cvm.net.keep=yes").tasks("again")
    };
    let gave =
        |ended: &Ended, what: &str| ended.lines.iter().filter(|line| line.contains("again: ") && line.contains(what)).count();
    // Without the cap a program of the running system gets the key, with the same client and the same quotes.
    let open = boot().word("cvm.measure=off").run()?;
    open.reached_the_real_system()?;
    assert_field(&open.receipt()?, "/measurement/events", &0)?;
    if gave(&open, "gave a share") != 3 {
        return Err(Failure("without the cap a later program is refused too: the scenario shows nothing".to_owned()));
    }
    // The nodes match MRTD, RTMR1 and RTMR2 alone, as real ones do.
    let capped = boot().run()?;
    capped.reached_the_real_system()?;
    assert_field(&capped.receipt()?, "/measurement/rtmr2_capped", &true)?;
    match (gave(&capped, "gave a share"), gave(&capped, "denied by the key's policy")) {
        (0, 3) => Ok(()),
        (gave, denied) => {
            Err(Failure(format!("{gave} vaults gave a share after the cap, {denied} denied it: {:?}", again(&capped))))
        }
    }
}

/// Debian 13's kernel offers no RTMR: the boot ends before a share is asked for, and `off` accepts it.
pub(super) fn stops_where_the_kernel_offers_no_registers(stage: &Stage) -> Result<(), Failure> {
    let stage = &Stage { artifacts: Artifacts::find(&stage.artifacts.top, KernelLine::Stable)?, folder: stage.folder.clone() };
    let (vaults, data) = (Vaults::up(&stage.artifacts, 2, 3)?, DataDisk::blank(&stage.folder)?);
    let boot = |word: &str| Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").word(word);
    let ended = boot("cvm.measure=auto").run()?;
    ended.powered_off_with(90)?;
    ended.line("cvm.measure=auto: this kernel does not let the TD extend RTMR2 and RTMR3")?;
    ended.no_line("phase net")?;
    let ended = boot("cvm.measure=off").run()?;
    ended.reached_the_real_system()?;
    assert_field(&ended.receipt()?, "/measurement/rtmr2_capped", &false)?;
    assert_field(&ended.receipt()?, "/data/open_mode", &"formatted")
}

fn again(ended: &Ended) -> Vec<&String> {
    ended.lines.iter().filter(|line| line.contains("again: ")).collect()
}

pub(super) fn finds_its_command_line_in_a_ccel(stage: &Stage) -> Result<(), Failure> {
    let require = || Boot::new(stage).word("cvm.measure.require-cmdline=yes");
    let ended = require().ccel(ccel).run()?;
    ended.reached_the_real_system()?;
    let receipt = ended.receipt()?;
    assert_field(&receipt, "/measurement/command_line/measured", &"yes")?;
    assert_field(&receipt, "/measurement/command_line/log", &"ccel")?;
    assert_field(&receipt, "/measurement/command_line/by", &"the kernel's EFI stub")?;

    // Log and registers agree with one another, and not with the kernel's command line.
    let ended = require().ccel(ccel).measures_another_line("roothash=00 quiet").run()?;
    ended.powered_off_with(97)?;
    ended.line("the ccel log contains another command line than /proc/cmdline, or none")?;

    // A log that the host wrote to please: it has our line, and does not make the registers what they are.
    let lie = |memory, cpus, prediction: &Prediction| {
        let mut events = prediction.0.clone();
        events.swap_remove(0);
        ccel(memory, cpus, &Prediction(events))
    };
    let ended = require().ccel(lie).run()?;
    ended.powered_off_with(97)?;
    ended.line("the ccel log does not replay to RTMR1")?;

    // Nobody requires it: the boot goes on, and says what it knows.
    let ended = Boot::new(stage).ccel(|_, _, _| b"no log at all".to_vec()).run()?;
    ended.reached_the_real_system()?;
    assert_field(&ended.receipt()?, "/measurement/command_line/measured", &"unknown")?;
    assert_field(&ended.receipt()?, "/measurement/command_line/reason", &"the ccel log is malformed")
}

pub(super) fn stops_where_a_named_register_is_missing(stage: &Stage) -> Result<(), Failure> {
    // Before anybody is asked for a share: the network is not even up.
    let (vaults, data) = (Vaults::up(&stage.artifacts, 2, 3)?, DataDisk::blank(&stage.folder)?);
    let ended = Boot::new(stage).data(&data, &vaults).word("cvm.measure=tpm").run()?;
    ended.powered_off_with(90)?;
    ended.no_line("phase net")?;
    Boot::new(stage).production().word("cvm.measure=rtmr").run()?.powered_off_with(90)?;
    let ended = Boot::new(stage).data(&data, &vaults).word("cvm.measure.require-cmdline=yes").run()?;
    ended.powered_off_with(97)?;
    ended.line("firmware left no log")?;
    ended.no_line("phase net")
}

pub(super) fn measures_into_a_tpm(stage: &Stage) -> Result<(), Failure> {
    let boot = Boot::new(stage).production().through_firmware().word("cvm.measure=tpm").word("cvm.measure.require-cmdline=yes");
    let boot = boot.systemd().tasks("measured,firmware,pcrlock").for_at_most(THROUGH_FIRMWARE);
    let prediction = boot.prediction()?;
    let ended = boot.run()?;
    ended.reached_the_real_system()?;
    let receipt = ended.receipt()?;
    assert_field(&receipt, "/measurement/command_line/measured", &"yes")?;
    assert_field(&receipt, "/measurement/command_line/log", &"tpm")?;
    assert_field(&receipt, "/measurement/pcr/number", &15)?;
    pcr_holds_its_log(&ended)?;
    pcrlock_agrees(&ended)?;
    is_predicted(&ended, &prediction)
}

/// PCR 15 is as the firmware left it, in both banks.
pub(super) fn pcr_is_untouched(ended: &Ended) -> Result<(), Failure> {
    let banks = ended.registers("pcr15| ")?;
    if banks.len() == 2 && banks.iter().all(|(_, value)| value.iter().all(|byte| *byte == 0)) {
        return Ok(());
    }
    Err(Failure(format!("PCR 15 was extended: {banks:?}")))
}

/// PCR 15 is what its log says in both banks.
fn pcr_holds_its_log(ended: &Ended) -> Result<(), Failure> {
    let records = records(ended, "tpm2-measure.log", Register::Pcr(15), &EVENTS)?;
    ended.line("cvm-tests: /run/log/systemd/tpm2-measure.log 600")?;
    let banks = ended.registers("pcr15| ")?;
    for (_, value) in &banks {
        let hash = Hash::ALL.into_iter().find(|hash| hash.bytes() == value.len()).ok_or_else(|| Failure("a bank".to_owned()))?;
        same("PCR 15 and its log", &hex(&replayed(&records, hash)?), &hex(value))?;
        assert_field(&ended.receipt()?, &format!("/measurement/pcr/values/{}", hash.name()), &hex(value))?;
    }
    if banks.len() != 2 {
        return Err(Failure(format!("{} banks of PCR 15, not two", banks.len())));
    }
    Ok(())
}

/// systemd-pcrlock takes each event for what it says, and the register for what its log makes.
fn pcrlock_agrees(ended: &Ended) -> Result<(), Failure> {
    let shown = |wanted: &[&str]| pcrlock(ended).iter().filter(|line| wanted.iter().all(|part| line.contains(part))).count();
    let (events, whole) = (shown(&["15 █ system-identity", "phase", "✓", " U "]), shown(&["15 █ system-identity", "6 ✓"]));
    if (events, whole) == (6, 1) {
        Ok(())
    } else {
        Err(Failure(format!("systemd-pcrlock shows {events} events of PCR 15, {whole} times whole: {:?}", pcrlock(ended))))
    }
}

fn pcrlock(ended: &Ended) -> Vec<&String> {
    ended.lines.iter().filter(|line| line.contains("pcrlock| ")).collect()
}

/// From the first boot option on, the firmware's log is what was predicted from the image, event by event, and so are the PCRs.
pub(super) fn is_predicted(ended: &Ended, prediction: &Prediction) -> Result<(), Failure> {
    let bytes = ended.dump("firmware-log")?;
    let log = Log::parse(&bytes).doing("the firmware's log")?;
    let of_image = |pcr: u32| matches!(pcr, 2..=6 | 8..=15);
    for hash in [Hash::Sha256, Hash::Sha384] {
        let events = log.events.iter().filter(|event| event.is_extended() && of_image(event.register));
        let logged: Vec<_> = events.map(|event| (event.register, event.digest(hash).unwrap_or_default().to_vec())).collect();
        let predicted: Vec<_> = prediction.0.iter().map(|event| (event.pcr, event.digest(hash))).collect();
        for (number, (logged, predicted)) in logged.iter().zip(&predicted).enumerate() {
            let what = prediction.0.get(number).map(|event| event.what.as_str()).unwrap_or_default();
            same(
                &format!("event {number} ({what})"),
                &format!("{} {}", predicted.0, hex(&predicted.1)),
                &format!("{} {}", logged.0, hex(&logged.1)),
            )?;
        }
        same("number of events", &predicted.len().to_string(), &logged.len().to_string())?;
    }
    let observed = ended.registers("pcr| ")?;
    for pcr in prediction.pcrs().into_iter().filter(|pcr| *pcr != 15) {
        let value = observed.iter().find(|(number, _)| *number == pcr).map(|(_, value)| hex(value)).unwrap_or_default();
        same(&format!("PCR {pcr}"), &hex(&prediction.pcr(pcr, Hash::Sha384)), &value)?;
    }
    Ok(())
}

/// An RTMR as the task program read it.
fn register(ended: &Ended, wanted: u32) -> Result<Vec<u8>, Failure> {
    let found = ended.registers("rtmr| ")?.into_iter().find(|(number, _)| *number == wanted);
    found.map(|(_, value)| value).ok_or_else(|| Failure(format!("no RTMR{wanted}")))
}

/// The records of a register in a log that the task program printed: these events, each with the digest of its text.
fn records(ended: &Ended, name: &str, register: Register, events: &[&str]) -> Result<Vec<Record>, Failure> {
    let records = cel::parse(&ended.dump(name)?).doing(name)?;
    let ours: Vec<Record> = records.into_iter().filter(|record| is_ours(record) && record.register == register).collect();
    if ours.iter().any(|record| !record.content_matches_digests()) {
        return Err(Failure(format!("{name}: a record whose digest is of another text")));
    }
    let names: Vec<String> = texts(&ours)?
        .iter()
        .map(|text| text.pointer("/cvm-init").and_then(Value::as_str).unwrap_or_default().to_owned())
        .collect();
    same("events", &events.join(" "), &names.join(" "))?;
    Ok(ours)
}

/// Other programs may go on with a log of systemd's.
fn is_ours(record: &Record) -> bool {
    record.string.as_deref().is_some_and(|text| text.contains(r#""cvm-init":"#))
}

fn texts(records: &[Record]) -> Result<Vec<Value>, Failure> {
    records
        .iter()
        .map(|record| serde_json::from_str(record.string.as_deref().unwrap_or_default()).doing("an event's text"))
        .collect()
}

fn replayed(records: &[Record], hash: Hash) -> Result<Vec<u8>, Failure> {
    let digests: Option<Vec<&[u8]>> = records.iter().map(|record| record.digest(hash)).collect();
    digests.map(|digests| hash.replay(digests)).ok_or_else(|| Failure(format!("a record without {}", hash.name())))
}

fn same(what: &str, want: &str, got: &str) -> Result<(), Failure> {
    if want == got { Ok(()) } else { Err(Failure(format!("{what}: {want} is expected, {got} came"))) }
}
