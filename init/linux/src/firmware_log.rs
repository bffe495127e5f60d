//! The measurement logs of the firmware (ACPI table CCEL, TPM event log), and the PCRs of the TPM.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::io::Errno;

use crate::Error;
use crate::mount::{Attr, Detached};

/// Source: Linux drivers/acpi/sysfs.c, `acpi_ccel_data_init`.
const CCEL: &str = "/sys/firmware/acpi/tables/data/CCEL";
/// The first TPM in sysfs; its log is in securityfs.
const TPM: &str = "/sys/class/tpm/tpm0";
const TPM_LOG: &str = "tpm0/binary_bios_measurements";

/// Reads the confidential computing event log (CCEL); `None` where the firmware left none.
///
/// # Errors
/// As read(2); `EFBIG` when it is longer than `most` bytes.
pub fn ccel(most: u64) -> Result<Option<Vec<u8>>, Error> {
    match File::open(CCEL) {
        Ok(file) => bounded(file, CCEL, most).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", CCEL, &error)),
    }
}

/// Reads the TPM's event log; `None` without a TPM, or where the firmware left none. securityfs is mounted without a mount point.
///
/// # Errors
/// As read(2); `EFBIG` when it is longer than `most` bytes.
pub fn tpm(most: u64) -> Result<Option<Vec<u8>>, Error> {
    if !Path::new(TPM).exists() {
        return Ok(None);
    }
    let attr = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOEXEC;
    match Detached::new("securityfs", &[], attr)?.open(Path::new(TPM_LOG)) {
        Ok(file) => bounded(file, TPM_LOG, most).map(Some),
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a PCR of the first TPM from the bank that sysfs calls `bank` (`sha384`); `None` without such a bank.
///
/// Source: Documentation/ABI/stable/sysfs-class-tpm, `pcr-<H>/<N>`: upper-case hexadecimal.
#[must_use]
pub fn pcr(bank: &str, number: u32) -> Option<Vec<u8>> {
    let text = std::fs::read_to_string(format!("{TPM}/pcr-{bank}/{number}")).ok()?;
    let (pairs, rest) = text.trim().as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()
}

fn bounded(file: File, name: &str, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io("read", name, &e))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        Ok(bytes)
    } else {
        Err(Error::new("read", name, Errno::FBIG))
    }
}
