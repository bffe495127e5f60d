//! The superblock of dm-integrity, and the capacity of a device under it.
//!
//! The kernel maps as many sectors as the superblock has. It refuses to open a device without room for them, and raises the number after
//! opening when the device has room for more. A disk that the host enlarged and made smaller again opens only when the number is set to
//! the capacity of the device before.
//!
//! The superblock is not authenticated: the host can write any number. Mapped sectors that were never written cannot be read, and a file
//! system refuses to be mounted on less than its size.
//!
//! Source: drivers/md/dm-integrity.c of Linux 6.12 (`struct superblock`, `calculate_journal_section_size`,
//! `calculate_device_limits`, `get_provided_data_sectors`).

use encoding::fields::{le_u16, le_u32, le_u64};

/// The size of the superblock's block, in bytes: the kernel reads and writes it at once.
pub const SUPERBLOCK_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"integrt\0";
const PROVIDED: std::ops::Range<usize> = 16..24;
const SECTOR: u64 = 512;

/// `SB_SECTORS`, `JOURNAL_BLOCK_SECTORS`, `METADATA_PADDING_SECTORS`.
const EIGHT_SECTORS: u64 = 8;
/// The size of the entries of one journal section, in bytes.
pub const ENTRIES_BYTES: usize = 4096;
/// The kernel's largest default journal (`DEFAULT_MAX_JOURNAL_SECTORS`), in bytes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// The size of a journal sector without its commit ID, in bytes.
const JOURNAL_SECTOR_BYTES: u64 = SECTOR - 8;
/// `SB_FLAG_HAVE_JOURNAL_MAC`, and the size of the MAC in each journal sector.
const JOURNAL_MAC: u32 = 1;
const JOURNAL_MAC_BYTES: u64 = 8;
/// `SB_FLAG_FIXED_PADDING`: without this flag, tags are padded to 128 KiB.
const FIXED_PADDING: u32 = 8;

/// The fields of a superblock that determine the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    provided: u64,
    tag_bytes: u64,
    journal_sections: u64,
    log2_interleave: u8,
    log2_block_sectors: u8,
    flags: u32,
}

impl Superblock {
    /// Parses a superblock; `None` without one, and for one that the kernel would refuse.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [version, log2_interleave] = encoding::fields::array(bytes, 8)?;
        let superblock = Self {
            provided: le_u64(bytes, PROVIDED.start)?,
            tag_bytes: le_u16(bytes, 10)?.into(),
            journal_sections: le_u32(bytes, 12)?.into(),
            log2_interleave,
            log2_block_sectors: *bytes.get(28)?,
            flags: le_u32(bytes, 24)?,
        };
        let known = bytes.starts_with(MAGIC) && (1..=6).contains(&version);
        let laid_out = (3..=31).contains(&log2_interleave) && superblock.log2_block_sectors <= 3;
        (known && laid_out && superblock.tag_bytes > 0 && superblock.journal_sections > 0).then_some(superblock)
    }

    /// Returns the number of mapped sectors of 512 bytes.
    #[must_use]
    pub const fn provided(&self) -> u64 {
        self.provided
    }

    /// Returns the length of superblock and journal, in bytes.
    #[must_use]
    pub fn journal_end(&self) -> u64 {
        self.initial_sectors().saturating_mul(SECTOR)
    }

    /// Returns the offset of the entries ([`ENTRIES_BYTES`]) of each journal section, in bytes from the superblock. `None` for a journal
    /// that is larger than the kernel's default.
    #[must_use]
    pub fn journal_sections(&self) -> Option<impl Iterator<Item = u64> + use<>> {
        let (first, section) = (EIGHT_SECTORS * SECTOR, self.section_sectors() * SECTOR);
        (self.journal_end() <= JOURNAL_BYTES_MAX + first)
            .then(|| (0..self.journal_sections).map(move |number| first + number * section))
    }

    /// Whether the `entries` of one section contain a sector from `capacity` on: the kernel drops such an entry when it replays the
    /// journal of a smaller device. An entry that was replayed already may still be in the journal.
    #[must_use]
    pub fn reaches(&self, entries: &[u8], capacity: u64) -> bool {
        let size = usize::try_from(self.entry_bytes()).unwrap_or(usize::MAX);
        let count = usize::try_from(self.entries_in_sector()).unwrap_or(0);
        let sectors = entries.chunks(512).flat_map(|sector| sector.chunks(size).take(count));
        // `journal_entry_is_unused`: all bits of the upper half are set.
        sectors.filter_map(|entry| le_u64(entry, 0)).any(|sector| sector >> 32 != u64::from(u32::MAX) && sector >= capacity)
    }

    /// Returns the capacity of a device of `device` sectors of which the first `start` are not used: mapped sectors of 512 bytes, a
    /// multiple of 8.
    #[must_use]
    pub fn capacity(&self, start: u64, device: u64) -> u64 {
        let mut capacity = 0;
        for bit in (3..64).rev() {
            let more = capacity | 1 << bit;
            if self.end_of(start, more).is_some_and(|end| end <= device) {
                capacity = more;
            }
        }
        capacity
    }

    /// Returns the sector of the device for a mapped sector, where the first `start` sectors are not used; `None` on overflow.
    #[must_use]
    pub fn place(&self, start: u64, sector: u64) -> Option<u64> {
        self.end_of(start, sector.checked_add(1)?)?.checked_sub(1)
    }

    fn initial_sectors(&self) -> u64 {
        EIGHT_SECTORS + self.section_sectors() * self.journal_sections
    }

    fn section_sectors(&self) -> u64 {
        ((self.entries_in_sector() * EIGHT_SECTORS) << self.log2_block_sectors) + EIGHT_SECTORS
    }

    fn entry_bytes(&self) -> u64 {
        (8 + (8 << self.log2_block_sectors) + self.tag_bytes).next_multiple_of(8)
    }

    fn entries_in_sector(&self) -> u64 {
        let mac = if self.flags & JOURNAL_MAC == 0 { 0 } else { JOURNAL_MAC_BYTES };
        (JOURNAL_SECTOR_BYTES - mac) / self.entry_bytes()
    }

    /// Returns the end of `sectors` mapped sectors, in sectors from the start of the device.
    fn end_of(&self, start: u64, sectors: u64) -> Option<u64> {
        let padding = if self.flags & FIXED_PADDING == 0 { SECTOR << EIGHT_SECTORS } else { EIGHT_SECTORS * SECTOR };
        let tags = self.tag_bytes << (self.log2_interleave - self.log2_block_sectors);
        let run = tags.next_multiple_of(padding) / SECTOR;
        let last = sectors.checked_sub(1)?;
        let runs = (last >> self.log2_interleave).checked_add(1)?.checked_mul(run)?;
        last.checked_add(runs)?.checked_add(self.initial_sectors())?.checked_add(start)?.checked_add(1)
    }
}

