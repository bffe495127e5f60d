//! Records every write and flush of a boot, and replays them up to a simulated power cut.
//!
//! Source of the log's format: QEMU's blklogwrites, which uses that of Linux drivers/md/dm-log-writes.c.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Context, DataDisk, Failure};

/// The unit of offsets in the log, in bytes.
const SECTOR: u64 = 512;
/// `WRITE_LOG_MAGIC`.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// `LOG_FLUSH_FLAG`, `LOG_FUA_FLAG`, `LOG_DISCARD_FLAG`.
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// The log of a boot.
pub(crate) struct Log {
    file: PathBuf,
    entries: Vec<Entry>,
}

/// One write or flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Offset of its data in the log, in bytes.
    data: u64,
    /// Offset of the write on the disk, in bytes.
    offset: u64,
    length: u64,
    flags: u64,
}

impl Log {
    /// Creates an empty log in `folder`.
    ///
    /// # Errors
    /// The file system refuses it.
    pub(crate) fn file_in(folder: &Path) -> Result<PathBuf, Failure> {
        let file = folder.join("writes.log");
        File::create(&file).context("creating the log of writes")?;
        Ok(file)
    }

    /// Reads a complete log.
    ///
    /// # Errors
    /// The file is not a complete log.
    pub(crate) fn read(file: PathBuf) -> Result<Self, Failure> {
        let (log, length) =
            (File::open(&file).context("opening the log")?, fs::metadata(&file).context("reading the size of the log")?.len());
        let number = |at: u64| {
            let mut bytes = [0; 8];
            log.read_exact_at(&mut bytes, at).context("reading the log").map(|()| u64::from_le_bytes(bytes))
        };
        if number(0)? != MAGIC {
            return Err(Failure("the file is not a log of writes: wrong magic number".to_owned()));
        }
        let (mut entries, mut at) = (Vec::new(), SECTOR);
        for _ in 0..number(16)? {
            let [sector, sectors, flags] = [number(at)?, number(at + 8)?, number(at + 16)?];
            let entry = Entry { data: at + SECTOR, offset: sector * SECTOR, length: sectors * SECTOR, flags };
            at = entry.data + if flags & DISCARD == 0 { entry.length } else { 0 };
            entries.push(entry);
        }
        if at > length {
            return Err(Failure(format!("expected a log of writes of {at} bytes, found {length}")));
        }
        Ok(Self { file, entries })
    }

    /// The number of entries.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries were complete when the log's file had this length.
    #[must_use]
    pub(crate) fn entries_at(&self, length: u64) -> usize {
        self.entries.iter().position(|entry| entry.data > length).unwrap_or(self.entries.len())
    }

    /// Changes `disk`, which is as before the recorded boot, to a state that a power cut before the entry `cut` can leave: every
    /// flushed write, and of each later one all, nothing or its first sectors, by `random`.
    ///
    /// # Errors
    /// The file system refuses it.
    pub(crate) fn replay(&self, disk: &DataDisk, cut: usize, random: &mut Random) -> Result<(), Failure> {
        let log = File::open(&self.file).context("opening the log")?;
        let target = File::options().write(true).open(disk.file()).context("opening the disk")?;
        let done = self.entries.get(..cut).unwrap_or(&self.entries);
        let durable = done.iter().rposition(|entry| entry.flags & FLUSH != 0).unwrap_or(0);
        for (number, entry) in done.iter().enumerate() {
            let length = if number < durable || entry.flags & FUA != 0 {
                entry.length
            } else {
                match random.below(8) {
                    0..4 => 0,
                    4..7 => entry.length,
                    _ => random.below(entry.length / SECTOR + 1) * SECTOR,
                }
            };
            let mut bytes = vec![0; usize::try_from(length).context("converting the length of a write")?];
            if entry.flags & DISCARD == 0 {
                log.read_exact_at(&mut bytes, entry.data).context("reading the log")?;
            }
            target.write_all_at(&bytes, entry.offset).context("replaying a write")?;
        }
        Ok(())
    }
}

/// Pseudorandom numbers, the same for the same seed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    /// Starts from a seed.
    #[must_use]
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, or 0 when `limit` is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(limit).unwrap_or(0)
    }

    /// `count` different numbers of the range in ascending order, or all if there are fewer.
    #[must_use]
    pub(crate) fn pick(&mut self, range: std::ops::Range<usize>, count: usize) -> Vec<usize> {
        let mut all: Vec<_> = range.collect();
        while all.len() > count {
            let limit = u64::try_from(all.len()).unwrap_or(u64::MAX);
            all.remove(usize::try_from(self.below(limit)).unwrap_or(0));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with: write A at 0, flush, write B at 512, write C at 1024.
    fn sample(folder: &Path) -> Log {
        let mut bytes = vec![0; 512];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8] = 1;
        bytes[16] = 4;
        for (sector, sectors, flags, fill) in [(0_u64, 1_u64, 0_u64, b'A'), (0, 0, FLUSH, 0), (1, 1, 0, b'B'), (2, 1, 0, b'C')] {
            let mut header = [sector, sectors, flags, 0].map(u64::to_le_bytes).concat();
            header.resize(512, 0);
            bytes.extend(header);
            bytes.extend(vec![fill; usize::try_from(sectors * SECTOR).unwrap()]);
        }
        let file = folder.join("log");
        fs::write(&file, bytes).unwrap();
        Log::read(file).unwrap()
    }

    #[test]
    fn flushed_writes_stay_and_others_are_lost_in_any_combination() {
        let folder = tempfile::tempdir().unwrap();
        let log = sample(folder.path());
        assert_eq!(log.len(), 4);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let disk = DataDisk::blank_of(folder.path(), 2048).unwrap();
            log.replay(&disk, 4, &mut Random::of(seed)).unwrap();
            let at = |offset| disk.read(offset, 1).unwrap()[0];
            assert_eq!(at(0), b'A', "seed {seed}");
            seen.insert((at(512), at(1024)));
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    #[test]
    fn entries_are_counted_by_the_length_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = sample(folder.path());
        for (length, want) in [(0, 0), (512, 0), (1023, 0), (1024, 1), (2048, 2), (1 << 20, 4)] {
            assert_eq!(log.entries_at(length), want, "{length}");
        }
        fs::write(folder.path().join("log"), [0; 512]).unwrap();
        assert!(Log::read(folder.path().join("log")).is_err());
    }

    #[test]
    fn random_numbers_depend_only_on_the_seed() {
        assert_eq!(Random::of(7).pick(0..100, 5), Random::of(7).pick(0..100, 5));
        assert_eq!(Random::of(7).pick(3..6, 9), [3, 4, 5]);
    }
}
