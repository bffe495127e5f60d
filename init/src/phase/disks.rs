//! Which disk or partition policy means. Tables are the host's word; what is found must prove itself later.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kernel::block::{Access, DIRECT_ALIGN, Device, Disk, disks};
use kernel::uevent::Uevents;
use ondisk::Guid;
use ondisk::cmdline::DiskSelector;
use ondisk::gpt::{self, Partition};

use crate::journal::step;
use crate::watchdog;

/// How long a disk may take to appear. Controllers are probed when their module loads, so this is for slow ones.
const APPEAR: Duration = Duration::from_secs(10);
/// How often the console says what is awaited.
const REPORT: Duration = Duration::from_secs(5);
/// The first bytes of a disk with the table's header: sector 0 and 1 of 512 or 4,096 bytes.
const TABLE_BYTES: usize = 2 * DIRECT_ALIGN;

/// A disk or partition that policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its node.
    pub(crate) path: PathBuf,
    /// `major:minor`.
    pub(crate) number: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("disk")]
    Kernel(#[source] kernel::Error),
    #[error("{0} did not appear")]
    Missing(String),
    #[error("{0} is there more than once")]
    Ambiguous(String),
    #[error("partition table of {0}")]
    Table(String, #[source] gpt::Error),
    #[error("{0} is not where the kernel's partition is")]
    Disagree(String),
}

/// What is looked for.
pub(crate) enum Wanted<'a> {
    Serial(&'a str),
    Uuid(Guid),
    Label(&'a str),
}

impl<'a> From<&'a DiskSelector> for Wanted<'a> {
    fn from(selector: &'a DiskSelector) -> Self {
        match selector {
            DiskSelector::Serial(serial) => Self::Serial(serial.as_str()),
            DiskSelector::PartUuid(uuid) => Self::Uuid(*uuid),
            DiskSelector::PartLabel(label) => Self::Label(label.as_str()),
        }
    }
}

impl std::fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial(serial) => write!(f, "disk with serial {serial}"),
            Self::Uuid(uuid) => write!(f, "partition {uuid}"),
            Self::Label(label) => write!(f, "partition labelled {label}"),
        }
    }
}

/// Runs `look` now and after every announcement of the kernel until it finds something, for at most ten seconds.
///
/// # Errors
/// What `look` says; [`Error::Missing`] with `what` when time is up.
pub(crate) fn wait_for<T>(what: &impl std::fmt::Display, look: impl Fn(&[Disk]) -> Result<Option<T>, Error>) -> Result<T, Error> {
    let uevents = Uevents::open().map_err(Error::Kernel)?; // before the first look, so that nothing falls between
    let deadline = Instant::now() + APPEAR;
    loop {
        if let Some(found) = look(&disks().map_err(Error::Kernel)?)? {
            step(format_args!("{what}: found"));
            return Ok(found);
        }
        watchdog::alive();
        if uevents.wait(deadline.min(Instant::now() + REPORT)).map_err(Error::Kernel)? {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Missing(what.to_string()));
        }
        log::info!("waiting for the {what}; {} s left", left.as_secs());
    }
}

/// The one place on `disks` that is `wanted`.
///
/// # Errors
/// [`Error::Ambiguous`] when two are: a host that clones a disk may not choose which is taken.
pub(crate) fn find(disks: &[Disk], wanted: &Wanted<'_>) -> Result<Option<Place>, Error> {
    let mut found = Vec::new();
    for disk in disks {
        match wanted {
            Wanted::Serial(serial) if disk.serial.as_deref() == Some(serial) => found.push(whole(disk)?),
            Wanted::Serial(_) => {}
            Wanted::Uuid(uuid) => found.extend(partitions(disk, |partition| partition.uuid == *uuid)?),
            Wanted::Label(label) => found.extend(partitions(disk, |partition| partition.label == *label)?),
        }
    }
    if found.len() > 1 {
        return Err(Error::Ambiguous(wanted.to_string()));
    }
    Ok(found.pop())
}

fn whole(disk: &Disk) -> Result<Place, Error> {
    Ok(Place { path: disk.path(), number: disk.number().map_err(Error::Kernel)?, bytes: disk.bytes })
}

/// The partitions of `disk` that `matches`, as our own reading of the table has them and the kernel agrees.
fn partitions(disk: &Disk, matches: impl Fn(&Partition) -> bool) -> Result<Vec<Place>, Error> {
    if disk.bytes < u64::try_from(TABLE_BYTES).unwrap_or(u64::MAX) || !matches!(disk.block, 512 | 4096) {
        return Ok(Vec::new());
    }
    let device = Device::open(&disk.path(), Access::Read).map_err(Error::Kernel)?;
    let Some(table) = read_table(&device, disk)? else {
        return Ok(Vec::new()); // a disk without a table is not an error: it is another disk
    };
    let known = disk.partitions().map_err(Error::Kernel)?;
    let sector = u64::from(disk.block);
    let mut places = Vec::new();
    for partition in table.iter().filter(|partition| matches(partition)) {
        let (start, bytes) = (partition.first.saturating_mul(sector), partition.sectors().saturating_mul(sector));
        let kernels = known.iter().find(|known| known.start == start && known.bytes == bytes);
        let kernels = kernels.ok_or_else(|| Error::Disagree(format!("partition {} of {}", partition.number, disk.name)))?;
        places.push(Place { path: PathBuf::from(format!("/dev/{}", kernels.name)), number: kernels.number.clone(), bytes });
    }
    Ok(places)
}

fn read_table(device: &Device, disk: &Disk) -> Result<Option<Vec<Partition>>, Error> {
    let wrong = |error| Error::Table(disk.name.clone(), error);
    let sector = usize::try_from(disk.block).unwrap_or(DIRECT_ALIGN);
    let start = device.read(0, TABLE_BYTES).map_err(Error::Kernel)?;
    let Some(lba1) = start.get(sector..2 * sector) else { return Ok(None) };
    if !lba1.starts_with(b"EFI PART") {
        return Ok(None);
    }
    let header = gpt::Header::parse(lba1, disk.bytes / u64::from(disk.block)).map_err(wrong)?;
    let (offset, length) = header.entries_range();
    // Direct reads are aligned; the table need not be.
    let align = u64::try_from(DIRECT_ALIGN).unwrap_or(u64::MAX);
    let skip = usize::try_from(offset % align).unwrap_or(0);
    let bytes = device.read(offset - offset % align, (skip + length).next_multiple_of(DIRECT_ALIGN)).map_err(Error::Kernel)?;
    let entries = bytes.get(skip..skip + length).unwrap_or_default();
    header.partitions(entries).map(Some).map_err(wrong)
}
