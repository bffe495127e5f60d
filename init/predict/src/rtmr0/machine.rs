//! The prediction: the events of RTMR0 in their order, from the machine's inputs.

use eventlog::register::Hash;

use super::variable::{GLOBAL, IMAGE_SECURITY, encode};
use super::{Error, Memory, SecureBootState, Varstore, account, acpi, load_option, signatures, td_hob};
use crate::mrtd::sections;

/// The type of the section with variables in the TDVF descriptor.
const CFV: u32 = 1;
/// The most boot options.
const OPTIONS_MAX: usize = 256;
/// `EFI_SECURE_BOOT_ENABLE_DISABLE_GUID`, `f0a30bc7-af08-4556-99c4-001009c93a44`.
const ENABLE_DISABLE: [u8; 16] = [0xc7, 0x0b, 0xa3, 0xf0, 0x08, 0xaf, 0x56, 0x45, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44];

/// What an event measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The memory map of the hypervisor, `EV_EFI_HANDOFF_TABLES2`.
    TdHob,
    /// The variable store in the firmware file, `EV_EFI_PLATFORM_FIRMWARE_BLOB2`.
    Cfv,
    /// A variable of Secure Boot, `EV_EFI_VARIABLE_DRIVER_CONFIG`: name and value are hashed.
    Variable,
    /// `EV_SEPARATOR`.
    Separator,
    /// A file with ACPI tables, `EV_PLATFORM_CONFIG_FLAGS`.
    Acpi,
    /// `BootOrder` or a boot option, `EV_EFI_VARIABLE_BOOT`: only the value is hashed.
    Boot,
    /// The entry of db that admits a program, `EV_EFI_VARIABLE_AUTHORITY`: all of `UEFI_VARIABLE_DATA` is hashed.
    Authority,
}

impl Kind {
    /// Returns the event type (`EV_*`) that firmware logs.
    #[must_use]
    pub const fn event_type(self) -> u32 {
        match self {
            Self::TdHob => account::EV_HANDOFF_TABLES2,
            Self::Cfv => account::EV_FIRMWARE_BLOB2,
            Self::Variable => account::EV_VARIABLE_DRIVER_CONFIG,
            Self::Separator => account::EV_SEPARATOR,
            Self::Acpi => account::EV_PLATFORM_CONFIG_FLAGS,
            Self::Boot => account::EV_VARIABLE_BOOT,
            Self::Authority => account::EV_VARIABLE_AUTHORITY,
        }
    }
}

/// A predicted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it measures.
    pub kind: Kind,
    /// A description for operators.
    pub what: String,
    /// The hashed bytes.
    pub hashed: Vec<u8>,
}

impl Event {
    fn new(kind: Kind, what: impl Into<String>, hashed: impl Into<Vec<u8>>) -> Self {
        Self { kind, what: what.into(), hashed: hashed.into() }
    }

    /// Returns the extended digest.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        Hash::Sha384.digest(&self.hashed)
    }
}

/// What firmware measures as the variable SecureBoot, which is not stored: firmware computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecureBootVariable {
    /// As firmware with Secure Boot computes it from its store: 1 if there is a PK and Secure Boot is not disabled, else 0.
    #[default]
    Computed,
    /// Firmware built without Secure Boot: the variable does not exist, and its value is empty.
    Absent,
}

/// `BootOrder` or a boot option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootVariable {
    /// The name, for example `Boot0001`.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
}

/// The boot variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// Those of firmware that finds nothing to boot from, as with direct boot: `Boot0000` is firmware's setup menu.
    Direct,
    /// `BootOrder` and the boot options.
    Variables(Vec<BootVariable>),
}

