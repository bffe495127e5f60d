//! An account of a log's events in RTMR0: what each pins, and what proves that.
//!
//! The writer of a log chooses its texts; a replay to the register proves the digests alone. So a description counts only where the digest
//! is that of the described bytes, or of bytes that were predicted.

use eventlog::ccel::{Event as Logged, Log};
use eventlog::register::Hash;

use super::block::{Block, covers};
use super::variable::{GLOBAL, IMAGE_SECURITY, SHIM_LOCK, Variable, encode};
use super::{Event, Kind, load_option, signatures};

/// The number of RTMR0 in a log: 0 is MRTD.
const RTMR0: u32 = 1;
pub(super) const EV_SEPARATOR: u32 = 4;
pub(super) const EV_PLATFORM_CONFIG_FLAGS: u32 = 0xa;
const EV_POST_CODE: u32 = 1;
pub(super) const EV_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
pub(super) const EV_VARIABLE_BOOT: u32 = 0x8000_0002;
pub(super) const EV_FIRMWARE_BLOB2: u32 = 0x8000_000a;
pub(super) const EV_HANDOFF_TABLES2: u32 = 0x8000_000b;
const EV_VARIABLE_BOOT2: u32 = 0x8000_000c;
pub(super) const EV_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;

/// What proves the description of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The digest is that of the described bytes, which the log contains.
    Described,
    /// The digest is the one that was predicted from an input.
    Predicted,
    /// Nothing: the register pins a digest, and the log's writer says of what.
    Claimed,
    /// The event is of a kind that is not interpreted here.
    NotInterpreted,
}

/// The state of Secure Boot that RTMR0 proves, if the firmware is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureBootState {
    /// The variable is 1.
    On,
    /// The variable is 0.
    Off,
    /// The variable does not exist: firmware without Secure Boot.
    Absent,
    /// No event proves it, or more than one.
    Unknown,
}

/// One event and what it pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The event type (`EV_*`).
    pub kind: u32,
    /// The digest, 48 bytes.
    pub digest: Vec<u8>,
    /// What it pins, for operators.
    pub what: String,
    /// What proves that.
    pub proof: Proof,
}

/// The account of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The value of RTMR0 that the log replays to; `None` when an event has no SHA-384 digest.
    pub rtmr0: Option<Vec<u8>>,
    /// The events of RTMR0 in their order.
    pub events: Vec<Explained>,
    /// The state of Secure Boot.
    pub secure_boot: SecureBootState,
    /// What the operator must know before using the value.
    pub warnings: Vec<String>,
    /// The descriptions of predicted events that the log does not contain.
    pub missing: Vec<String>,
}

impl Account {
    /// Explains the events of RTMR0. `predicted` may have the events for some inputs only.
    #[must_use]
    pub fn new(log: &Log<'_>, predicted: &[Event]) -> Self {
        let logged: Vec<&Logged<'_>> = log.events.iter().filter(|event| event.register == RTMR0 && event.is_extended()).collect();
        // Each digest once: a log may have 16384 events, and an input 16 MiB.
        let mut left: Vec<Left<'_>> =
            predicted.iter().enumerate().map(|(place, event)| Left { place, event, digest: event.digest() }).collect();
        let block = Block::find(&logged);
        let explain = |(index, event): (usize, &&Logged<'_>)| explain(describe(event, index, block), event, &mut left);
        let (events, places): (Vec<Explained>, Vec<Option<usize>>) = logged.iter().enumerate().map(explain).unzip();
        let mut warnings = Vec::new();
        if !places.iter().flatten().is_sorted() {
            warnings.push("Predicted events are in another order than firmware extends them".to_owned());
        }
        let secure_boot = block.map_or(SecureBootState::Unknown, |block| block.state);
        warn(&events, &logged, block, &mut warnings);
        let missing = left.iter().map(|left| left.event.what.clone()).collect();
        Self { rtmr0: log.replay(Hash::Sha384, RTMR0), events, secure_boot, warnings, missing }
    }
}

/// A predicted event that was not found yet.
struct Left<'a> {
    place: usize,
    event: &'a Event,
    digest: Vec<u8>,
}

