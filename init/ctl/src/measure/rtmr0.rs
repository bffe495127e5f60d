//! `cvmctl measure rtmr0`: explains RTMR0 of a boot that the operator trusts, or predicts it from a machine's inputs.

mod inputs;
mod report;

use std::path::Path;
use std::process::ExitCode;

use eventlog::ccel::{LOG_MAX, Log};
use predict::rtmr0::{Account, Event, Explained, Machine, Proof};

use crate::args::MeasureRtmr0;
use crate::log::firmware_registers;
use crate::quote::sources::decoded;
use crate::run::Error;
use crate::show;
use inputs::Inputs;
use report::{Report, Source};

/// Explains or predicts. The account goes to stdout, warnings to stderr. Exit code 0 only if the value may be used: the log replays to the
/// quote's RTMR0 and contradicts no input, or all inputs are there.
pub(crate) fn rtmr0(args: &MeasureRtmr0) -> Result<ExitCode, Error> {
    let inputs = Inputs::read(args)?;
    let report = match (&args.log, &args.quote) {
        (Some(log), Some(quote)) => explained(&inputs, log, quote)?,
        _ => predicted(&inputs.machine(None))?,
    };
    if args.json {
        show::json(&report.to_json())?;
    } else {
        show::problem(&report.problems())?;
        show::lines(&report.to_lines())?;
    }
    Ok(if report.is_usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Explains a log, and compares it with the quote and the inputs.
fn explained(inputs: &Inputs, path: &Path, quote: &Path) -> Result<Report, Error> {
    let registers = firmware_registers(quote)?;
    let bytes = inputs::bounded(path, LOG_MAX)?;
    // Attestation evidence contains logs as base64.
    let bytes = if Log::parse(&bytes).is_ok() { bytes } else { decoded(&bytes).unwrap_or(bytes) };
    let log = Log::parse(&bytes).map_err(|source| Error::FirmwareLog { path: path.to_owned(), source })?;
    let found = inputs.memory_in(&log)?;
    let (predicted, _) = inputs.machine(found).events()?;
    let mut account = Account::new(&log, &predicted);
    if inputs.lacks_memory() && found.is_none() {
        account.warnings.push(
            "No size of memory of a q35 machine gives the TD HOB in the log with this firmware: give --memory, or the firmware is \
             another one"
                .to_owned(),
        );
    }
    Ok(Report { account, source: Source::Log(registers) })
}

/// Predicts without a log.
fn predicted(machine: &Machine<'_>) -> Result<Report, Error> {
    let (events, _) = machine.events()?;
    let Some(rtmr0) = machine.rtmr0()? else { return Err(Error::Rtmr0Inputs(inputs::missing(machine)?)) };
    let explain = |event: &Event| Explained {
        kind: event.kind.event_type(),
        digest: event.digest(),
        what: event.what.clone(),
        proof: Proof::Predicted,
    };
    let account = Account {
        rtmr0: Some(rtmr0),
        events: events.iter().map(explain).collect(),
        secure_boot: machine.secure_boot_state()?,
        warnings: vec![
            "No boot was compared with this prediction: compare it with a log and a quote before you use it".to_owned(),
            "Events of firmware since edk2-stable202505 (other files of fw_cfg) and of shim (its lists) are not predicted"
                .to_owned(),
        ],
        missing: Vec::new(),
    };
    Ok(Report { account, source: Source::Prediction })
}
