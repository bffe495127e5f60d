//! `cvmctl log`: replays event logs against registers, and prints events.

mod logs;
mod pcrs;
mod register;
mod replay;

use std::path::Path;
use std::process::ExitCode;

use eventlog::register::Hash;
use serde_json::{Value, json};

use crate::args::{LogShow, LogVerify};
use crate::quote::sources;
use crate::run::Error;
use crate::show as out;
use logs::{LoggedEvent, Logs};
use register::Register;
use replay::{Asked, ReplayResult};

/// Offsets of the part that identifies a trust domain (TDATTRIBUTES, .., RTMR0 to RTMR3), in a TDREPORT and in the body of a quote.
const IN_REPORT: usize = 512;
const IN_BODY: usize = 120;
const DOMAIN_LEN: usize = 400;
/// RTMR0 to RTMR3 in that part, 48 bytes each.
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
        out::json(&json!({ "events": logs.events.iter().map(LoggedEvent::to_json).collect::<Vec<_>>() }))?;
    } else if logs.events.is_empty() {
        out::lines(&["no events".to_owned()])?;
    } else {
        out::lines(&logs.events.iter().map(LoggedEvent::to_line).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replays logs. Exit code 0 only if they explain every compared register, all of their registers are compared or excluded by an option,
/// and no description contradicts its digest.
pub(crate) fn verify(args: &LogVerify) -> Result<ExitCode, Error> {
    let logs = Logs::read(&args.files)?;
    let mut registers = args.quote.as_deref().map_or(Ok(Vec::new()), rtmrs)?;
    registers.extend(args.pcrs.as_deref().map_or(Ok(Vec::new()), pcrs::read)?);
    let asked = Asked { registers, rtmrs: &args.rtmrs, only_pcrs: &args.only_pcrs, command_line: args.cmdline.as_deref() };
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
fn rtmrs(path: &Path) -> Result<Vec<Held>, Error> {
    let domain = fields(path)?;
    let registers = domain.get(RTMRS).unwrap_or_default();
    Ok((0..4)
        .zip(registers.chunks_exact(48))
        .map(|(number, value)| (Register::Rtmr(number), Hash::Sha384, value.to_vec()))
        .collect())
}

/// TDATTRIBUTES of a quote or a TDREPORT, without verification.
pub(crate) fn td_attributes(path: &Path) -> Result<u64, Error> {
    fields(path)?.first_chunk().map(|field| u64::from_le_bytes(*field)).ok_or_else(|| Error::NoDomain(path.to_owned()))
}

/// The registers of firmware in a quote or a TDREPORT, without verification.
pub(crate) struct Domain {
    pub(crate) mrtd: [u8; 48],
    pub(crate) rtmr0: [u8; 48],
    /// A quote is signed, a TDREPORT is not.
    pub(crate) is_signed: bool,
}

/// Reads the registers of firmware.
pub(crate) fn domain(path: &Path) -> Result<Domain, Error> {
    let fields = fields(path)?;
    let is_signed = sources::quote(path)?.len() != REPORT_LEN;
    let register = |at: usize| encoding::fields::array(&fields, at).ok_or_else(|| Error::NoDomain(path.to_owned()));
    Ok(Domain { mrtd: register(MRTD_AT)?, rtmr0: register(RTMRS.start)?, is_signed })
}

/// Source: Intel TDX DCAP Quote Library API, appendix 3; Intel TDX Module ABI, `TDREPORT_STRUCT`.
fn fields(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = sources::quote(path)?;
    let half = |at: usize| bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field));
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field));
    let start = match (half(0), word(4), half(BODY_OF_VERSION_4)) {
        _ if bytes.len() == REPORT_LEN => Some(IN_REPORT),
        (Some(4), Some(TDX), _) => Some(BODY_OF_VERSION_4 + IN_BODY),
        // Body types: TD 1.0, TD 1.5, TD 1.5 extended.
        (Some(5), Some(TDX), Some(2..=4)) => Some(BODY_OF_VERSION_5 + IN_BODY),
        _ => None,
    };
    let domain = start.and_then(|start| bytes.get(start..start + DOMAIN_LEN));
    domain.map(<[u8]>::to_vec).ok_or_else(|| Error::NoDomain(path.to_owned()))
}
