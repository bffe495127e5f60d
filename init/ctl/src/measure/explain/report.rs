//! The result of a comparison, as lines for people and as JSON for programs.

use encoding::hex;
use eventlog::ccel::describe::{self, Hashed};
use eventlog::ccel::{Event, Kind, Log};
use eventlog::register::Hash;
use predict::Chain;
use serde_json::{Value, json};

use super::compare::{Change, Comparison, Divergence};
use super::shape::Shape;
use crate::log::{Register, Replays};

const VARIABLE: u32 = 0x8000_0001;

/// The result.
pub(super) struct Report {
    chain: Chain,
    kind: Kind,
    /// Number of events in the log.
    events: usize,
    expected: Shape,
    rows: Vec<Row>,
    pub(super) difference: Option<Difference>,
    /// The other shapes that explain the log.
    pub(super) fits: Vec<Shape>,
    /// The shape with the most equal events.
    pub(super) nearest: Option<Shape>,
    pub(super) causes: Vec<String>,
    /// Secure Boot as the log has it.
    secure_boot: Option<bool>,
    replays: Option<Replays>,
}

/// A register.
struct Row {
    register: Register,
    /// `None`: the prediction says nothing about it.
    compared: Option<Compared>,
}

struct Compared {
    equal: usize,
    /// The index in the log of the first event that differs, or the number of events if one is missing.
    differs: Option<usize>,
}

/// The first event that differs, in words.
pub(super) struct Difference {
    register: Register,
    index: usize,
    change: Change,
    /// Its type, description, digest, and whether the digest proves the description; `None`: the log has no event more.
    found: Option<(String, String, String, bool)>,
    /// Description, program and digest.
    expected: Option<(String, &'static str, String)>,
}

impl Report {
    pub(super) fn new(log: &Log<'_>, kind: Kind, chain: Chain, expected: Shape, replays: Option<Replays>) -> Self {
        let is_state = |event: &&Event<'_>| event.kind == VARIABLE && describe::text(event) == "SecureBoot";
        Self {
            chain,
            kind,
            events: log.events.len(),
            expected,
            rows: Vec::new(),
            difference: None,
            fits: Vec::new(),
            nearest: None,
            causes: Vec::new(),
            secure_boot: log.events.iter().find(is_state).map(|event| event.data.last() == Some(&1)),
            replays,
        }
    }

    pub(super) fn add_registers(&mut self, comparison: &Comparison<'_>) {
        let differs = |register: u32| comparison.divergences.iter().find(|one| one.register == register).map(|one| one.index);
        let compared = comparison.equal.iter().map(|(register, equal)| Row {
            register: Register::of_log(self.kind, *register),
            compared: Some(Compared { equal: *equal, differs: differs(*register) }),
        });
        let mut rows: Vec<Row> = compared.collect();
        if self.kind == Kind::Cc {
            rows.insert(0, Row { register: Register::Rtmr(0), compared: None });
            rows.push(Row { register: Register::Rtmr(3), compared: None });
        }
        self.rows = rows;
    }

    pub(super) fn is_equal(&self) -> bool {
        // All registers of the quote, also those that neither log nor prediction extends, and those of a quote beside the log of a TPM.
        let replays = self.replays.as_ref().is_none_or(|replays| replays.registers.iter().all(|(_, replays)| *replays));
        replays && self.rows.iter().filter_map(|row| row.compared.as_ref()).all(|compared| compared.differs.is_none())
    }

    /// Whether the logs replay to the register of the quote; `None`: there is no quote, or nothing to compare.
    fn replays(&self, row: &Row) -> Option<bool> {
        let Register::Rtmr(number) = row.register else { return None };
        self.replays.as_ref()?.registers.iter().find(|(found, _)| *found == number).map(|(_, replays)| *replays)
    }

    /// The RTMRs of the quote to which the logs do not replay, and that no row shows.
    fn without_row(&self) -> impl Iterator<Item = u32> {
        let failed = self.replays.iter().flat_map(|replays| &replays.registers).filter(|(_, replays)| !replays);
        failed.map(|(number, _)| *number).filter(|number| self.rows.iter().all(|row| row.register != Register::Rtmr(*number)))
    }

