//! The tables of the documentation: what pins each part, and who measures what. They are made with the predictor from small samples.

use std::fmt::Write as _;

use crate::direct::KernelSignature;
use crate::pins::{Named, State};
use crate::{Chain, Condition, Error, Event, Firmware, Maker, Part, Pins, Prediction, Route, SecureBoot, pins, sample};

/// A row of the first table.
struct Row {
    chain: Chain,
    secure_boot: SecureBoot,
    signature: KernelSignature,
}

const ON: SecureBoot = SecureBoot::On;
const OFF: SecureBoot = SecureBoot::Off;

impl Row {
    fn all() -> Vec<Self> {
        let row = |(chain, secure_boot)| Self { chain, secure_boot, signature: KernelSignature::Verified };
        let mut rows: Vec<Self> = Chain::ALL.into_iter().flat_map(|chain| [(chain, ON), (chain, OFF)]).map(row).collect();
        rows.push(Self { chain: Chain::Direct, secure_boot: ON, signature: KernelSignature::NotVerified });
        rows
    }

    fn prediction(&self) -> Result<Prediction, Error> {
        sample::prediction(self.chain, self.secure_boot, self.signature)
    }

    fn state(&self) -> String {
        let state = if self.secure_boot == ON { "on" } else { "off" };
        let refused = if self.signature == KernelSignature::NotVerified { ", kernel not in `db`" } else { "" };
        format!("{state}{refused}")
    }

    /// What pins the parts of this row's sample.
    fn pins(&self, firmware: Firmware, named: Named) -> Result<Pins, Error> {
        let own = self.prediction()?;
        let others = Self::all().into_iter().filter(|other| other.chain == self.chain);
        let others = others.map(|other| other.prediction()).collect::<Result<Vec<_>, _>>()?;
        let other = |prediction| State { name: "another state of Secure Boot", prediction };
        let others: Vec<State<'_>> = others.iter().map(other).collect();
        Ok(pins(State { name: "this state of Secure Boot", prediction: &own }, &others, firmware, named))
    }
}

/// Renders the tables in Markdown.
///
/// # Errors
/// Never, unless a sample of this crate is wrong.
pub fn markdown() -> Result<String, Error> {
    Ok(format!("{}\n{}\n{}", what_pins()?, conditions(), who_measures()?))
}

fn conditions() -> String {
    Condition::ALL.into_iter().map(|condition| format!("- `{}`: {}.\n", condition.name(), condition.text())).collect()
}

/// Chain, state of Secure Boot and firmware against kernel, initrd and command line.
fn what_pins() -> Result<String, Error> {
    let mut text = "| chain | Secure Boot | firmware | policy names | kernel | initrd | command line | conditions on MRTD |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in Row::all() {
        for (firmware, shown) in [(Firmware::Td, "no TPM"), (Firmware::TdWithTpm, "TPM")] {
            let usual = row.pins(firmware, Named::USUAL)?;
            push(&mut text, &row, shown, "MRTD, RTMR1, RTMR2", &usual);
            let with_rtmr0 = row.pins(firmware, Named { rtmr0: true, ..Named::USUAL })?;
            if with_rtmr0.all() != usual.all() {
                push(&mut text, &row, shown, "RTMR0 too", &with_rtmr0);
            }
        }
    }
    Ok(text)
}

fn push(text: &mut String, row: &Row, firmware: &str, named: &str, pins: &Pins) {
    let by = |part: Part| {
        let found = pins.parts.iter().find(|(found, _)| *found == part).and_then(|(_, pinned)| pinned.as_ref().ok());
        let registers = |list: &Vec<u32>| list.iter().map(|number| format!("RTMR{number}")).collect::<Vec<_>>().join(" + ");
        found.map_or_else(|| "**nothing**".to_owned(), registers)
    };
    let conditions: Vec<String> = pins.conditions.iter().map(|condition| format!("`{}`", condition.name())).collect();
    let conditions = match (pins.all(), conditions.is_empty()) {
        (false, _) => "no policy is printed".to_owned(),
        (true, true) => "none".to_owned(),
        (true, false) => conditions.join(", "),
    };
    let [kernel, initrd, line] = Part::PINNED.map(by);
    let (chain, state) = (row.chain.name(), row.state());
    writeln!(text, "| {chain} | {state} | {firmware} | {named} | {kernel} | {initrd} | {line} | {conditions} |")
        .unwrap_or_default();
}

/// Makers against firmware, by the events of all samples.
fn who_measures() -> Result<String, Error> {
    let mut text = "| who | what | register | no TPM | TPM beside RTMRs |\n|---|---|---|---|---|\n".to_owned();
    let mut rows: Vec<(Maker, &str, String, &str, &str)> = Vec::new();
    for row in Row::all() {
        for event in row.prediction()?.0 {
            let goes = |firmware| match (event.is_in_rtmr(firmware), event.is_in_pcr(firmware)) {
                (true, true) => "RTMR and PCR",
                (true, false) => "RTMR",
                (false, true) => "PCR alone",
                (false, false) => "nowhere",
            };
            let register = event.rtmr().map_or_else(String::new, |number| format!("RTMR{number}, PCR {}", event.pcr));
            let row = (event.maker, what(&event), register, goes(Firmware::Td), goes(Firmware::TdWithTpm));
            if event.route != Route::Separator && !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    rows.sort();
    for (maker, what, register, without, with) in rows {
        writeln!(text, "| {} | {what} | {register} | {without} | {with} |", maker.name()).unwrap_or_default();
    }
    Ok(text)
}

/// The kind of an event, by its maker and register.
fn what(event: &Event) -> &'static str {
    match (event.maker, event.route, event.pcr) {
        (Maker::Firmware, Route::CcElseTpm, 4) => "programs that it loads",
        (Maker::Firmware, Route::CcElseTpm, _) => "the disk's partition table",
        (Maker::Firmware, _, 4) => "start of a boot option",
        (Maker::Firmware, ..) => "end of boot services",
        (Maker::Shim, _, 14) => "MokList, MokListX, MokListTrusted",
        (Maker::Shim, ..) => "programs that it loads, and with Secure Boot the kernel that it verifies",
        (Maker::Grub, _, 8) => "commands, and the kernel's command line",
        (Maker::Grub, ..) => "files that it reads",
        (Maker::SystemdStub, ..) => "sections of the unified kernel image",
        (Maker::KernelStub, ..) => "command line (load options) and initrd",
    }
}
