//! Checks whether the digest of the command line was extended: replays the firmware's log, compares it with the registers and searches
//! it. The host may have written the log; only its agreement with the registers makes it evidence. It is no evidence of who extended a
//! digest: only a register that equals a prediction is, and vaults compare that.

use std::fmt;
use std::path::Path;

use eventlog::ccel::{Kind, LOG_MAX, Log};
use eventlog::register::Hash;
use serde::Serialize;

/// Where RTMR0 to RTMR3 are in the TD's identity (`linux::tdx::identity`).
const RTMRS_AT: usize = 208;
/// The PCRs that firmware, boot loader and kernel extend, except 10, which belongs to the kernel's integrity measurement
/// architecture (IMA).
const PCRS: [u32; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15];

/// Values of registers, numbered as in the log.
type RegisterValues = Vec<(u32, Vec<u8>)>;

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The log replays to the registers and contains the digest of the command line, in the form of the program `by`.
    Measured { log: &'static str, by: &'static str },
    /// The log replays to the registers and does not contain that digest.
    NotMeasured { log: &'static str },
    /// The log proves nothing.
    Unknown(Reason),
}

/// Why the log proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    NoLog,
    Unreadable(&'static str),
    Malformed(&'static str),
    NoRegisters(&'static str),
    Differs(&'static str, u32),
}

/// The result as the boot report contains it.
#[derive(Debug, Serialize)]
pub(crate) struct CommandLineReport {
    /// Whether its digest was extended: `yes`, `no` or `unknown`.
    measured: &'static str,
    /// Whose log it is: `ccel` or `tpm`.
    log: Option<&'static str>,
    /// Which program hashes it in this form; others can extend the same digest.
    by: Option<&'static str>,
    /// Why it is unknown.
    reason: Option<String>,
}

const CCEL: &str = "ccel";
const TPM: &str = "tpm";

/// The device of an SEV-SNP guest, where the host controls a TPM and its log as well.
const SNP_GUEST: &str = "/dev/sev-guest";

/// The TD's identity as the TDX module reports it; `None` outside of a TD.
///
/// # Errors
/// When there is a TDX module and it does not answer.
pub(super) fn domain() -> Result<Option<Vec<u8>>, linux::Error> {
    match linux::tdx::identity() {
        Ok(identity) => Ok(Some(identity)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether this machine is a TD; `true` also when its TDX module does not answer.
pub(super) fn is_td() -> bool {
    !matches!(domain(), Ok(None))
}

/// Whether this is a confidential VM, where the host controls a TPM.
pub(super) fn is_confidential() -> bool {
    is_td() || Path::new(SNP_GUEST).exists()
}

/// Examines the log. In a confidential VM only the CCEL counts, since the host controls a TPM.
pub(super) fn examine(command_line: &str) -> Finding {
    let Ok(domain) = domain() else { return Finding::Unknown(Reason::NoRegisters(CCEL)) };
    match linux::firmware_log::ccel(LOG_MAX) {
        Ok(Some(bytes)) => {
            let rtmrs = domain.as_deref().and_then(|domain| domain.get(RTMRS_AT..));
            let registers = |_: &Log<'_>| Some((Hash::Sha384, of_domain(rtmrs?)));
            return compare(CCEL, &bytes, command_line, Kind::Cc, registers);
        }
        Ok(None) => {}
        Err(_) => return Finding::Unknown(Reason::Unreadable(CCEL)),
    }
    if domain.is_some() || Path::new(SNP_GUEST).exists() {
        return Finding::Unknown(Reason::NoLog);
    }
    match linux::firmware_log::tpm(LOG_MAX) {
        Ok(Some(bytes)) => compare(TPM, &bytes, command_line, Kind::Tpm, strongest_bank),
        Ok(None) => Finding::Unknown(Reason::NoLog),
        Err(_) => Finding::Unknown(Reason::Unreadable(TPM)),
    }
}

/// The strongest bank that both log and kernel have; SHA-1 is not accepted.
fn strongest_bank(log: &Log<'_>) -> Option<(Hash, RegisterValues)> {
    let mut logged = Hash::ALL.into_iter().rev().filter(|hash| *hash != Hash::Sha1 && log.algorithms.contains(&hash.id()));
    logged.find_map(|hash| Some((hash, of_tpm(hash)?)))
}

/// The TD's registers with the numbers of the log, 1 to 4.
fn of_domain(rtmrs: &[u8]) -> RegisterValues {
    (1..=4).zip(rtmrs.chunks_exact(48)).map(|(number, value)| (number, value.to_vec())).collect()
}

fn of_tpm(hash: Hash) -> Option<RegisterValues> {
    PCRS.into_iter().map(|number| Some((number, linux::firmware_log::pcr(hash.name(), number)?))).collect()
}

/// Compares the log with every register, then searches it for the command line.
fn compare(
    name: &'static str,
    bytes: &[u8],
    command_line: &str,
    kind: Kind,
    registers: impl FnOnce(&Log<'_>) -> Option<(Hash, RegisterValues)>,
) -> Finding {
    let Ok(log) = Log::parse(bytes) else { return Finding::Unknown(Reason::Malformed(name)) };
    let Some((hash, registers)) = registers(&log) else { return Finding::Unknown(Reason::NoRegisters(name)) };
    if let Some((number, _)) = registers.iter().find(|(number, value)| log.replay(hash, *number).as_ref() != Some(value)) {
        let number = if kind == Kind::Cc { number - 1 } else { *number };
        return Finding::Unknown(Reason::Differs(name, number));
    }
    // The registers that command lines are measured into are among those compared above.
    match log.command_line_events(kind, hash, command_line).first() {
        Some(found) => Finding::Measured { log: name, by: found.by },
        None => Finding::NotMeasured { log: name },
    }
}

impl Finding {
    pub(super) fn report(&self) -> CommandLineReport {
        let (measured, log, by) = match self {
            Self::Measured { log, by } => ("yes", Some(*log), Some(*by)),
            Self::NotMeasured { log } => ("no", Some(*log), None),
            Self::Unknown(reason) => ("unknown", reason.log(), None),
        };
        let reason = matches!(self, Self::Unknown(_)).then(|| self.to_string());
        CommandLineReport { measured, log, by, reason }
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
            Self::Measured { log, by } => write!(f, "the digest of the command line was extended, as {by} hashes it ({log} log)"),
            Self::NotMeasured { log } => write!(f, "no event of the {log} log has the digest of /proc/cmdline"),
            Self::Unknown(Reason::NoLog) => f.write_str("firmware left no log"),
            Self::Unknown(Reason::Unreadable(log)) => write!(f, "the {log} log cannot be read"),
            Self::Unknown(Reason::Malformed(log)) => write!(f, "the {log} log is malformed"),
            Self::Unknown(Reason::NoRegisters(log)) => write!(f, "there are no registers to compare the {log} log with"),
            Self::Unknown(Reason::Differs(log, number)) => {
                let register = if *log == CCEL { "RTMR" } else { "PCR" };
                write!(f, "the {log} log does not replay to {register}{number}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One event of RTMR2, the command line `a b`, in the form of the kernel's EFI stub.
    fn ccel() -> Vec<u8> {
        let mut log = [&1_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[0; 20], &33_u32.to_le_bytes()].concat();
        log.extend(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0c\0\x30\0\0");
        log.extend([3_u32, 6, 1].map(u32::to_le_bytes).concat());
        log.extend([&0xc_u16.to_le_bytes()[..], &digest(), &0_u32.to_le_bytes()].concat());
        log
    }

    fn digest() -> Vec<u8> {
        Hash::Sha384.digest(&"a b\0".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
    }

    #[test]
    fn only_a_log_that_makes_every_register_what_it_is_says_anything() {
        let good = || {
            let mut registers: RegisterValues = (1..=4).map(|number| (number, vec![0; 48])).collect();
            registers[2].1 = Hash::Sha384.replay([digest().as_slice()]);
            registers
        };
        let extended = |at: usize| {
            let mut registers = good();
            registers[at].1[47] ^= 1;
            registers
        };
        let compared = |bytes: &[u8], line: &str, registers: Option<RegisterValues>| {
            compare(CCEL, bytes, line, Kind::Cc, |_| registers.map(|registers| (Hash::Sha384, registers)))
        };
        let measured = Finding::Measured { log: CCEL, by: "the kernel's EFI stub" };
        let unknown = |reason| Finding::Unknown(reason);
        let mut other = ccel();
        let at = other.len() - 20;
        other[at] ^= 1;
        let cases = [
            ("as it is", compared(&ccel(), "a b", Some(good())), measured),
            ("another line", compared(&ccel(), "a c", Some(good())), Finding::NotMeasured { log: CCEL }),
            ("no registers", compared(&ccel(), "a b", None), unknown(Reason::NoRegisters(CCEL))),
            ("no log", compared(b"x", "a b", Some(good())), unknown(Reason::Malformed(CCEL))),
            ("RTMR0 has more", compared(&ccel(), "a b", Some(extended(0))), unknown(Reason::Differs(CCEL, 0))),
            ("RTMR3 has more", compared(&ccel(), "a b", Some(extended(3))), unknown(Reason::Differs(CCEL, 3))),
            ("another digest", compared(&other, "a b", Some(good())), unknown(Reason::Differs(CCEL, 2))),
        ];
        for (name, got, want) in cases {
            assert_eq!(got, want, "{name}");
        }
    }
}
