//! `cvmctl log`: logs of what was measured, replayed against the registers, and told for people.

mod logs;
mod pcrs;
mod register;
mod verdict;

use std::path::Path;
use std::process::ExitCode;

use attest::Frame;
use ondisk::register::Hash;
use serde_json::{Value, json};

use crate::args::{LogShow, LogVerify};
use crate::quote::sources;
use crate::run::Error;
use crate::show as out;
use logs::{Logs, Told};
use register::Register;
use verdict::{Asked, Verdict};

/// RTMR0 to RTMR3 in what identifies a domain: attributes, XFAM, MRTD and three owner fields stand before them.
const RTMRS_AT: usize = 208;
/// A TDREPORT, and the same 400 bytes in it.
const REPORT_BYTES: usize = 1024;
const DOMAIN_IN_REPORT: std::ops::Range<usize> = 512..912;

/// A register with what it holds, in one hash function.
type Held = (Register, Hash, Vec<u8>);

/// Prints the events.
pub(crate) fn show(args: &LogShow) -> Result<ExitCode, Error> {
    let logs = Logs::read(&args.files)?;
    if args.json {
        out::json(&json!({ "events": logs.events.iter().map(Told::to_json).collect::<Vec<_>>() }))?;
    } else {
        out::lines(&logs.events.iter().map(Told::to_line).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replays; exit code 0 only if the logs explain every register that is compared, nothing of them is left uncompared but what was named, and
/// no record lies about itself.
pub(crate) fn judge(args: &LogVerify) -> Result<ExitCode, Error> {
    let logs = Logs::read(&args.files)?;
    let mut registers = args.quote.as_deref().map_or(Ok(Vec::new()), rtmrs)?;
    registers.extend(args.pcrs.as_deref().map_or(Ok(Vec::new()), pcrs::read)?);
    let asked = Asked { registers, rtmrs: &args.rtmrs, only_pcrs: &args.only_pcrs, command_line: args.cmdline.as_deref() };
    let verdict = Verdict::of(&logs, &asked);
    if args.json {
        let events: Vec<Value> = logs.events.iter().map(Told::to_json).collect();
        out::json(&verdict.to_json(&events))?;
    } else {
        let shown = if args.verbose { logs.events.iter().map(Told::to_line).collect() } else { Vec::new() };
        out::lines(&[shown, verdict.to_lines()].concat())?;
    }
    Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The RTMRs of a quote or a TDREPORT.
fn rtmrs(path: &Path) -> Result<Vec<Held>, Error> {
    let bytes = sources::quote(path)?;
    let frame = Frame::parse(&bytes).ok();
    let report = (bytes.len() == REPORT_BYTES).then(|| bytes.get(DOMAIN_IN_REPORT)).flatten();
    let domain = frame.as_ref().and_then(Frame::domain).or(report).ok_or_else(|| Error::NoDomain(path.to_owned()))?;
    let registers = domain.get(RTMRS_AT..).unwrap_or_default().chunks_exact(48);
    Ok((0..4).zip(registers).map(|(number, value)| (Register::Rtmr(number), Hash::Sha384, value.to_vec())).collect())
}
