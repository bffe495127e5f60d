//! `cvmctl log`: replays event logs against registers, and prints events.

mod asked;
mod logs;
mod pcrs;
mod register;
mod replay;

use std::path::Path;
use std::process::ExitCode;

use eventlog::cel::CAP;
use eventlog::register::Hash;
use serde_json::{Value, json};

use crate::args::{LogShow, LogVerify};
use crate::quote::sources;
use crate::run::Error;
use crate::show as out;
use logs::LoggedEvent;
pub(crate) use logs::{Logs, firmware_log};
pub(crate) use register::Register;
use replay::{Asked, Evidence, ReplayResult};

/// Offsets of the part that identifies a trust domain (TDATTRIBUTES, .., RTMR0 to RTMR3), in a TDREPORT and in the body of a quote.
const IN_REPORT: usize = 512;
const IN_BODY: usize = 120;
const DOMAIN_LEN: usize = 400;
/// MRTD, and RTMR0 to RTMR3 in that part, 48 bytes each.
const MRTD_AT: usize = 16;
const RTMRS: std::ops::Range<usize> = 208..DOMAIN_LEN;
const REPORT_LEN: usize = 1024;
/// Offset of the body of a quote, and the TEE type of trust domains.
const BODY_OF_VERSION_4: usize = 48;
const BODY_OF_VERSION_5: usize = 54;
const TDX: u32 = 0x81;

/// A register, a hash function, and the register's value.
type Held = (Register, Hash, Vec<u8>);

/// Prints the events.
pub(crate) fn show(args: &LogShow) -> Result<ExitCode, Error> {
    let logs = Logs::read(&args.files)?;
    if args.json {
        let events: Vec<Value> = logs.events.iter().map(LoggedEvent::to_json).collect();
        out::json(&json!({ "sha1_alone": logs.of_sha1, "events": events }))?;
    } else if logs.events.is_empty() {
        out::lines(&["no events".to_owned()])?;
    } else {
        let unverified = logs.of_sha1.iter().map(|path| format!("{}: SHA-1 digests alone, UNVERIFIED", path.display()));
        out::lines(&unverified.chain(logs.events.iter().map(LoggedEvent::to_line)).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replays logs. Exit code 0 only if they explain every compared register, all of their registers are compared or excluded by an option,
/// and no description contradicts its digest.
pub(crate) fn verify(args: &LogVerify) -> Result<ExitCode, Error> {
    let logs = Logs::read(&args.files)?;
    let (mut registers, mut evidence) = (Vec::new(), None);
    if let Some(path) = &args.quote {
        let (of, rtmrs) = rtmrs(path)?;
        (registers, evidence) = (rtmrs, Some(of));
    }
    registers.extend(args.pcrs.as_deref().map_or(Ok(Vec::new()), pcrs::read)?);
    let asked = Asked {
        registers,
        rtmrs: &args.rtmrs,
        only_pcrs: &args.only_pcrs,
        command_line: args.cmdline.as_deref(),
        predicted: &args.predicted_rtmr2,
        evidence,
    };
    let result = ReplayResult::of(&logs, &asked);
    if args.json {
        let events: Vec<Value> = logs.events.iter().map(LoggedEvent::to_json).collect();
        out::json(&result.to_json(&events))?;
    } else {
        let shown = if args.verbose { logs.events.iter().map(LoggedEvent::to_line).collect() } else { Vec::new() };
        out::lines(&[shown, result.to_lines()].concat())?;
    }
    Ok(if result.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The RTMRs of a quote or a TDREPORT, without verification, which is the purpose of `cvmctl quote verify`.
fn rtmrs(path: &Path) -> Result<(Evidence, Vec<Held>), Error> {
    let (evidence, domain) = domain(path)?;
    let registers = domain.get(RTMRS).unwrap_or_default().chunks_exact(48);
    let registers = (0..4).zip(registers).map(|(number, value)| (Register::Rtmr(number), Hash::Sha384, value.to_vec()));
    Ok((evidence, registers.collect()))
}

/// The registers of firmware in a quote or a TDREPORT, without verification.
pub(crate) struct FirmwareRegisters {
    pub(crate) mrtd: [u8; 48],
    pub(crate) rtmr0: [u8; 48],
    /// Whether the registers are of a TDREPORT, which is unsigned.
    pub(crate) unsigned: bool,
}

/// Reads the registers of firmware.
pub(crate) fn firmware_registers(path: &Path) -> Result<FirmwareRegisters, Error> {
    let (evidence, domain) = domain(path)?;
    let register = |at: usize| encoding::fields::array(&domain, at).ok_or_else(|| Error::NoDomain(path.to_owned()));
    Ok(FirmwareRegisters { mrtd: register(MRTD_AT)?, rtmr0: register(RTMRS.start)?, unsigned: evidence == Evidence::TdReport })
}

/// The registers of a quote to which logs replay.
pub(crate) struct Replays {
    /// Whether the registers are of a TDREPORT, which is unsigned.
    pub(crate) unsigned: bool,
    /// Numbers of RTMRs, and whether the logs replay to them.
    pub(crate) registers: Vec<(u32, bool)>,
}

/// Replays logs to a quote or a TDREPORT. RTMR2 may have the cap after the log, and RTMR3 is left out, where no log of user space is given.
pub(crate) fn replays_to(logs: &Logs, quote: &Path) -> Result<Replays, Error> {
    let (evidence, rtmrs) = rtmrs(quote)?;
    let mut registers = Vec::new();
    for (register, hash, value) in rtmrs {
        let Register::Rtmr(number) = register else { continue };
        let replayed = logs.replay(register, hash, &value);
        let capped = || replayed.as_ref().map(|before| hash.extend(before, &hash.digest(CAP.as_bytes())));
        let has_cap = logs.before_cap().is_some_and(|(_, count)| count < logs.of(register).count());
        let is_capped = number == 2 && !has_cap && capped().as_ref() == Some(&value);
        if number != 3 || logs.has(register) {
            registers.push((number, replayed.as_ref() == Some(&value) || is_capped));
        }
    }
    Ok(Replays { unsigned: evidence == Evidence::TdReport, registers })
}

/// TDATTRIBUTES of a quote or a TDREPORT, without verification.
pub(crate) fn td_attributes(path: &Path) -> Result<u64, Error> {
    domain(path)?.1.first_chunk().map(|field| u64::from_le_bytes(*field)).ok_or_else(|| Error::NoDomain(path.to_owned()))
}

/// Source: Intel TDX DCAP Quote Library API, appendix 3; Intel TDX Module ABI, `TDREPORT_STRUCT`.
fn domain(path: &Path) -> Result<(Evidence, Vec<u8>), Error> {
    let bytes = sources::quote(path)?;
    let half = |at: usize| bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field));
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field));
    let start = match (half(0), word(4), half(BODY_OF_VERSION_4)) {
        _ if bytes.len() == REPORT_LEN => Some((Evidence::TdReport, IN_REPORT)),
        (Some(4), Some(TDX), _) => Some((Evidence::Quote, BODY_OF_VERSION_4 + IN_BODY)),
        // Body types: TD 1.0, TD 1.5, TD 1.5 extended.
        (Some(5), Some(TDX), Some(2..=4)) => Some((Evidence::Quote, BODY_OF_VERSION_5 + IN_BODY)),
        _ => None,
    };
    let domain = start.and_then(|(evidence, start)| Some((evidence, bytes.get(start..start + DOMAIN_LEN)?.to_vec())));
    domain.ok_or_else(|| Error::NoDomain(path.to_owned()))
}
