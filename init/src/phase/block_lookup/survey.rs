//! One pass over all disks: which devices have the wanted name, whether they are usable, and which disks cannot be searched.

use linux::block::{Access, Device, Disk};
use ondisk::gpt::Partition;

use super::error::{Error, List};
use super::partition_table::{self, PartitionTable, Problem};
use super::{BlockDevice, DeviceQuery};

/// The most characters of a serial number in an error line.
const SERIAL_CHARACTERS: usize = 64;

/// The result of one pass.
#[derive(Debug)]
pub(super) struct Survey {
    /// The devices that have the wanted name.
    candidates: Vec<Result<BlockDevice, NotReady>>,
    /// Names of the disks that cannot be searched for partitions, with the reason.
    skipped: Vec<(String, Problem)>,
    /// The serial number of each disk, escaped, with the disk's name.
    serials: Vec<String>,
}

/// Why a device with the wanted name cannot be used yet.
#[derive(Debug, Clone)]
pub(super) enum NotReady {
    /// It cannot be opened.
    NotOpen(linux::Error),
    /// The table contains the partition and the kernel does not: number of the partition, name of the disk.
    NotMade(u16, String),
    /// Sector size of the table, name of the disk, sector size of the disk.
    SectorSize(u32, String, u32),
}

impl Survey {
    /// Searches `disks`; reads partition tables only when the query names a partition.
    pub(super) fn take(disks: &[Disk], query: &DeviceQuery<'_>) -> Self {
        let serials = disks.iter().map(|disk| format!("{} ({})", quoted_serial(disk), disk.name)).collect();
        let mut survey = Self { candidates: Vec::new(), skipped: Vec::new(), serials };
        for disk in disks {
            if let DeviceQuery::Serial(serial) = query {
                survey.candidates.extend(disk.has_serial(serial).then(|| whole(disk)));
                continue;
            }
            match partition_table::read(disk) {
                Ok(Some(table)) => survey.add(disk, &table, query),
                Ok(None) => {} // not the disk that the query names
                Err(problem) => survey.skipped.push((disk.name.clone(), problem)),
            }
        }
        survey
    }

    fn add(&mut self, disk: &Disk, table: &PartitionTable, query: &DeviceQuery<'_>) {
        let wanted = |partition: &&Partition| match query {
            DeviceQuery::Serial(_) => false,
            DeviceQuery::Uuid(uuid) => partition.uuid == *uuid,
            DeviceQuery::Label(label) => partition.label == *label,
        };
        let before = self.candidates.len();
        let found = table.partitions.iter().filter(wanted);
        self.candidates.extend(found.map(|partition| of_partition(disk, table.sector_bytes, partition)));
        if self.candidates.len() == before && table.sector_bytes != disk.block {
            let problem = Problem::SectorSize { table: table.sector_bytes, disk: disk.block };
            self.skipped.push((disk.name.clone(), problem));
        }
    }

    /// The one device that the query names.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] when there are two, usable or not: a host that clones a disk must not choose which one is used.
    pub(super) fn outcome(&self, query: &DeviceQuery<'_>) -> Result<BlockDevice, Error> {
        let what = query.to_string();
        match self.candidates.as_slice() {
            [] => Err(self.not_found(what, query)),
            [Ok(device)] => Ok(device.clone()),
            [Err(NotReady::NotOpen(error))] => Err(Error::NotOpen(what, error.clone())),
            [Err(NotReady::NotMade(number, disk))] => Err(Error::Disagree(what, *number, disk.clone())),
            [Err(NotReady::SectorSize(table, name, disk))] => {
                Err(Error::SectorSize { what, table: *table, name: name.clone(), disk: *disk })
            }
            _ => Err(Error::Ambiguous(what)),
        }
    }

    /// The error when no device was found. When all disks that were not searched have the same problem, that problem is the
    /// error, since one of them may contain the partition. A lookup by serial number reads no disk.
    fn not_found(&self, what: String, query: &DeviceQuery<'_>) -> Error {
        if matches!(query, DeviceQuery::Serial(_)) {
            let serials = if self.serials.is_empty() { vec!["none".to_owned()] } else { self.serials.clone() };
            return Error::Missing(what, List::new("; serials seen: ", serials));
        }
        let lines = self.skipped();
        let all = |kind: fn(&Problem) -> bool| !self.skipped.is_empty() && self.skipped.iter().all(|(_, problem)| kind(problem));
        if all(|problem| matches!(problem, Problem::Damaged(_))) {
            Error::Damaged(what, List::new("", lines))
        } else if all(|problem| matches!(problem, Problem::Unreadable(_))) {
            Error::Unreadable(what, List::new("", lines))
        } else {
            Error::Missing(what, List::new("; not searched: ", lines))
        }
    }

    /// Whether a device or a disk may become usable without an event of the kernel.
    pub(super) fn may_change_unannounced(&self) -> bool {
        let candidate = |candidate: &Result<_, NotReady>| match candidate {
            Ok(_) | Err(NotReady::SectorSize(..)) => false,
            Err(NotReady::NotMade(..)) => true,
            Err(NotReady::NotOpen(error)) => error.is_not_ready(),
        };
        let disk = |(_, problem): &(String, Problem)| matches!(problem, Problem::Unreadable(error) if error.is_not_ready());
        self.candidates.iter().any(candidate) || self.skipped.iter().any(disk)
    }

    /// One line for each disk that was not searched.
    pub(super) fn skipped(&self) -> Vec<String> {
        self.skipped.iter().map(|(disk, problem)| format!("{disk}: {problem}")).collect()
    }
}

fn whole(disk: &Disk) -> Result<BlockDevice, NotReady> {
    let number = disk.number().map_err(NotReady::NotOpen)?;
    usable(BlockDevice { path: disk.path(), number, bytes: disk.bytes })
}

/// The partition, if the table as parsed here and the kernel agree on it.
fn of_partition(disk: &Disk, sector_bytes: u32, partition: &Partition) -> Result<BlockDevice, NotReady> {
    if sector_bytes != disk.block {
        return Err(NotReady::SectorSize(sector_bytes, disk.name.clone(), disk.block));
    }
    let known = disk.partitions().map_err(NotReady::NotOpen)?;
    let bytes = |sectors: u64| sectors.saturating_mul(u64::from(sector_bytes));
    let (start, bytes) = (bytes(partition.first), bytes(partition.sectors()));
    let found = known.into_iter().find(|known| known.start == start && known.bytes == bytes);
    let found = found.ok_or_else(|| NotReady::NotMade(partition.number, disk.name.clone()))?;
    usable(BlockDevice { path: found.path, number: found.number, bytes })
}

/// A device can be listed before its node exists or before the driver lets it be opened.
fn usable(device: BlockDevice) -> Result<BlockDevice, NotReady> {
    Device::open(&device.path, Access::Read).map_err(NotReady::NotOpen)?;
    Ok(device)
}

/// The serial number in quotes, escaped and cut, since the host chose it.
fn quoted_serial(disk: &Disk) -> String {
    let Some(serial) = &disk.serial else { return "none".to_owned() };
    let mut quoted = String::new();
    for character in serial.chars() {
        let escaped = character.escape_default();
        if quoted.len() + escaped.len() > SERIAL_CHARACTERS {
            return format!("\"{quoted}\"...");
        }
        quoted.extend(escaped);
    }
    format!("\"{quoted}\"")
}