/// Explains one event; a predicted event with its digest is taken out of `left`, and its place is returned.
fn explain((what, proof): (String, Proof), event: &Logged<'_>, left: &mut Vec<Left<'_>>) -> (Explained, Option<usize>) {
    let digest = event.digest(Hash::Sha384).unwrap_or_default().to_vec();
    let is_it = |left: &Left<'_>| is_kind(event.kind, left.event.kind) && left.digest == digest;
    let found = left.iter().position(is_it).map(|at| left.remove(at));
    let (what, proof) = match &found {
        // The description of proved bytes says more than the name of the input.
        Some(Left { event, .. }) if proof != Proof::Described => (event.what.clone(), Proof::Predicted),
        Some(_) => (what, Proof::Predicted),
        None => (what, proof),
    };
    (Explained { kind: event.kind, digest, what, proof }, found.map(|left| left.place))
}

const fn is_kind(logged: u32, predicted: Kind) -> bool {
    match predicted {
        Kind::TdHob => logged == EV_HANDOFF_TABLES2,
        Kind::Cfv => logged == EV_FIRMWARE_BLOB2,
        Kind::Variable => logged == EV_VARIABLE_DRIVER_CONFIG,
        Kind::Separator => logged == EV_SEPARATOR,
        Kind::Acpi => matches!(logged, EV_PLATFORM_CONFIG_FLAGS | EV_POST_CODE),
        Kind::Boot => matches!(logged, EV_VARIABLE_BOOT | EV_VARIABLE_BOOT2),
        Kind::Authority => logged == EV_VARIABLE_AUTHORITY,
    }
}

fn describe(event: &Logged<'_>, index: usize, block: Option<Block>) -> (String, Proof) {
    let claimed = |what: &str| (what.to_owned(), Proof::Claimed);
    let in_block = block.is_some_and(|block| block.contains(index));
    match event.kind {
        // By its digest, whatever the log calls it.
        _ if block.is_some_and(|block| block.is_secure_boot(index)) => {
            (secure_boot(block.map_or(SecureBootState::Unknown, |block| block.state)).to_owned(), Proof::Described)
        }
        _ if in_block => whole_variable(event, EV_VARIABLE_DRIVER_CONFIG),
        EV_HANDOFF_TABLES2 => claimed("TD HOB: the memory map from the hypervisor; digest only"),
        EV_FIRMWARE_BLOB2 => claimed("CFV: the variable store in the firmware file; digest only"),
        EV_SEPARATOR if covers(event, &[0; 4]) => ("separator".to_owned(), Proof::Described),
        EV_VARIABLE_DRIVER_CONFIG => {
            claimed("a variable, but not in the place of the variables of Secure Boot: its bytes may be another file of the host")
        }
        EV_VARIABLE_AUTHORITY => whole_variable(event, event.kind),
        EV_VARIABLE_BOOT | EV_VARIABLE_BOOT2 => boot_variable(event),
        EV_PLATFORM_CONFIG_FLAGS | EV_POST_CODE if event.data.starts_with(b"ACPI DATA") => {
            claimed("ACPI tables: number of CPUs, devices, memory nodes; digest only")
        }
        // "QEMU FW CFG" and a file's name: edk2 since 2025-05; the name alone: a TDVF of Alibaba.
        EV_PLATFORM_CONFIG_FLAGS if event.data.starts_with(b"etc/") || event.data.starts_with(b"QEMU FW CFG\0") => {
            claimed("a file of fw_cfg: ACPI tables or other settings of the hypervisor; digest only")
        }
        _ => ("not interpreted".to_owned(), Proof::NotInterpreted),
    }
}

/// A variable whose name and value are hashed.
fn whole_variable(event: &Logged<'_>, kind: u32) -> (String, Proof) {
    match Variable::decode(event.data) {
        Some(variable) if covers(event, event.data) => (describe_as(&variable, kind), Proof::Described),
        _ => ("a variable, whose name and value are not proved; digest only".to_owned(), Proof::Claimed),
    }
}

const fn secure_boot(state: SecureBootState) -> &'static str {
    match state {
        SecureBootState::On => "variable SecureBoot: on",
        SecureBootState::Off => "variable SecureBoot: OFF",
        SecureBootState::Absent => "variable SecureBoot: does not exist (firmware without Secure Boot)",
        SecureBootState::Unknown => "variable SecureBoot: not proved",
    }
}