/// The inputs of a prediction. An input that is `None` leaves its events out, and then there is no value of the register.
#[derive(Debug, Clone, Default)]
pub struct Machine<'a> {
    /// The firmware, code and variables in one file.
    pub firmware: Option<&'a [u8]>,
    /// The memory.
    pub memory: Option<Memory>,
    /// What firmware measures as SecureBoot.
    pub secure_boot: SecureBootVariable,
    /// The files of fw_cfg with ACPI tables.
    pub acpi: Option<acpi::Files<'a>>,
    /// The boot variables.
    pub boot: Option<Boot>,
    /// The certificate in db, in DER, that admits the first program. With Secure Boot on, firmware extends its entry.
    pub admitted_by: Option<&'a [u8]>,
    /// Whether firmware extends a second separator into RTMR0 before it starts the first boot option, instead of one into RTMR1: TDVFs
    /// before edk2-stable202411.
    pub second_separator: bool,
}

impl Machine<'_> {
    /// Predicts the events for which there are inputs, in the order of the log, and says whether they are all.
    ///
    /// # Errors
    /// When an input is malformed.
    pub fn events(&self) -> Result<(Vec<Event>, bool), Error> {
        let mut events = Vec::new();
        if let Some((firmware, memory)) = self.firmware.zip(self.memory) {
            let what = format!("TD HOB for {} MiB of memory", memory.bytes >> 20);
            events.push(Event::new(Kind::TdHob, what, td_hob(firmware, memory)?));
        }
        if let Some(firmware) = self.firmware {
            let store = cfv(firmware)?;
            events.push(Event::new(Kind::Cfv, "the firmware file's variable store (CFV)", store));
            events.extend(secure_boot(&Varstore::parse(store)?, self.secure_boot));
            events.push(Event::new(Kind::Separator, "separator", [0; 4]));
        }
        if let Some(files) = &self.acpi {
            let measured = acpi::measured(files)?;
            events.extend(measured.into_iter().map(|(name, bytes)| Event::new(Kind::Acpi, describe_acpi(&name, &bytes), bytes)));
        }
        let authority = self.authority()?;
        let is_on = self.secure_boot_state()? == SecureBootState::On;
        let is_whole = self.firmware.is_some()
            && self.memory.is_some()
            && self.acpi.is_some()
            && self.boot.is_some()
            && is_on == authority.is_some();
        // The hypervisor's kernel is loaded before firmware makes its boot options.
        let (early, late) = if self.boot == Some(Boot::Direct) { (authority, None) } else { (None, authority) };
        events.extend(early);
        events.extend(self.boot.as_ref().map_or(Ok(Vec::new()), boot)?);
        events.extend(self.second_separator.then(|| Event::new(Kind::Separator, "separator", [0; 4])));
        events.extend(late);
        Ok((events, is_whole))
    }

    /// Returns the state of Secure Boot that the firmware's variable store leads to. `Unknown` without a firmware file.
    ///
    /// # Errors
    /// As [`Machine::events`].
    pub fn secure_boot_state(&self) -> Result<SecureBootState, Error> {
        let Some(firmware) = self.firmware else { return Ok(SecureBootState::Unknown) };
        let events = secure_boot(&Varstore::parse(cfv(firmware)?)?, self.secure_boot);
        Ok(events.first().map_or(SecureBootState::Unknown, |event| account::state_of(&event.hashed)))
    }

    /// The event of the entry in db that admits the first program.
    ///
    /// Source: edk2 `SecurityPkg/Library/DxeImageVerificationLib`, `SecureBootHook`.
    fn authority(&self) -> Result<Option<Event>, Error> {
        let (Some(certificate), Some(firmware)) = (self.admitted_by, self.firmware) else { return Ok(None) };
        let db = Varstore::parse(cfv(firmware)?)?.get(IMAGE_SECURITY, "db").unwrap_or_default();
        let entry = signatures::entry_of(db, certificate).ok_or(Error::NotInDb)?;
        let what = format!("db: {} admits the first program", signatures::describe_entry(entry).unwrap_or_default());
        Ok(Some(Event::new(Kind::Authority, what, encode(IMAGE_SECURITY, "db", entry))))
    }

    /// Predicts RTMR0 when the first program starts: 48 bytes. Shim extends it further, by its lists. `None` when an input is missing.
    ///
    /// # Errors
    /// As [`Machine::events`].
    pub fn rtmr0(&self) -> Result<Option<Vec<u8>>, Error> {
        let (events, is_whole) = self.events()?;
        let digests: Vec<Vec<u8>> = events.iter().map(Event::digest).collect();
        Ok(is_whole.then(|| Hash::Sha384.replay(digests.iter().map(Vec::as_slice))))
    }
}

