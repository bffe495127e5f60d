//! A disk image: what its partition table measures, and what firmware starts from its EFI system partition.

use std::io::{Read, Seek, SeekFrom};

use eventlog::pe;
use ondisk::gpt::{Header, Partition};

use crate::esp::Esp;
use crate::{Error, Event, Prediction, SecureBoot, firmware_begins, firmware_ends, grub, uki};

/// Images have sectors of this size: firmware reads them on any disk.
const SECTOR: usize = 512;
/// The type of an EFI system partition.
const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// What firmware starts from a disk that nothing else is said of.
pub(crate) const FIRST: &str = "EFI/BOOT/BOOTX64.EFI";

/// How an image boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Firmware, one unified kernel image of systemd-stub.
    Uki,
    /// Firmware, shim, GRUB, kernel.
    Grub,
}

/// What a machine measures that starts from this image, and how it boots: told by its first program.
///
/// The disk must be as large as the image: who writes it to a larger one and moves the second partition table changes the first, and RTMR1.
///
/// # Errors
/// When something cannot be read, or is not known here.
pub fn image<D: Read + Seek>(mut disk: D, secure_boot: SecureBoot) -> Result<(Chain, Prediction), Error> {
    let (table, partitions) = table(&mut disk)?;
    let sector = u64::try_from(SECTOR).unwrap_or(512);
    let mut esps = partitions.iter().filter(|partition| partition.kind.to_string() == ESP);
    let esp = match (esps.next(), esps.next()) {
        (Some(esp), None) => esp,
        (first, _) => return Err(Error::Esp(if first.is_some() { 2 } else { 0 })),
    };
    let esp = Esp::open(disk, esp.first * sector, esp.sectors() * sector)?;
    let first = esp.read(FIRST)?;
    let sections = pe::sections(&first).map_err(|error| Error::Program(FIRST.to_owned(), error))?;
    let has = |name: &[u8]| sections.iter().any(|section| section.name == name);

    let mut events = firmware_begins();
    events.push(Event::new(5, "the disk's partition table", table));
    events.push(Event::program(4, FIRST, &first)?);
    let chain = if has(b".linux") {
        events.extend(uki::events(&sections, &esp, secure_boot)?);
        Chain::Uki
    } else if has(b".vendor_cert") {
        events.extend(grub::events(&sections, &esp, secure_boot)?);
        Chain::Grub
    } else {
        return Err(Error::Unknown(FIRST.to_owned()));
    };
    events.extend(firmware_ends());
    Ok((chain, Prediction(events)))
}

/// `UEFI_GPT_DATA`: the header, the number of partitions, their entries; and the partitions themselves.
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

    // UEFI's header has 92 bytes; what else a table may say of its own length is not what edk2 measures.
    let (entry_chunks, _) = entries.as_chunks::<128>();
    let used: Vec<&[u8; 128]> = entry_chunks.iter().filter(|entry| entry.iter().take(16).any(|byte| *byte != 0)).collect();
    let mut data: Vec<u8> = first.iter().take(92).copied().collect();
    data.extend(u64::try_from(used.len()).unwrap_or(u64::MAX).to_le_bytes());
    data.extend(used.into_iter().flatten());
    Ok((data, partitions))
}
