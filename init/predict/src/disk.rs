//! Prediction for a disk image: its partition table, and the boot chain on its EFI system partition.

use std::io::{Read, Seek, SeekFrom};

use ondisk::gpt::{Header, Partition};

use crate::chain::{self, Chain};
use crate::esp::Esp;
use crate::{Error, Prediction, SecureBoot};

/// The sector size of images in bytes.
const SECTOR: usize = 512;
/// The type of an EFI system partition.
const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// Predicts the events of a machine that boots from this image. The first program decides which boot chain it is.
///
/// The disk must be as large as the image: moving the backup partition table to the end of a larger disk changes the primary table, and
/// so RTMR1.
///
/// # Errors
/// When the image cannot be read or contains a part that is not predicted.
pub fn image<D: Read + Seek>(mut disk: D, secure_boot: SecureBoot) -> Result<(Chain, Prediction), Error> {
    let (table, partitions) = table(&mut disk)?;
    let sector = u64::try_from(SECTOR).unwrap_or(512);
    let mut esps = partitions.iter().filter(|partition| partition.kind.to_string() == ESP);
    let esp = match (esps.next(), esps.next()) {
        (Some(esp), None) => esp,
        (first, _) => return Err(Error::Esp(if first.is_some() { 2 } else { 0 })),
    };
    let esp = Esp::open(disk, esp.first * sector, esp.sectors() * sector)?;
    chain::events(table, &esp, secure_boot)
}

/// Reads `UEFI_GPT_DATA` (the header, the number of partitions, their entries), and the parsed partitions.
///
/// Source: TCG PC Client Platform Firmware Profile 1.06, section 10.4.4; edk2 `Tcg2MeasureGptTable`.
fn table<D: Read + Seek>(disk: &mut D) -> Result<(Vec<u8>, Vec<Partition>), Error> {
    let bytes = disk.seek(SeekFrom::End(0))?;
    let sector = u64::try_from(SECTOR).unwrap_or(512);
    let mut first = [0; SECTOR];
    disk.seek(SeekFrom::Start(sector))?;
    disk.read_exact(&mut first)?;
    let header = Header::parse(&first, bytes / sector)?;
    let (start, length) = header.entries_range();
    let mut entries = vec![0; length];
    disk.seek(SeekFrom::Start(start))?;
    disk.read_exact(&mut entries)?;
    let partitions = header.partitions(&entries)?;

    // edk2 measures the 92 bytes of `EFI_PARTITION_TABLE_HEADER`, whatever header size the table contains.
    let (entry_chunks, _) = entries.as_chunks::<128>();
    let used: Vec<&[u8; 128]> = entry_chunks.iter().filter(|entry| entry.iter().take(16).any(|byte| *byte != 0)).collect();
    let mut data: Vec<u8> = first.iter().take(92).copied().collect();
    data.extend(u64::try_from(used.len()).unwrap_or(u64::MAX).to_le_bytes());
    data.extend(used.into_iter().flatten());
    Ok((data, partitions))
}
