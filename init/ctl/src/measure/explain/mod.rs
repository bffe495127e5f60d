//! `cvmctl measure explain`: compares the log of a machine with the prediction for its image, and says where they part and why.
//!
//! The log is the host's. Only registers of a quote prove it, and only what a digest covers is proved of a description.

mod cause;
mod compare;
mod report;
mod shape;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use eventlog::ccel::{Kind, Log};
use eventlog::register::Hash;
use predict::{Chain, Prediction};

use super::subject::{self, States};
use crate::args::{Fold, MeasureExplain};
use crate::log::{Logs, Replays, firmware_log, replays_to};
use crate::run::Error;
use crate::show;
use compare::compare;
use report::{Difference, Report};
use shape::{Predictions, Shape};

/// Hash functions with which logs are compared, the best first.
const HASHES: [Hash; 3] = [Hash::Sha384, Hash::Sha256, Hash::Sha512];

/// Compares. Exit code 0 only if every predicted register is equal and the logs replay to the quote.
pub(crate) fn explain(args: &MeasureExplain) -> Result<ExitCode, Error> {
    let logs = Logs::read(&args.logs)?;
    let [bytes] = logs.firmware.as_slice() else { return Err(Error::FirmwareLogs(logs.firmware.len())) };
    // They were read once, so they are a log.
    let log = firmware_log(bytes).map_err(|_| Error::FirmwareLogs(0))?;
    let (chain, states) =
        subject::states_of(args.image.as_deref(), args.kernel.as_deref(), args.initrd.as_deref(), args.cmdline.as_deref())?;
    let expected = Shape {
        state: subject::state(args.secure_boot.state(), args.kernel_signature),
        firmware: args.fold.unwrap_or(if log.kind() == Kind::Cc { Fold::Td } else { Fold::Tpm }).firmware(),
        failed: args.failed_boot_options,
    };
    if !states.iter().any(|(state, _)| *state == expected.state) {
        return Err(Error::KernelSignature { path: args.kernel.clone().or(args.image.clone()).unwrap_or_default() });
    }
    let replays = args.quote.as_deref().map(|quote| replays_to(&logs, quote)).transpose()?;
    let report = of(&log, chain, &states, expected, replays)?;
    if args.json {
        show::json(&report.to_json())?;
    } else {
        show::lines(&report.to_lines())?;
    }
    Ok(if report.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares one log with the prediction in the expected shape and, if they differ, in all others.
fn of(log: &Log<'_>, chain: Chain, states: &States, expected: Shape, replays: Option<Replays>) -> Result<Report, Error> {
    let kind = log.kind();
    let has_kind = if kind == Kind::Cc { expected.firmware.has_cc() } else { expected.firmware.has_tpm() };
    if !has_kind {
        return Err(Error::LogKind(if kind == Kind::Cc { "a TD" } else { "a TPM" }, expected.firmware.name()));
    }
    let is_complete =
        |hash: &Hash| log.events.iter().filter(|event| event.is_extended()).all(|event| event.digest(*hash).is_some());
    let hash = HASHES.into_iter().find(is_complete).ok_or(Error::WeakLog)?;
    let failed = Prediction(Vec::new()).after_failed_boot_options(1);
    let predictions = Predictions::of(states, &failed, |event| event.digest(hash));
    let own = compare(log, kind, hash, &predictions.events(expected, kind));
    let mut report = Report::new(log, kind, chain, expected, replays);
    report.add_registers(&own);
    let Some(first) = own.divergences.first() else { return Ok(report) };
    let mut nearest = None;
    let mut best = own.rank();
    for shape in predictions.shapes(chain, kind, expected) {
        let comparison = compare(log, kind, hash, &predictions.events(shape, kind));
        if comparison.divergences.is_empty() {
            report.fits.push(shape);
        }
        if comparison.rank() > best {
            best = comparison.rank();
            nearest = Some((shape, comparison));
        }
    }
    report.nearest = nearest.as_ref().map(|(shape, _)| *shape);
    report.causes.extend(report.nearest.iter().flat_map(|shape| shape.differences(expected)));
    // Where another shape explains more, what differs from it is the image's.
    let rest = nearest.as_ref().map_or(Some(first), |(_, comparison)| comparison.divergences.first());
    report.causes.extend(rest.map(|rest| cause::of(chain, rest)));
    report.difference = Some(Difference::of(rest.unwrap_or(first), kind, hash));
    Ok(report)
}
