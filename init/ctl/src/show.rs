//! What is told: words and JSON on stdout, everything for people on stderr.

use std::io::{self, Write as _};

use cvmctl::Failure;
use cvmctl::promote::Promoted;
use cvmctl::provision::Provisioned;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) fn lines(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    out.flush()
}

pub(crate) fn json(value: &Value) -> io::Result<()> {
    lines(&[format!("{value:#}")])
}

pub(crate) fn provisioned(done: &Provisioned) -> io::Result<()> {
    let mut err = io::stderr().lock();
    for holder in &done.vaults {
        let (node, expiry) = (&holder.node, date(holder.expires_at));
        let advisories =
            if node.advisories().is_empty() { String::new() } else { format!(" ({})", node.advisories().join(", ")) };
        writeln!(err, "{}: tcb {}{advisories}, share until {expiry}", node.address, node.status())?;
    }
    for platform in done.shared_platforms() {
        writeln!(err, "warning: platform {} holds more than one share", hex::encode(platform))?;
    }
    writeln!(err, "{}: {} of {} shares make the key", done.handle, done.threshold, done.vaults.len())
}

pub(crate) fn promoted(outcomes: &[Result<Promoted, Failure>]) -> io::Result<()> {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    for outcome in outcomes {
        match outcome {
            Ok(done) => writeln!(out, "{}: policy version {}", done.vault, done.version)?,
            Err(failure) => writeln!(err, "{failure}")?,
        }
    }
    out.flush()
}

pub(crate) fn problem(lines: &[String]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    lines.iter().try_for_each(|line| writeln!(err, "{line}"))
}

/// RFC 3339, or the seconds themselves where the calendar ends.
fn date(unix_seconds: u64) -> String {
    let time = i64::try_from(unix_seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| unix_seconds.to_string())
}
