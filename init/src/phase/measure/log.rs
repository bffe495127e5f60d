//! Writes the event logs of user space: systemd's own log for the PCR, and a log of PID 1 for the RTMRs, which systemd does not
//! know.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use eventlog::cel::{Record, Register};

use super::Digests;

/// systemd-pcrlock reads this log, and systemd appends to it.
const PCRS: &str = "/run/log/systemd/tpm2-measure.log";
const RTMRS: &str = "/run/cvm-init/rtmr-measure.log";
/// The `eventType` of boot phases. systemd-pcrlock checks the digests only of types that it knows.
const EVENT_TYPE: &str = "phase";

/// A record with the current time.
pub(super) fn record(register: Register, digests: Digests, text: &str) -> Record {
    Record {
        register,
        digests,
        string: Some(text.to_owned()),
        event_type: Some(EVENT_TYPE.to_owned()),
        boot_id: linux::clock::boot_id().ok(),
        timestamp: u64::try_from(linux::clock::since_boot().as_micros()).ok(),
        firmware: None,
    }
}

/// Appends the records to the two logs.
pub(super) fn write(of_rtmr: &[Record], of_tpm: &[Record]) -> io::Result<()> {
    // systemd makes its log readable for root only; the other contains no secret.
    for (path, records, mode) in [(RTMRS, of_rtmr, 0o644), (PCRS, of_tpm, 0o600)] {
        if records.is_empty() {
            continue;
        }
        let path = Path::new(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut file = OpenOptions::new().append(true).create(true).mode(mode).open(path)?;
        for record in records {
            file.write_all(record.to_text()?.as_bytes())?;
        }
    }
    Ok(())
}
