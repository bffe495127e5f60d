//! What pins each part of an image in a policy, for a statement and for people.

use predict::{Firmware, Named, Part, Pins, State};
use serde_json::{Map, Value, json};

use super::image::Image;
use super::statement::name;

/// The registers that a policy can name, and the name of each set in a statement. Vaults that do not compare RTMR0 have the first.
const NAMED: [(&str, Named); 2] =
    [("mrtd+rtmr1+rtmr2", Named::USUAL), ("mrtd+rtmr0+rtmr1+rtmr2", Named { rtmr0: true, ..Named::USUAL })];

/// For each set of registers: which of them pin which part, empty where a host can replace the part; and what the firmware that MRTD names
/// must not be able to do.
pub(super) fn object(image: &Image, state: &str, firmware: Firmware) -> Value {
    let of = |(set, named): (&str, Named)| (set.to_owned(), one(&pins(image, state, firmware, named)));
    NAMED.into_iter().map(of).collect::<Map<_, _>>().into()
}

fn one(pins: &Pins) -> Value {
    let by = |part: Part| pins.parts.iter().find(|(of, _)| *of == part).map(|(_, pinned)| registers(pinned));
    json!({
        "kernel": by(Part::Kernel),
        "initrd": by(Part::Initrd),
        "commandLine": by(Part::CommandLine),
        "conditions": pins.conditions.iter().map(|condition| condition.name()).collect::<Value>(),
    })
}

fn registers<E>(pinned: &Result<Vec<u32>, E>) -> Vec<String> {
    pinned.iter().flatten().map(|number| format!("RTMR{number}")).collect()
}

fn pins(image: &Image, state: &str, firmware: Firmware, named: Named) -> Pins {
    let states = image.states.iter().map(|(name, prediction)| State { name, prediction });
    let (own, others): (Vec<_>, Vec<_>) = states.partition(|one| one.name == state);
    own.first()
        .map_or_else(|| Pins { parts: Vec::new(), conditions: Vec::new() }, |own| predict::pins(*own, &others, firmware, named))
}

/// Whether a policy can pin the boot, one line for the machines with RTMRs for which the same holds.
pub(super) fn summary(image: &Image) -> Vec<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (state, _) in &image.states {
        for firmware in Firmware::ALL.into_iter().filter(|firmware| firmware.has_cc()) {
            let (verdict, machine) = (verdict(image, state, firmware), format!("{} {}", name(state), firmware.name()));
            match groups.iter_mut().find(|(same, _)| *same == verdict) {
                Some((_, machines)) => machines.push(machine),
                None => groups.push((verdict, vec![machine])),
            }
        }
    }
    groups.into_iter().map(|(verdict, machines)| format!("{}: {verdict}", machines.join(", "))).collect()
}

fn verdict(image: &Image, state: &str, firmware: Firmware) -> String {
    let pins = pins(image, state, firmware, Named::USUAL);
    let unpinned: Vec<&str> = pins.parts.iter().filter(|(_, pinned)| pinned.is_err()).map(|(part, _)| part.name()).collect();
    if !unpinned.is_empty() {
        return format!("not for a policy without RTMR0: a host can replace {}", unpinned.join(", "));
    }
    let by = |(part, pinned): &(Part, Result<Vec<u32>, _>)| format!("{} by {}", part.name(), registers(pinned).join("+"));
    let conditions: Vec<&str> = pins.conditions.iter().map(|condition| condition.name()).collect();
    let conditions = if conditions.is_empty() { String::new() } else { format!("; MRTD: {}", conditions.join(", ")) };
    format!("pinned: {}{conditions}", pins.parts.iter().map(by).collect::<Vec<_>>().join(", "))
}
