//! Finds the disk or partition that policy names. The host controls serial numbers and partition tables: the phase that uses the
//! device verifies its content.
//!
//! Only a disk that carries the wanted name can stop the boot. Another disk with a damaged or unreadable partition table is
//! reported and skipped; the error names it when the wanted device is not found.

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

use crate::boot_log::step;
use crate::watchdog;

/// How long a disk may take to appear: some controllers are slow after their module is loaded.
const APPEAR: Duration = Duration::from_secs(10);
/// How often the console reports the wait.
const REPORT: Duration = Duration::from_secs(5);
/// How soon to look again at a device that is listed and not usable yet: the kernel does not announce every change.
const RETRY: Duration = Duration::from_millis(250);
/// The most messages about disks that were not searched: a host can plug and unplug disks all the time.
const REPORTED_MAX: usize = 32;

/// The messages about disks that were not searched, each written once: root and data are looked up in parallel.
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

/// The device to find.
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

/// The deadline of a lookup that begins now.
pub(crate) fn deadline() -> Instant {
    Instant::now() + APPEAR
}

/// Waits until `query` names exactly one usable device.
///
/// # Errors
/// [`Error::Ambiguous`] at once; any other at `deadline`.
pub(crate) fn locate(query: &DeviceQuery<'_>, deadline: Instant) -> Result<BlockDevice, Error> {
    let uevents = Uevents::open().map_err(Error::Kernel)?; // before the first look, so that no event is missed
    look_until(deadline, query, disks, |until| uevents.wait(until).map(drop))
}

/// Looks at the disks of `list`, and again whenever `wait` returns.
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
        // The deadline holds also while events keep coming: a host can cause any number of them.
        if matches!(outcome, Ok(_) | Err(Error::Ambiguous(_))) || now >= deadline {
            report_skipped(&survey);
            step(format_args!("{query}: {}", if outcome.is_ok() { "found" } else { "not found" }));
            return outcome;
        }
        watchdog::keepalive();
        if now >= report_at {
            log::info!("waiting for the {query}; {} s left", deadline.saturating_duration_since(now).as_secs());
            report_at = now + REPORT;
        }
        let again = if survey.may_change_unannounced() { now + RETRY } else { report_at };
        wait(deadline.min(report_at).min(again)).map_err(Error::Kernel)?;
    }
}

/// Warns of the disks that were not searched, when the lookup ends: a disk that was only slow is not reported.
fn report_skipped(survey: &Survey) {
    if let Ok(mut reported) = REPORTED.lock() {
        for line in take_new(&mut reported, survey.skipped()) {
            log::warn!("disk is not searched for partitions: {line}");
        }
    }
}

/// Records `lines` and returns those that are new, up to the limit.
fn take_new(reported: &mut BTreeSet<String>, lines: Vec<String>) -> Vec<String> {
    let mut is_new = |line: &String| reported.len() < REPORTED_MAX && reported.insert(line.clone());
    lines.into_iter().filter(|line| is_new(line)).collect()
}
