//! The inputs of a prediction of RTMR0, from files.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use eventlog::ccel::Log;
use eventlog::register::Hash;
use predict::rtmr0::{Boot, BootVariable, Machine, Memory, SecureBootState, SecureBootVariable, acpi, memory_of};

use crate::args::MeasureRtmr0;
use crate::quote::sources::certificate as der;
use crate::run::Error;

/// The largest firmware file, file of fw_cfg and boot variable, in bytes.
const FIRMWARE_MAX: u64 = 64 << 20;
const ACPI_MAX: u64 = 16 << 20;
const VARIABLE_MAX: u64 = 64 << 10;
/// The end of the name of a file with a global variable in efivarfs, and the length of the attributes before the value.
const GLOBAL_SUFFIX: &str = "-8be4df61-93ca-11d2-aa0d-00e098032b8c";
const ATTRIBUTES_LEN: usize = 4;
/// The register and the type of the event of the TD HOB.
const RTMR0: u32 = 1;
const EV_HANDOFF_TABLES2: u32 = 0x8000_000b;

/// What the arguments name, read.
pub(super) struct Inputs {
    firmware: Option<Vec<u8>>,
    memory: Option<Memory>,
    secure_boot: SecureBootVariable,
    acpi: Option<Vec<(String, Vec<u8>)>>,
    boot: Option<Boot>,
    admitted_by: Option<Vec<u8>>,
    second_separator: bool,
}

impl Inputs {
    pub(super) fn read(args: &MeasureRtmr0) -> Result<Self, Error> {
        let boot = match &args.boot_variables {
            Some(folder) => Some(Boot::Variables(boot_variables(folder)?)),
            None => args.direct_boot.then_some(Boot::Direct),
        };
        Ok(Self {
            firmware: args.firmware.as_deref().map(|path| bounded(path, FIRMWARE_MAX)).transpose()?,
            memory: args.memory.map(|bytes| Memory { bytes, below_4g: args.memory_below_4g }),
            secure_boot: if args.without_secure_boot { SecureBootVariable::Absent } else { SecureBootVariable::Computed },
            acpi: args.acpi.as_deref().map(acpi_files).transpose()?,
            boot,
            admitted_by: args
                .admitted_by
                .as_deref()
                .map(|path| bounded(path, VARIABLE_MAX))
                .transpose()?
                .map(|bytes| der(&bytes)),
            second_separator: args.second_separator,
        })
    }

    /// The machine; `found` is the memory where the arguments name none.
    pub(super) fn machine(&self, found: Option<Memory>) -> Machine<'_> {
        Machine {
            firmware: self.firmware.as_deref(),
            memory: self.memory.or(found),
            secure_boot: self.secure_boot,
            acpi: self.acpi.as_deref().map(by_name),
            boot: self.boot.clone(),
            admitted_by: self.admitted_by.as_deref(),
            second_separator: self.second_separator,
        }
    }

    /// Whether the firmware is given without the memory.
    pub(super) const fn lacks_memory(&self) -> bool {
        self.firmware.is_some() && self.memory.is_none()
    }

    /// Finds the memory whose TD HOB, with this firmware, has the digest in the log.
    pub(super) fn memory_in(&self, log: &Log<'_>) -> Result<Option<Memory>, Error> {
        let (Some(firmware), None) = (&self.firmware, self.memory) else { return Ok(None) };
        let event = log.events.iter().find(|event| event.register == RTMR0 && event.kind == EV_HANDOFF_TABLES2);
        let digest = event.and_then(|event| event.digest(Hash::Sha384));
        Ok(digest.map(|digest| memory_of(firmware, digest)).transpose()?.flatten())
    }
}

fn by_name(files: &[(String, Vec<u8>)]) -> acpi::Files<'_> {
    files.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())).collect()
}

/// Names the arguments that are missing for a value.
pub(super) fn missing(machine: &Machine<'_>) -> Result<String, Error> {
    let is_on = machine.secure_boot_state()? == SecureBootState::On;
    let arguments = [
        (machine.memory.is_none(), "--memory"),
        (machine.acpi.is_none(), "--acpi"),
        (machine.boot.is_none(), "--direct-boot or --boot-variables"),
        (is_on && machine.admitted_by.is_none(), "--admitted-by, since Secure Boot is on"),
        (!is_on && machine.admitted_by.is_some(), "no --admitted-by, since Secure Boot is off"),
    ];
    let missing = arguments.into_iter().filter_map(|(is_missing, argument)| is_missing.then_some(argument));
    Ok(missing.collect::<Vec<_>>().join(", "))
}

/// Reads a file of at most `most` bytes.
pub(super) fn bounded(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        Ok(bytes)
    } else {
        Err(failed(ErrorKind::FileTooLarge.into()))
    }
}

/// Reads the script and the files that it names. In a copy of sysfs each file is `raw` in a folder of its name.
fn acpi_files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let read = |name: &str| {
        let path = folder.join(name);
        let path = if path.is_dir() { path.join("raw") } else { path };
        bounded(&path, ACPI_MAX)
    };
    let script = read(acpi::LOADER)?;
    let mut files = Vec::new();
    for name in acpi::allocated(&script)? {
        match read(&name) {
            // The prediction knows its content.
            Err(Error::File { source, .. }) if name == acpi::TPM_LOG && source.kind() == ErrorKind::NotFound => {}
            content => files.push((name, content?)),
        }
    }
    files.push((acpi::LOADER.to_owned(), script));
    Ok(files)
}

/// Reads `BootOrder` and the options; other variables in the folder are skipped.
fn boot_variables(folder: &Path) -> Result<Vec<BootVariable>, Error> {
    let failed = |path: &Path, source| Error::File { path: path.to_owned(), source };
    let mut variables = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path: PathBuf = entry.map_err(|source| failed(folder, source))?.path();
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(name) = file.strip_suffix(GLOBAL_SUFFIX).filter(|name| is_boot_variable(name)) else { continue };
        let bytes = bounded(&path, VARIABLE_MAX)?;
        let value = bytes.get(ATTRIBUTES_LEN..).ok_or_else(|| failed(&path, ErrorKind::UnexpectedEof.into()))?;
        variables.push(BootVariable { name: name.to_owned(), value: value.to_vec() });
    }
    Ok(variables)
}

/// `BootOrder`, or `Boot` and four upper-case hexadecimal digits.
fn is_boot_variable(name: &str) -> bool {
    let is_number = |digits: &str| digits.len() == 4 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    name == "BootOrder" || name.strip_prefix("Boot").is_some_and(is_number)
}