    pub(super) fn to_lines(&self) -> Vec<String> {
        let machine = if self.kind == Kind::Cc { "TD" } else { "TPM" };
        let mut lines = vec![format!(
            "{}, predicted for {}; log of a {machine}, {} events",
            self.chain.name(),
            self.expected.name(),
            self.events
        )];
        lines.extend(self.secure_boot.map(|on| format!("Secure Boot in the log: {}", if on { "on" } else { "off" })));
        lines.extend(self.rows.iter().map(|row| self.to_line(row)));
        match &self.replays {
            None => lines.push("-     without --quote nothing proves the log".to_owned()),
            Some(replays) if replays.unsigned => {
                lines.push(
                    "-     the RTMRs are of a TDREPORT, which is UNSIGNED: nothing proves that a machine had them".to_owned(),
                );
            }
            Some(_) => {}
        }
        lines.extend(
            self.without_row()
                .map(|number| format!("WRONG {} is not explained; the logs do NOT replay to the quote", Register::Rtmr(number))),
        );
        if let Some(difference) = &self.difference {
            lines.extend(difference.to_lines());
            let about = self.nearest.filter(|nearest| *nearest != self.expected && self.fits.is_empty());
            lines.extend(about.map(|nearest| format!("nearest: {}", nearest.name())));
            lines.extend(self.causes.iter().map(|cause| format!("usual cause: {cause}")));
            lines.extend(self.fits.iter().map(|shape| format!("equal if predicted for: {}", shape.name())));
        }
        lines.push(
            if self.is_equal() { "everything that is predicted is equal" } else { "the machine is NOT as predicted" }.to_owned(),
        );
        lines
    }

    fn to_line(&self, row: &Row) -> String {
        let (replay, is_bad) = match self.replays(row) {
            Some(true) => ("; the logs replay to the quote", false),
            Some(false) => ("; the logs do NOT replay to the quote", true),
            None => ("", false),
        };
        let (label, result) = match &row.compared {
            None => ("-    ", "not predicted from the image".to_owned()),
            Some(Compared { equal, differs: None }) => ("ok   ", format!("equal: {}", events(*equal))),
            Some(Compared { equal, differs: Some(index) }) => {
                ("WRONG", format!("diverges at event {} of the log; equal before it: {}", index + 1, events(*equal)))
            }
        };
        format!("{} {} {result}{replay}", if is_bad { "WRONG" } else { label }, row.register)
    }

    pub(super) fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let result = match &row.compared {
                None => "not-predicted",
                Some(Compared { differs: None, .. }) => "equal",
                Some(_) => "diverges",
            };
            json!({
                "register": row.register.to_string(),
                "result": result,
                "equal_events": row.compared.as_ref().map(|compared| compared.equal),
                "event": row.compared.as_ref().and_then(|compared| compared.differs).map(|index| index + 1),
                "replays": self.replays(row),
            })
        };
        json!({
            "boots": self.chain.name(),
            "log": if self.kind == Kind::Cc { "cc" } else { "tpm" },
            "events": self.events,
            "equal": self.is_equal(),
            "expected": self.expected.to_json(),
            "registers": self.rows.iter().map(row).collect::<Vec<_>>(),
            "difference": self.difference.as_ref().map(Difference::to_json),
            "nearest": self.nearest.map(Shape::to_json),
            "equal_if": self.fits.iter().map(|shape| shape.to_json()).collect::<Vec<_>>(),
            "causes": self.causes,
            "secure_boot_in_log": self.secure_boot,
            "quote": self.replays.as_ref().map(|replays| json!({ "signed": !replays.unsigned, "not_explained": self.without_row().collect::<Vec<_>>() })),
        })
    }
}

fn events(count: usize) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

impl Difference {
    pub(super) fn of(first: &Divergence<'_>, kind: Kind, hash: Hash) -> Self {
        let found = first.found.map(|event| {
            let digest = event.digest(hash).map(hex::encode).unwrap_or_default();
            (describe::kind(event.kind), describe::text(event), digest, describe::hashed(event) == Hashed::Whole)
        });
        let expected =
            first.expected.map(|wanted| (wanted.event.what.clone(), wanted.event.maker.name(), hex::encode(&wanted.digest)));
        Self { register: Register::of_log(kind, first.register), index: first.index, change: first.change, found, expected }
    }

    fn to_lines(&self) -> Vec<String> {
        let (number, register) = (self.index + 1, self.register);
        let how = match self.change {
            Change::Other => format!("event {number} ({register}) has another digest"),
            Change::Additional => format!("event {number} ({register}) is not predicted"),
            Change::Missing => format!("an event of {register} is missing before event {number}"),
        };
        let mut lines = vec![match &self.found {
            Some((kind, text, digest, proved)) => {
                let mark = if *proved { '=' } else { '?' };
                format!("first difference: {how}: {kind} {mark} {text} ({digest})")
            }
            None => format!("first difference: the log has no further event of {}", self.register),
        }];
        lines.extend(self.expected.as_ref().map(|(what, maker, digest)| format!("expected: {what}, by {maker} ({digest})")));
        lines
    }

    fn to_json(&self) -> Value {
        json!({
            "register": self.register.to_string(),
            "event": self.found.as_ref().map(|_| self.index + 1),
            "change": match self.change { Change::Other => "other", Change::Additional => "additional", Change::Missing => "missing" },
            "found": self.found.as_ref().map(|(kind, text, digest, proved)| {
                json!({ "type": kind, "text": text, "digest": digest, "honest": proved.then_some(true) })
            }),
            "expected": self.expected.as_ref().map(|(what, maker, digest)| json!({ "what": what, "by": maker, "digest": digest })),
        })
    }
}
