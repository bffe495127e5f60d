//! The GUID partition table (GPT).
//!
//! Parsing has two steps, so that the caller reads bounded buffers: the header contains offset and number of the entries, the entries
//! contain the partitions. Only the primary table is read. The backup is no help against a bad primary table, since the host wrote both.

pub(crate) mod crc;
#[cfg(test)]
mod tests;

use encoding::fields;
use uuid::Uuid;

/// The most entries of a table: twice the usual number.
const MOST_ENTRIES: u16 = 256;

/// The supported size of an entry, in bytes.
const ENTRY_LEN: u16 = 128;

/// Why a partition table is refused. Partitions are numbered from 1, as in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a sector of 512 or 4096 bytes.
    #[error("a sector is neither 512 nor 4096 bytes")]
    SectorSize,
    /// It does not start with `EFI PART`.
    #[error("no gpt signature")]
    Signature,
    /// Not revision 1.0.
    #[error("revision is not 1.0")]
    Revision,
    /// The header does not have 92 to 512 bytes.
    #[error("header size is not 92 to 512 bytes")]
    HeaderSize,
    /// The header was changed or damaged.
    #[error("header checksum does not match")]
    HeaderChecksum,
    /// The reserved field is not zero, or the header belongs to another sector.
    #[error("header is not that of sector 1")]
    HeaderLba,
    /// The usable sectors are not between the two tables, on the disk.
    #[error("usable sectors are not between the tables")]
    UsableRange,
    /// No entry, or more than 256.
    #[error("number of entries is not 1 to {MOST_ENTRIES}")]
    EntryCount,
    /// Entries are not of 128 bytes.
    #[error("entry size is not {ENTRY_LEN}")]
    EntrySize,
    /// The entries are not between the header and the first usable sector.
    #[error("entries are not between the header and the first usable sector")]
    EntriesLba,
    /// The caller passed another number of bytes than the header has.
    #[error("entries do not have the length of the header")]
    EntriesLength,
    /// The entries were changed or damaged.
    #[error("checksum of the entries does not match")]
    EntriesChecksum,
    /// A partition ends before it starts or leaves the usable sectors.
    #[error("partition {0} is not inside the usable sectors")]
    Outside(u16),
    /// A partition has no identifier, or one that an earlier partition has.
    #[error("partition {0} has no identifier of its own")]
    Identifier(u16),
    /// A label is not UTF-16, or has bytes after its end.
    #[error("partition {0} has a malformed label")]
    Label(u16),
    /// Two partitions share sectors.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u16, u16),
}

/// A valid header that fits its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    sector_size: u32,
    disk: Uuid,
    first_usable: u64,
    last_usable: u64,
    entries_offset: u64,
    entries: u16,
    entries_crc: u32,
}

/// A partition. Sectors have [`Header::sector_size`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The number, from 1, as in the kernel.
    pub number: u16,
    /// The partition type.
    pub kind: Uuid,
    /// The identifier of the partition.
    pub uuid: Uuid,
    /// The first sector.
    pub first: u64,
    /// The last sector.
    pub last: u64,
    /// The label: at most 36 UTF-16 units.
    pub label: String,
}

impl Partition {
    /// Returns the length in sectors; at least 1.
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.last - self.first + 1
    }
}

impl Header {
    /// Parses sector 1 of a disk with `disk_sectors`. `lba1` is the whole sector, so its length is the sector size.
    ///
    /// # Errors
    /// All variants except those about a partition or the bytes of the entries.
    ///
    /// Source: UEFI 2.10, section 5.3.2; little-endian.
    pub fn parse(lba1: &[u8], disk_sectors: u64) -> Result<Self, Error> {
        let sector_size = match lba1.len() {
            512 => 512,
            4096 => 4096,
            _ => return Err(Error::SectorSize),
        };
        check_frame(lba1)?;
        let short = |at| fields::le_u32(lba1, at).ok_or(Error::SectorSize);
        let long = |at| fields::le_u64(lba1, at).ok_or(Error::SectorSize);
        let (my_lba, alternate, first_usable, last_usable, entries_lba) = (long(24)?, long(32)?, long(40)?, long(48)?, long(72)?);
        let entries = entry_count(short(80)?, short(84)?)?;
        if short(20)? != 0 || my_lba != 1 {
            return Err(Error::HeaderLba);
        }
        // On a disk that has grown, the backup table is at the former end: anywhere after the usable sectors.
        if first_usable > last_usable || last_usable >= alternate || alternate >= disk_sectors {
            return Err(Error::UsableRange);
        }
        let length = u64::from(entries) * u64::from(ENTRY_LEN);
        let entries_end = entries_lba.checked_add(length.div_ceil(sector_size.into())).ok_or(Error::EntriesLba)?;
        if entries_lba < 2 || entries_end > first_usable {
            return Err(Error::EntriesLba);
        }
        Ok(Self {
            sector_size,
            disk: Uuid::from_bytes_le(fields::array(lba1, 56).ok_or(Error::SectorSize)?),
            first_usable,
            last_usable,
            entries_offset: entries_lba.checked_mul(sector_size.into()).ok_or(Error::EntriesLba)?,
            entries,
            entries_crc: short(88)?,
        })
    }

