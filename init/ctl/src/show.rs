//! Output: results and JSON on stdout, explanations on stderr.

use std::io::{self, Write as _};
use std::process::ExitCode;

use ctl::Failure;
use ctl::keys::Answers;
use ctl::promote::Promoted;
use ctl::provision::Provisioned;
use encoding::hex;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::run::Error;

pub(crate) fn lines(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    out.flush()
}

/// Prints JSON in ASCII: parts of it may come from a node or a file and contain control characters.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    lines(&[ctl::escape(&format!("{value:#}"))])
}

pub(crate) fn provisioned(done: &Provisioned) -> io::Result<()> {
    let mut err = io::stderr().lock();
    for holder in &done.vaults {
        let (node, expiry) = (&holder.node, date(holder.expires_at));
        let advisories =
            if node.advisories().is_empty() { String::new() } else { format!(" ({})", node.advisories().join(", ")) };
        writeln!(err, "{}: tcb {}{advisories}, share until {expiry}", node.address, node.status())?;
    }
    for holder in &done.vaults {
        if let Some(end) = holder.end_despite_clock() {
            let (seconds, way) = (holder.clock_ahead.unsigned_abs(), if holder.clock_ahead < 0 { "behind" } else { "ahead of" });
            let (address, end) = (&holder.node.address, date(end));
            writeln!(
                err,
                "warning: {address}: its clock is {seconds} s {way} this machine's; the share ends at {end} by this machine's"
            )?;
        }
    }
    for platform in done.shared_platforms() {
        writeln!(err, "warning: platform {} holds more than one share", hex::encode(platform))?;
    }
    writeln!(err, "{}: {} of {} shares make the key", done.handle, done.threshold, done.vaults.len())
}

pub(crate) fn promoted(outcomes: &[Result<Promoted, Failure>], json: bool) -> io::Result<()> {
    let printed = outcomes.iter().map(|outcome| {
        let version =
            |done: &Promoted| (vec![format!("policy version {}", done.version)], json!({ "policy_version": done.version }));
        outcome.as_ref().map(|done| (done.vault.as_str(), version(done)))
    });
    print_answers(printed.collect(), json)
}

/// Prints the answers: lines on stdout and failures on stderr, or one JSON object on stdout.
pub(crate) fn answers<T>(
    answers: &Answers<T>,
    json: bool,
    line: impl Fn(&T) -> Vec<String>,
    value: impl Fn(&T) -> Value,
) -> Result<ExitCode, Error> {
    let printed =
        answers.iter().map(|answer| answer.as_ref().map(|(node, answer)| (node.address.as_str(), (line(answer), value(answer)))));
    print_answers(printed.collect(), json)?;
    Ok(exit_code(answers))
}

/// Success if every vault answered.
pub(crate) fn exit_code<T>(answers: &Answers<T>) -> ExitCode {
    if answers.iter().all(Result::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Printed<'a> = Result<(&'a str, (Vec<String>, Value)), &'a Failure>;

fn print_answers(answers: Vec<Printed<'_>>, as_json: bool) -> io::Result<()> {
    if as_json {
        let one = |answer: Printed<'_>| match answer {
            Ok((address, (_, value))) => json!({ "address": address, "answer": value }),
            Err(failure) => json!({ "address": failure.vault, "error": failure.reason() }),
        };
        return json(&json!({ "vaults": answers.into_iter().map(one).collect::<Vec<_>>() }));
    }
    for answer in answers {
        match answer {
            Ok((address, (text, _))) if text.is_empty() => lines(&[format!("{address}: none")])?,
            Ok((address, (text, _))) => lines(&text.iter().map(|line| format!("{address}: {line}")).collect::<Vec<_>>())?,
            Err(failure) => problem(&[failure.to_string()])?,
        }
    }
    Ok(())
}

pub(crate) fn problem(lines: &[String]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    lines.iter().try_for_each(|line| writeln!(err, "{line}"))
}

/// RFC 3339, or Unix seconds if the year has more than four digits.
pub(crate) fn date(unix_seconds: u64) -> String {
    let time = i64::try_from(unix_seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| unix_seconds.to_string())
}