/// Sets the number of mapped sectors in `block`, which contains a superblock.
pub fn set_provided(block: &mut [u8], sectors: u64) {
    if let Some(field) = block.get_mut(PROVIDED) {
        field.copy_from_slice(&sectors.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The kernel's layout of a disk that cvm-init formats: blocks of 8 sectors, areas of 32,768 sectors.
    fn block(tag_bytes: u16, journal_sections: u32, provided: u64) -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        (bytes[8], bytes[9]) = (4, 15);
        bytes[10..12].copy_from_slice(&tag_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&journal_sections.to_le_bytes());
        bytes[24..28].copy_from_slice(&FIXED_PADDING.to_le_bytes());
        bytes[28] = 3;
        set_provided(&mut bytes, provided);
        bytes
    }

    #[test]
    fn superblocks_that_the_kernel_refuses_are_refused() {
        let good = block(32, 3, 96736);
        assert_eq!(Superblock::parse(&good).unwrap().provided(), 96736);
        for (at, value) in [(0, b'I'), (8, 0), (8, 7), (9, 2), (9, 32), (10, 0), (12, 0), (28, 4)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert_eq!(Superblock::parse(&bytes), None, "byte {at}");
        }
        assert_eq!(Superblock::parse(&good[..28]), None);
    }

    #[test]
    fn capacity_is_what_linux_6_12_maps() {
        // Seen in QEMU, on disks that cvm-init formatted with hmac-sha256 at 160 MiB and at 512 MiB: journal sections of the superblock,
        // size of the device in bytes, mapped bytes.
        let seen = [
            (9, 167_772_160, 148_594_688),
            (9, 268_435_456, 248_471_552),
            (9, 671_088_640, 0x0013_4fb0 * SECTOR),
            (31, 536_870_912, 511_836_160),
            (31, 3_226_517_504, 3_180_642_304),
        ];
        for (sections, device, mapped) in seen {
            let superblock = Superblock::parse(&block(32, sections, 0)).unwrap();
            assert_eq!(superblock.capacity(32768, device / SECTOR) * SECTOR, mapped, "{device}");
        }
    }

    #[test]
    fn entries_beyond_the_capacity_are_found() {
        let superblock = Superblock::parse(&block(32, 9, 0)).unwrap();
        // 104 bytes an entry, four in a sector; 264 sectors a section.
        assert_eq!(superblock.journal_sections().unwrap().collect::<Vec<_>>()[..3], [4096, 139_264, 274_432]);
        let mut entries = vec![0xff; ENTRIES_BYTES];
        assert!(!superblock.reaches(&entries, 0));
        // Bytes after the four entries of a sector are not an entry.
        entries[416..424].copy_from_slice(&99_u64.to_le_bytes());
        assert!(!superblock.reaches(&entries, 0));
        entries[512 + 104..512 + 112].copy_from_slice(&99_u64.to_le_bytes());
        assert!(superblock.reaches(&entries, 99) && !superblock.reaches(&entries, 100));
        assert!(Superblock::parse(&block(32, 600, 0)).unwrap().journal_sections().is_none());
    }

    proptest! {
        #[test]
        fn capacity_is_the_most_that_fits_and_grows_with_the_device(
            tag in 1_u16..200, sections in 1_u32..5000, start in 0_u64..100_000, device: u64, more in 0_u64..1 << 40
        ) {
            let superblock = Superblock::parse(&block(tag, sections, 0)).unwrap();
            let capacity = superblock.capacity(start, device);
            prop_assert!(capacity == 0 || superblock.end_of(start, capacity).unwrap() <= device);
            prop_assert!(superblock.end_of(start, capacity + 8).is_none_or(|end| end > device));
            prop_assert!(superblock.capacity(start, device.saturating_add(more)) >= capacity);
        }

        #[test]
        fn hostile_superblocks_are_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..64), device: u64) {
            let mut bytes = bytes;
            if bytes.len() >= 8 {
                bytes[..8].copy_from_slice(MAGIC);
            }
            if let Some(superblock) = Superblock::parse(&bytes) {
                prop_assert!(superblock.capacity(32768, device) < device.max(1));
                let _dropped = superblock.reaches(&[7; ENTRIES_BYTES], 1);
            }
        }
    }
}