    /// Returns the size of a sector: 512 or 4096 bytes.
    #[must_use]
    pub const fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Returns the identifier of the disk.
    #[must_use]
    pub const fn disk(&self) -> Uuid {
        self.disk
    }

    /// Returns offset and length of the entries in bytes: at most 32 KiB, a multiple of 128 bytes.
    #[must_use]
    pub fn entries_range(&self) -> (u64, usize) {
        (self.entries_offset, usize::from(self.entries) * usize::from(ENTRY_LEN))
    }

    /// Parses the bytes of [`Header::entries_range`] and returns the used entries in the order of the table.
    ///
    /// # Errors
    /// The variants about a partition or the bytes of the entries.
    ///
    /// Source: UEFI 2.10, section 5.3.3; little-endian.
    pub fn partitions(&self, entries: &[u8]) -> Result<Vec<Partition>, Error> {
        if entries.len() != self.entries_range().1 {
            return Err(Error::EntriesLength);
        }
        if crc::crc32([entries]) != self.entries_crc {
            return Err(Error::EntriesChecksum);
        }
        let mut partitions: Vec<Partition> = Vec::new();
        for (number, entry) in (1..).zip(entries.chunks_exact(ENTRY_LEN.into())) {
            let Some(partition) = self.partition(number, entry)? else { continue };
            if partition.uuid.is_nil() || partitions.iter().any(|other| other.uuid == partition.uuid) {
                return Err(Error::Identifier(number));
            }
            partitions.push(partition);
        }
        check_apart(&partitions)?;
        Ok(partitions)
    }

    /// Parses one entry; `None` when it is unused.
    fn partition(&self, number: u16, entry: &[u8]) -> Result<Option<Partition>, Error> {
        let guid = |at| fields::array(entry, at).map(Uuid::from_bytes_le).ok_or(Error::EntriesLength);
        let sector = |at| fields::le_u64(entry, at).ok_or(Error::EntriesLength);
        let kind = guid(0)?;
        if kind.is_nil() {
            return Ok(None);
        }
        let (first, last) = (sector(32)?, sector(40)?);
        if first < self.first_usable || last > self.last_usable || first > last {
            return Err(Error::Outside(number));
        }
        let label = entry.get(56..).and_then(label).ok_or(Error::Label(number))?;
        Ok(Some(Partition { number, kind, uuid: guid(16)?, first, last, label }))
    }
}

/// Checks signature, revision, size and checksum of the header.
fn check_frame(lba1: &[u8]) -> Result<(), Error> {
    if !lba1.starts_with(b"EFI PART") {
        return Err(Error::Signature);
    }
    if fields::le_u32(lba1, 8) != Some(0x0001_0000) {
        return Err(Error::Revision);
    }
    let size = fields::le_u32(lba1, 12).and_then(|size| usize::try_from(size).ok()).filter(|size| (92..=512).contains(size));
    let header = size.and_then(|size| lba1.get(..size)).ok_or(Error::HeaderSize)?;
    // The checksum covers the header with its own field as zeros.
    let around = (header.get(..16), header.get(20..));
    let (Some(before), Some(after)) = around else { return Err(Error::HeaderSize) };
    if fields::le_u32(lba1, 16) != Some(crc::crc32([before, &[0; 4], after])) {
        return Err(Error::HeaderChecksum);
    }
    Ok(())
}

fn entry_count(count: u32, size: u32) -> Result<u16, Error> {
    if size != u32::from(ENTRY_LEN) {
        return Err(Error::EntrySize);
    }
    u16::try_from(count).ok().filter(|count| (1..=MOST_ENTRIES).contains(count)).ok_or(Error::EntryCount)
}

fn check_apart(partitions: &[Partition]) -> Result<(), Error> {
    let mut sorted: Vec<_> = partitions.iter().collect();
    sorted.sort_unstable_by_key(|partition| partition.first);
    for (low, high) in sorted.iter().zip(sorted.iter().skip(1)) {
        if low.last >= high.first {
            return Err(Error::Overlap(low.number, high.number));
        }
    }
    Ok(())
}

/// Parses 36 UTF-16 units: the label up to the first NUL, and only NULs after it.
fn label(field: &[u8]) -> Option<String> {
    let (pairs, []) = field.as_chunks::<2>() else { return None };
    let units: Vec<_> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    let (label, rest) = units.split_at_checked(end)?;
    if rest.iter().any(|unit| *unit != 0) {
        return None;
    }
    String::from_utf16(label).ok()
}
