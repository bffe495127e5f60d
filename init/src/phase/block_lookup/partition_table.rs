//! Reads the partition table of one disk. The host controls it: a name in it only decides where to look.

use linux::block::{Access, DIRECT_ALIGN, Device, Disk};
use ondisk::gpt::{self, Partition};

/// The bytes read first: sector 1, which contains the header, ends here for sectors of 512 and of 4,096 bytes.
const START_BYTES: usize = 2 * DIRECT_ALIGN;
/// The first bytes of a header.
const SIGNATURE: &[u8] = b"EFI PART";

/// A table that passed all rules of `ondisk::gpt`.
#[derive(Debug)]
pub(super) struct PartitionTable {
    /// The sector size that the table was made for, in bytes. The kernel reads a table only if this is the disk's own.
    pub(super) sector_bytes: u32,
    /// The used entries, in the order of the table.
    pub(super) partitions: Vec<Partition>,
}

/// Why a disk cannot be searched for partitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// The disk cannot be opened or read.
    #[error("{0}")]
    Unreadable(#[from] linux::Error),
    /// It has a table, or sectors, that the rules refuse.
    #[error("partition table: {0}")]
    Damaged(#[from] gpt::Error),
    /// It has a valid table that the kernel cannot use.
    #[error("partition table for {table}-byte sectors on a disk with {disk}-byte sectors")]
    SectorSize {
        /// The sector size of the table.
        table: u32,
        /// The sector size of the disk.
        disk: u32,
    },
}

/// Reads the table of `disk`; `None` when it has none.
///
/// A table for the other sector size is read as well: an image with 512-byte sectors on a disk with 4,096-byte sectors has its
/// header at byte 512, and the kernel sees no partition on it.
pub(super) fn read(disk: &Disk) -> Result<Option<PartitionTable>, Problem> {
    // Before the size check: a disk without a medium has no size, and only opening it gives the reason.
    let device = Device::open(&disk.path(), Access::Read)?;
    if disk.bytes < u64::try_from(START_BYTES).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    let sizes = match disk.block {
        512 => [512, 4096],
        4096 => [4096, 512],
        _ => return Err(gpt::Error::SectorSize.into()),
    };
    let start = device.read(0, START_BYTES)?;
    // The disk's own sector size first: the rest of an older table may stand at the other.
    for sector in sizes {
        let lba1 = start.get(sector..2 * sector).filter(|lba1| lba1.starts_with(SIGNATURE));
        if let Some(lba1) = lba1 {
            return read_behind_header(&device, lba1, disk.bytes).map(Some);
        }
    }
    Ok(None)
}

fn read_behind_header(device: &Device, lba1: &[u8], disk_bytes: u64) -> Result<PartitionTable, Problem> {
    let sector = u64::try_from(lba1.len()).map_err(|_| gpt::Error::SectorSize)?;
    let header = gpt::Header::parse(lba1, disk_bytes.checked_div(sector).unwrap_or(0))?;
    let (offset, length) = header.entries_range();
    // Direct reads must be aligned; the entries need not be.
    let align = u64::try_from(DIRECT_ALIGN).unwrap_or(u64::MAX);
    let skip = usize::try_from(offset % align).unwrap_or(0);
    let bytes = device.read(offset - offset % align, (skip + length).next_multiple_of(DIRECT_ALIGN))?;
    let entries = bytes.get(skip..skip + length).unwrap_or_default();
    Ok(PartitionTable { sector_bytes: header.sector_size(), partitions: header.partitions(entries)? })
}