fn describe_acpi(name: &str, bytes: &[u8]) -> String {
    let tables = if name == acpi::TABLES { format!(" ({})", acpi::describe(bytes)) } else { String::new() };
    format!("ACPI: {name}, {} bytes{tables}", bytes.len())
}

/// Returns the configuration volume (CFV) of a TDVF: the variable store in the firmware file. MRTD does not measure it; RTMR0 does.
///
/// # Errors
/// When the file has no TDVF descriptor with such a section.
pub fn cfv(firmware: &[u8]) -> Result<&[u8], Error> {
    let sections = sections(firmware)?;
    sections.iter().find(|section| section.kind == CFV).and_then(|section| section.data).ok_or(Error::NoCfv)
}

/// The five variables of Secure Boot, as firmware measures them.
///
/// Source: edk2 `SecurityPkg/Library/AuthVariableLib`, `AuthVariableLibInitialize`; `OvmfPkg/Tcg/TdTcg2Dxe`, `MeasureAllSecureVariables`.
fn secure_boot(store: &Varstore<'_>, variable: SecureBootVariable) -> Vec<Event> {
    let key = store.get(GLOBAL, "PK");
    let is_disabled = store.get(ENABLE_DISABLE, "SecureBootEnable") == Some(&[0]);
    let state: &[u8] = match variable {
        SecureBootVariable::Absent => &[],
        SecureBootVariable::Computed => &[u8::from(key.is_some() && !is_disabled)],
    };
    let stored = |guid: [u8; 16], name: &'static str| (guid, name, store.get(guid, name).unwrap_or_default());
    let variables = [
        (GLOBAL, "SecureBoot", state),
        (GLOBAL, "PK", key.unwrap_or_default()),
        stored(GLOBAL, "KEK"),
        stored(IMAGE_SECURITY, "db"),
        stored(IMAGE_SECURITY, "dbx"),
    ];
    let event = |(guid, name, value)| {
        let hashed = encode(guid, name, value);
        Event::new(Kind::Variable, account::describe_variable(&hashed).unwrap_or_default(), hashed)
    };
    variables.into_iter().map(event).collect()
}

/// `BootOrder`, then the options that it names, in its order.
///
/// Source: edk2 `MeasureAllBootVariables`.
fn boot(boot: &Boot) -> Result<Vec<Event>, Error> {
    let event = |name: &str, value: &[u8]| Event::new(Kind::Boot, account::describe_boot(name, value), value);
    let Boot::Variables(variables) = boot else {
        return Ok(vec![event("BootOrder", &[0, 0]), event("Boot0000", &load_option::ui_app())]);
    };
    let find = |name: &str| variables.iter().find(|variable| variable.name == name);
    let order = find("BootOrder").ok_or_else(|| Error::BootVariables("BootOrder is missing".to_owned()))?;
    let (numbers, rest) = order.value.as_chunks::<2>();
    if !rest.is_empty() || numbers.len() > OPTIONS_MAX {
        return Err(Error::BootVariables(format!("BootOrder has {} bytes: expected 2 for each option", order.value.len())));
    }
    let mut events = vec![event("BootOrder", &order.value)];
    for number in numbers {
        let name = format!("Boot{:04X}", u16::from_le_bytes(*number));
        let option = find(&name).ok_or_else(|| Error::BootVariables(format!("BootOrder names {name}, which is missing")))?;
        events.push(event(&name, &option.value));
    }
    Ok(events)
}