/// Describes `UEFI_VARIABLE_DATA` of a variable of Secure Boot.
pub(super) fn describe_variable(data: &[u8]) -> Option<String> {
    let variable = Variable::decode(data)?;
    let is_state = variable.guid == GLOBAL && variable.name() == "SecureBoot";
    Some(if is_state { secure_boot(state_of(data)).to_owned() } else { describe_as(&variable, EV_VARIABLE_DRIVER_CONFIG) })
}

fn describe_as(variable: &Variable<'_>, kind: u32) -> String {
    format!("variable {}: {}", variable.name(), value(variable, kind))
}

fn value(variable: &Variable<'_>, kind: u32) -> String {
    let bytes = variable.value;
    let known = match (variable.guid, variable.name().as_str()) {
        (IMAGE_SECURITY | GLOBAL, _) if kind == EV_VARIABLE_AUTHORITY => {
            signatures::describe_entry(bytes).map(|entry| format!("{entry} admitted a program"))
        }
        (GLOBAL, "PK" | "KEK") | (IMAGE_SECURITY, "db" | "dbx") => signatures::describe(bytes),
        (SHIM_LOCK, "SbatLevel") => text(bytes),
        (SHIM_LOCK, "MokListRT" | "MokList") => signatures::describe_entry(bytes),
        _ => None,
    };
    known.unwrap_or_else(|| format!("{} bytes", bytes.len()))
}

/// A boot variable: firmware hashes the value alone, so the name is not proved.
fn boot_variable(event: &Logged<'_>) -> (String, Proof) {
    let unproved = || ("a boot variable, whose name and value are not proved; digest only".to_owned(), Proof::Claimed);
    let Some(variable) = Variable::decode(event.data) else { return unproved() };
    let named = covers(event, event.data);
    if !named && !covers(event, variable.value) {
        return unproved();
    }
    let note = if named { "" } else { " (only the value is hashed)" };
    (format!("{}{note}", describe_boot(&variable.name(), variable.value)), Proof::Described)
}

/// Describes `BootOrder` or a boot option.
pub(super) fn describe_boot(name: &str, value: &[u8]) -> String {
    let described = if name == "BootOrder" { load_option::describe_order(value) } else { load_option::describe(value) };
    format!("{name}: {}", described.unwrap_or_else(|| format!("{} bytes", value.len())))
}

/// SBAT levels: printable ASCII on one line.
fn text(bytes: &[u8]) -> Option<String> {
    let text: String = bytes.iter().take(200).map(|byte| if *byte == b'\n' { ' ' } else { char::from(*byte) }).collect();
    text.chars().all(|c| matches!(c, ' '..='~')).then(|| text.trim().to_owned())
}

/// The state that the variable SecureBoot means; a value other than 1 is off.
pub(super) fn state_of(data: &[u8]) -> SecureBootState {
    match Variable::decode(data).map(|variable| variable.value) {
        Some([1]) => SecureBootState::On,
        Some([]) => SecureBootState::Absent,
        _ => SecureBootState::Off,
    }
}

fn warn(events: &[Explained], logged: &[&Logged<'_>], block: Option<Block>, warnings: &mut Vec<String>) {
    let count = |proof: Proof| events.iter().filter(|event| event.proof == proof).count();
    if events.is_empty() {
        warnings.push("The log has no event in RTMR0".to_owned());
    }
    if block.is_none() {
        warnings.push(
            "The state of Secure Boot is NOT PROVED: expected one event with the digest of a value of SecureBoot, before the separator"
                .to_owned(),
        );
    } else if !block.is_some_and(|block| block.is_whole()) {
        warnings.push("PK, KEK, db and dbx are NOT PROVED: they are not between SecureBoot and the separator".to_owned());
    }
    if count(Proof::Claimed) > 0 {
        warnings.push(format!(
            "{} events are pinned by a digest whose content is not shown: give the inputs, or trust the boot that made the log",
            count(Proof::Claimed)
        ));
    }
    if count(Proof::NotInterpreted) > 0 {
        warnings
            .push(format!("{} events are not interpreted: nothing is said about what they pin", count(Proof::NotInterpreted)));
    }
    let is_empty_key = |(index, event): (usize, &&Logged<'_>)| {
        block.is_some_and(|block| block.contains(index)) && covers(event, &encode(GLOBAL, "PK", &[]))
    };
    if logged.iter().enumerate().any(is_empty_key) {
        warnings
            .push("No platform key (PK): firmware is in setup mode, where a program can change PK, KEK, db and dbx".to_owned());
    }
}
