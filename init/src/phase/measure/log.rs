//! The logs of user space, each where its verifiers look: systemd's own for PCRs, one of ours for RTMR3, which systemd does not know.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use eventlog::cel::{Record, Register};

use super::Digests;

/// systemd-pcrlock reads it, and systemd goes on writing it.
const PCRS: &str = "/run/log/systemd/tpm2-measure.log";
const RTMRS: &str = "/run/cvm-init/rtmr-measure.log";
/// As `eventType`: of the types that systemd knows, the one of boot phases. Of others systemd-pcrlock does not check the digests.
const EVENT_TYPE: &str = "phase";

/// A record of now.
pub(super) fn record(register: Register, digests: Digests, text: &str) -> Record {
    Record {
        register,
        digests,
        string: Some(text.to_owned()),
        event_type: Some(EVENT_TYPE.to_owned()),
        boot_id: linux::clock::boot_id().ok(),
        timestamp: u64::try_from(linux::clock::since_boot().as_micros()).ok(),
    }
}

/// Writes what there is.
pub(super) fn leave(of_rtmr: &[Record], of_tpm: &[Record]) -> io::Result<()> {
    // The one is root's alone, as systemd would make it; nothing in the other is secret.
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
