//! Whether firmware measured our command line: its log is replayed, held against the registers, and searched. The host may have written
//! the log; only the registers make it evidence.

use std::fmt;

use ondisk::eventlog::{Kind, LOG_MAX, Log};
use ondisk::register::Hash;
use serde::Serialize;

/// RTMR0 to RTMR3 in what identifies a domain (`kernel::tdx::identity`).
const RTMRS_AT: usize = 208;
/// Those of a TPM that firmware, boot loader and kernel write, but for 10, which is the integrity measurement architecture's.
const PCRS: [u32; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The log replays and has the command line in it.
    Measured { log: &'static str, by: &'static str },
    /// The log replays, and the command line is not in it.
    NotMeasured { log: &'static str },
    /// There is nothing to tell it by.
    Unknown(Reason),
}

/// Why nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    NoLog,
    Unreadable(&'static str),
    Malformed(&'static str),
    NoRegisters(&'static str),
    Differs(&'static str, u32),
}

/// The same for the receipt.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    /// `yes`, `no` or `unknown`.
    measured: &'static str,
    /// `ccel` or `tpm`: whose log it is.
    log: Option<&'static str>,
    /// Who measured it.
    by: Option<&'static str>,
    /// Why it is unknown.
    reason: Option<String>,
}

const CCEL: &str = "ccel";
const TPM: &str = "tpm";

/// Looks. In a trust domain only the domain's own log counts: a TPM beside it is the host's.
pub(super) fn look(command_line: &str) -> Finding {
    let domain = kernel::tdx::identity().ok();
    match kernel::firmware_log::ccel(LOG_MAX) {
        Ok(Some(bytes)) => {
            let rtmrs = domain.as_deref().and_then(|domain| domain.get(RTMRS_AT..));
            return judge(CCEL, &bytes, command_line, Kind::Cc, Hash::Sha384, rtmrs.map(of_domain).as_deref());
        }
        Ok(None) => {}
        Err(_) => return Finding::Unknown(Reason::Unreadable(CCEL)),
    }
    if domain.is_some() {
        return Finding::Unknown(Reason::NoLog);
    }
    match kernel::firmware_log::tpm(LOG_MAX) {
        Ok(Some(bytes)) => {
            // The strongest bank that log and kernel both have.
            let bank =
                Hash::ALL.into_iter().rev().filter(|hash| *hash != Hash::Sha1).find_map(|hash| Some((hash, of_tpm(hash)?)));
            let Some((hash, pcrs)) = bank else { return Finding::Unknown(Reason::NoRegisters(TPM)) };
            judge(TPM, &bytes, command_line, Kind::Tpm, hash, Some(&pcrs))
        }
        Ok(None) => Finding::Unknown(Reason::NoLog),
        Err(_) => Finding::Unknown(Reason::Unreadable(TPM)),
    }
}

/// Numbers as the log counts them, 1 to 4, with their values.
fn of_domain(rtmrs: &[u8]) -> Vec<(u32, Vec<u8>)> {
    (1..=4).zip(rtmrs.chunks_exact(48)).map(|(number, value)| (number, value.to_vec())).collect()
}

fn of_tpm(hash: Hash) -> Option<Vec<(u32, Vec<u8>)>> {
    PCRS.into_iter().map(|number| Some((number, kernel::firmware_log::pcr(hash.name(), number)?))).collect()
}

/// The log is evidence only if it makes every register what it is.
fn judge(
    name: &'static str,
    bytes: &[u8],
    command_line: &str,
    kind: Kind,
    hash: Hash,
    registers: Option<&[(u32, Vec<u8>)]>,
) -> Finding {
    let Ok(log) = Log::parse(bytes) else { return Finding::Unknown(Reason::Malformed(name)) };
    let Some(registers) = registers else { return Finding::Unknown(Reason::NoRegisters(name)) };
    if let Some((number, _)) = registers.iter().find(|(number, value)| log.replay(hash, *number).as_ref() != Some(value)) {
        let number = if kind == Kind::Cc { number - 1 } else { *number };
        return Finding::Unknown(Reason::Differs(name, number));
    }
    match log.measures_command_line(kind, hash, command_line) {
        Some(by) => Finding::Measured { log: name, by },
        None => Finding::NotMeasured { log: name },
    }
}

impl Finding {
    pub(super) fn told(&self) -> Told {
        let (measured, log, by) = match self {
            Self::Measured { log, by } => ("yes", Some(*log), Some(*by)),
            Self::NotMeasured { log } => ("no", Some(*log), None),
            Self::Unknown(reason) => ("unknown", reason.log(), None),
        };
        let reason = matches!(self, Self::Unknown(_)).then(|| self.to_string());
        Told { measured, log, by, reason }
    }
}

impl Reason {
    const fn log(self) -> Option<&'static str> {
        match self {
            Self::NoLog => None,
            Self::Unreadable(log) | Self::Malformed(log) | Self::NoRegisters(log) | Self::Differs(log, _) => Some(log),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured { log, by } => write!(f, "the command line was measured by {by} ({log} log)"),
            Self::NotMeasured { log } => write!(f, "the {log} log has another command line than ours, or none"),
            Self::Unknown(Reason::NoLog) => f.write_str("firmware left no log"),
            Self::Unknown(Reason::Unreadable(log)) => write!(f, "the {log} log cannot be read"),
            Self::Unknown(Reason::Malformed(log)) => write!(f, "the {log} log is malformed"),
            Self::Unknown(Reason::NoRegisters(log)) => write!(f, "there are no registers to hold the {log} log against"),
            Self::Unknown(Reason::Differs(log, number)) => {
                let register = if *log == CCEL { "RTMR" } else { "PCR" };
                write!(f, "the {log} log does not replay to {register}{number}")
            }
        }
    }
}
