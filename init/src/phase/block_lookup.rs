//! Finds the disk or partition that policy names. Serial numbers and partition tables are the host's: what is found is verified
//! by the phase that uses it.
//!
//! Only a disk that carries the wanted name can stop the boot. Another disk with a damaged partition table, or one that cannot
//! be read, is reported and passed over; it is named in the error when the wanted device is not found.

mod error;
mod partition_table;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cmdline::DiskSelector;
use linux::block::{Disk, disks};
use linux::uevent::Uevents;
use uuid::Uuid;

pub(crate) use error::Error;
use survey::Survey;

use crate::journal::step;
use crate::watchdog;

/// How long a disk may take to appear. Controllers are probed when their module loads, so this is for slow ones.
const APPEAR: Duration = Duration::from_secs(10);
/// How often the console says what is awaited.
const REPORT: Duration = Duration::from_secs(5);
/// How soon to look again at a device that is listed and not usable yet: the kernel announces most changes, not all.
const RETRY: Duration = Duration::from_millis(250);
/// The most lines about disks that were not searched: a host can plug and unplug disks all the time.
const REPORTED_MAX: usize = 32;

/// The lines about disks that were not searched. Root and data are looked up at the same time; each line is written once.
static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A disk or partition that policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockDevice {
    /// Its node.
    pub(crate) path: PathBuf,
    /// `major:minor`.
    pub(crate) number: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
}

/// What is looked for.
#[derive(Debug)]
pub(crate) enum DeviceQuery<'a> {
    /// The whole disk with this serial number.
    Serial(&'a str),
    /// The partition with this identifier.
    Uuid(Uuid),
    /// The partition with this label.
    Label(&'a str),
}

impl<'a> From<&'a DiskSelector> for DeviceQuery<'a> {
    fn from(selector: &'a DiskSelector) -> Self {
        match selector {
            DiskSelector::Serial(serial) => Self::Serial(serial.as_str()),
            DiskSelector::PartUuid(uuid) => Self::Uuid(*uuid),
            DiskSelector::PartLabel(label) => Self::Label(label.as_str()),
        }
    }
}

impl std::fmt::Display for DeviceQuery<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial(serial) => write!(f, "disk with serial {serial}"),
            Self::Uuid(uuid) => write!(f, "partition {uuid}"),
            Self::Label(label) => write!(f, "partition labelled {label}"),
        }
    }
}

/// When a lookup that begins now must have found its device.
pub(crate) fn deadline() -> Instant {
    Instant::now() + APPEAR
}

/// Waits until there is one usable device that `query` names.
///
/// # Errors
/// [`Error::Ambiguous`] at once; any other at `deadline`.
pub(crate) fn locate(query: &DeviceQuery<'_>, deadline: Instant) -> Result<BlockDevice, Error> {
    let uevents = Uevents::open().map_err(Error::Kernel)?; // before the first look, so that nothing falls between
    look_until(deadline, query, disks, |until| uevents.wait(until).map(drop))
}

/// Looks at what `list` has, and again whenever `wait` returns.
fn look_until(
    deadline: Instant,
    query: &DeviceQuery<'_>,
    list: impl Fn() -> Result<Vec<Disk>, linux::Error>,
    mut wait: impl FnMut(Instant) -> Result<(), linux::Error>,
) -> Result<BlockDevice, Error> {
    let mut report_at = Instant::now() + REPORT;
    loop {
        let survey = Survey::take(&list().map_err(Error::Kernel)?, query);
        let outcome = survey.outcome(query);
        let now = Instant::now();
        // The deadline counts also when announcements never end: a host can cause as many as it likes.
        if matches!(outcome, Ok(_) | Err(Error::Ambiguous(_))) || now >= deadline {
            report_skipped(&survey);
            step(format_args!("{query}: {}", if outcome.is_ok() { "found" } else { "not found" }));
            return outcome;
        }
        watchdog::alive();
        if now >= report_at {
            log::info!("waiting for the {query}; {} s left", deadline.saturating_duration_since(now).as_secs());
            report_at = now + REPORT;
        }
        let again = if survey.may_change_unannounced() { now + RETRY } else { report_at };
        wait(deadline.min(report_at).min(again)).map_err(Error::Kernel)?;
    }
}

/// Warns of the disks that were not searched when a lookup ends, so that a disk that was only slow is not reported.
fn report_skipped(survey: &Survey) {
    if let Ok(mut reported) = REPORTED.lock() {
        for line in take_new(&mut reported, survey.skipped()) {
            log::warn!("disk is not searched for partitions: {line}");
        }
    }
}

/// Adds `lines` to what was reported and returns those that are new, up to the limit.
fn take_new(reported: &mut BTreeSet<String>, lines: Vec<String>) -> Vec<String> {
    let mut is_new = |line: &String| reported.len() < REPORTED_MAX && reported.insert(line.clone());
    lines.into_iter().filter(|line| is_new(line)).collect()
}
