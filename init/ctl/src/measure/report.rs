//! The prediction as lines for people and as JSON for programs.

use encoding::hex;
use eventlog::register::Hash;
use predict::{Event, Route};
use serde_json::{Map, Value, json};

use super::{Prediction, verdict};

/// A line for each event, in order.
pub(super) fn explanation(predicted: &Prediction) -> Vec<String> {
    let firmware = predicted.firmware;
    let line = |event: &Event| {
        let digest = hex::encode(&event.digest(Hash::Sha384));
        let rtmr =
            event.rtmr().filter(|_| event.is_in_rtmr(firmware)).map_or_else(|| "-".to_owned(), |number| format!("RTMR{number}"));
        let pcr = if event.is_in_pcr(firmware) { format!("PCR{}", event.pcr) } else { "-".to_owned() };
        format!("{pcr:<5} {rtmr:<5} {digest} {} ({} bytes, by {})", event.what, event.hashed.len(), event.maker.name())
    };
    measured(predicted).map(line).collect()
}

/// The events that go into a register of this firmware.
fn measured(predicted: &Prediction) -> impl Iterator<Item = &Event> {
    let firmware = predicted.firmware;
    predicted.subject.events.0.iter().filter(move |event| event.is_in_rtmr(firmware) || event.is_in_pcr(firmware))
}

/// The registers, a line each.
pub(super) fn registers(predicted: &Prediction) -> Vec<String> {
    let (firmware, how) = (predicted.firmware, predicted.subject.chain.name());
    let mut lines = vec![format!(
        "{how}: predicted for --fold {}, {}; in another state a machine has other registers",
        firmware.name(),
        predicted.subject.state
    )];
    for (number, value) in predicted.rtmrs() {
        let purpose = match (number, value.iter().all(|byte| *byte == 0)) {
            (_, true) => " (nothing extends it: it pins nothing)",
            (2, _) => " (before the cap: while PID 1 asks for the key)",
            _ => "",
        };
        lines.push(format!("{how}: RTMR{number} {}{purpose}", hex::encode(&value)));
    }
    if let Some(capped) = predicted.capped() {
        lines.push(format!("{how}: RTMR2 {capped} (after the cap: in quotes of the running system)"));
    }
    if !firmware.has_cc() {
        let events = &predicted.subject.events;
        let value = |pcr: u32| hex::encode(&events.pcr(pcr, Hash::Sha256, firmware));
        lines.extend(events.pcrs(firmware).into_iter().map(|pcr| format!("{how}: PCR {pcr} {} (SHA-256)", value(pcr))));
    }
    for (order, mrtd) in &predicted.orders {
        let other = if predicted.mrtd == Some(*mrtd) { "" } else { ", not the one of --page-order" };
        lines.push(format!("MRTD {} (page order {}{other})", hex::encode(mrtd), order.name()));
    }
    lines.extend(predicted.mrtd.filter(|_| predicted.orders.is_empty()).map(|mrtd| format!("MRTD {}", hex::encode(&mrtd))));
    lines
}

/// One object with everything.
pub(super) fn object(predicted: &Prediction, policy: &Value) -> Value {
    let Prediction { subject, firmware, pins, .. } = predicted;
    let text = |bytes: &[u8; 48]| Value::from(hex::encode(bytes));
    let bank = |hash: Hash| -> Map<String, Value> {
        let value = |pcr: u32| hex::encode(&subject.events.pcr(pcr, hash, *firmware)).into();
        subject.events.pcrs(*firmware).into_iter().map(|pcr| (pcr.to_string(), value(pcr))).collect()
    };
    let rtmr = |number: u32| predicted.rtmrs().iter().find(|(found, _)| *found == number).map(|(_, value)| text(value));
    let by = |registers: &Vec<u32>| registers.iter().map(|number| format!("RTMR{number}")).collect::<Vec<_>>();
    let pinned =
        pins.parts.iter().map(|(part, pinned)| (part.name().to_owned(), json!(pinned.as_ref().map(by).unwrap_or_default())));
    let conditions = pins.conditions.iter().map(|condition| json!({ "name": condition.name(), "text": condition.text() }));
    let of_rtmr0 = verdict::rtmr0_condition(predicted).map(|text| json!({ "name": verdict::RTMR0_CONDITION, "text": text }));
    let conditions = conditions.chain(of_rtmr0);
    let unpinned = verdict::unpinned(pins).into_iter().map(|(part, why)| json!({ "part": part, "why": why }));
    let orders = predicted.orders.iter().map(|(order, mrtd)| (order.name().to_owned(), text(mrtd)));
    json!({
        "boots": subject.chain.name(),
        "firmware": firmware.name(),
        "state": subject.state,
        "mrtd": predicted.mrtd.as_ref().map(text),
        "mrtd_by_page_order": orders.collect::<Map<_, _>>(),
        "rtmr0": predicted.rtmr0.as_ref().map(text),
        "rtmr1": rtmr(1),
        "rtmr2": rtmr(2),
        "rtmr2_after_cap": predicted.capped(),
        "pcrs": { "sha256": bank(Hash::Sha256), "sha384": bank(Hash::Sha384) },
        "events": measured(predicted).map(|event| event_object(event, predicted)).collect::<Vec<_>>(),
        "pins": pinned.collect::<Map<_, _>>(),
        "conditions": conditions.collect::<Vec<_>>(),
        "unpinned": unpinned.collect::<Vec<_>>(),
        // Without them, no condition would look like no risk.
        "notes": if policy.is_null() { Vec::new() } else { verdict::notes(predicted) },
        "policy": policy,
    })
}

fn event_object(event: &Event, predicted: &Prediction) -> Value {
    let firmware = predicted.firmware;
    json!({
        "pcr": event.is_in_pcr(firmware).then_some(event.pcr),
        "rtmr": event.rtmr().filter(|_| event.is_in_rtmr(firmware)),
        "by": event.maker.name(),
        "what": event.what,
        "bytes": event.hashed.len(),
        "separator": event.route == Route::Separator,
        "sha256": hex::encode(&event.digest(Hash::Sha256)),
        "sha384": hex::encode(&event.digest(Hash::Sha384)),
    })
}
