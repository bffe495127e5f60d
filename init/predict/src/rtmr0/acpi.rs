//! The ACPI tables that QEMU gives firmware through fw_cfg: `etc/table-loader` and the files that it names.
//!
//! OVMF hashes each file as it receives it, before it patches addresses into it: first the loader's script, then each file in the order
//! of the script's commands that allocate one. QEMU builds the files after firmware has configured PCI, so they are taken from a machine
//! of the same shape.
//!
//! Source: edk2 `OvmfPkg/AcpiPlatformDxe/QemuFwCfgAcpi.c`; QEMU `hw/acpi/bios-linker-loader.c`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use encoding::fields::le_u32;

use super::Error;

/// The name of the script.
pub const LOADER: &str = "etc/table-loader";
/// The name of the file with the tables.
pub const TABLES: &str = "etc/acpi/tables";
/// The log of a TPM, which QEMU gives firmware as 64 KiB of zeros.
pub const TPM_LOG: &str = "etc/tpm/log";
const TPM_LOG_LEN: usize = 64 << 10;
/// The length of a command, its field with a file's name, and the code of the command that allocates a file.
const COMMAND_LEN: usize = 128;
const NAME_LEN: usize = 56;
const ALLOCATE: u32 = 1;
/// The most commands, files and tables that are read.
const COMMANDS_MAX: usize = 8192;
const FILES_MAX: usize = 16;
const TABLES_MAX: usize = 256;
/// The length of a table's header, and the offset of the entries of `APIC`, in bytes.
const HEADER_LEN: usize = 36;
const APIC_ENTRIES_AT: usize = 44;

/// Files of fw_cfg by name.
pub type Files<'a> = BTreeMap<String, &'a [u8]>;

/// A hashed file: its name, and its bytes.
pub type Measured<'a> = (String, Cow<'a, [u8]>);

/// Returns the hashed files in the order of their events. A missing `etc/tpm/log` is 64 KiB of zeros.
///
/// # Errors
/// When the script or a file that it names is missing, or the script is malformed.
pub fn measured<'a>(files: &Files<'a>) -> Result<Vec<Measured<'a>>, Error> {
    let get = |name: &str| files.get(name).copied().ok_or_else(|| Error::NoFile(name.to_owned()));
    let script = get(LOADER)?;
    let mut measured = vec![(LOADER.to_owned(), script.into())];
    for name in allocated(script)? {
        let content = match get(&name) {
            Err(_) if name == TPM_LOG => vec![0; TPM_LOG_LEN].into(),
            content => content?.into(),
        };
        measured.push((name, content));
    }
    Ok(measured)
}

/// Reads the names of the files that the script allocates: relative paths without `.` and `..`.
///
/// # Errors
/// When the script is malformed.
pub fn allocated(script: &[u8]) -> Result<Vec<String>, Error> {
    let (commands, rest) = script.as_chunks::<COMMAND_LEN>();
    if commands.is_empty() || !rest.is_empty() || commands.len() > COMMANDS_MAX {
        return Err(Error::Script("its length is not a multiple of 128 bytes, or too large"));
    }
    let mut names = Vec::new();
    for command in commands.iter().filter(|command| le_u32(*command, 0) == Some(ALLOCATE)) {
        let name = command.get(4..4 + NAME_LEN).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        let is_path = name.iter().all(u8::is_ascii_graphic) && name.split(|byte| *byte == b'/').all(is_component);
        if !is_path || names.len() == FILES_MAX {
            return Err(Error::Script("the name of a file is not a relative path in ASCII, or there are too many files"));
        }
        names.push(name.iter().map(|byte| char::from(*byte)).collect());
    }
    Ok(names)
}

fn is_component(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".."
}

/// Describes the tables in `etc/acpi/tables` as QEMU writes them, one after the other: their names and lengths, and the number of CPUs.
/// Empty when the first bytes are not a table.
#[must_use]
pub fn describe(tables: &[u8]) -> String {
    let (mut names, mut cpus, mut rest) = (Vec::new(), None, tables);
    while names.len() < TABLES_MAX {
        let Some((table, after)) = table(rest) else { break };
        let name: String = table.iter().take(4).map(|byte| char::from(*byte)).collect();
        if name == "APIC" {
            cpus = Some(enabled_cpus(table));
        }
        names.push(format!("{name} {} bytes", table.len()));
        rest = after;
    }
    let cpus = cpus.map(|count| format!("{count} CPUs; ")).unwrap_or_default();
    format!("{cpus}{}", names.join(", "))
}

/// Splits the first table off.
fn table(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(le_u32(bytes, 4)?).ok().filter(|length| *length >= HEADER_LEN)?;
    let is_name = bytes.get(..4)?.iter().all(u8::is_ascii_alphanumeric);
    if is_name { bytes.split_at_checked(length) } else { None }
}

/// Counts the enabled processors in the table `APIC`: local APIC (type 0) and local x2APIC (type 9) with the first flag.
fn enabled_cpus(table: &[u8]) -> usize {
    let (mut count, mut rest) = (0, table.get(APIC_ENTRIES_AT..).unwrap_or_default());
    while let Some((&kind, &length)) = rest.first().zip(rest.get(1)).filter(|(_, length)| **length >= 2) {
        let flags = match kind {
            0 => le_u32(rest, 4),
            9 => le_u32(rest, 8),
            _ => None,
        };
        count += usize::from(flags.is_some_and(|flags| flags & 1 == 1));
        rest = rest.get(usize::from(length)..).unwrap_or_default();
    }
    count
}
