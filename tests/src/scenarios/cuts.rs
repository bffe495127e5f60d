//! The power goes, at any moment: the disk is usable with all that was synced, or still to be formatted. Never anything else.

use std::ops::Range;
use std::time::Duration;

use super::Stage;
use super::root::assert_field;
use crate::cuts::{Chance, Log};
use crate::{Boot, DataDisk, Doing, Failure, Vaults};

/// The same cuts in each run, unless `CVM_SEED` says otherwise.
const SEED: u64 = 20_261_125;
/// How long a line of a recorded boot is awaited.
const LINE: Duration = Duration::from_secs(90);

/// So many cuts in the range, a boot each. Another `CVM_SEED` picks others, `CVM_CUTS=10` (tests/soak) up to ten times as many.
fn pick(chance: &mut Chance, range: Range<usize>, count: usize) -> Result<Vec<usize>, Failure> {
    let times: usize = std::env::var("CVM_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let cuts = chance.pick(range.clone(), count * times);
    // A range that has become empty must not pass for cuts that were survived.
    if cuts.len() < count { Err(Failure(format!("not {count} cuts in {range:?}"))) } else { Ok(cuts) }
}

/// A boot that was recorded, and the disk as it was before it.
struct Recorded {
    before: DataDisk,
    log: Log,
    /// Lines of the console that were awaited, in order, and how many entries the log surely had when each was seen.
    marks: Vec<(String, usize)>,
}

fn seed() -> u64 {
    std::env::var("CVM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

/// Boots with every write to `data` recorded; `awaited` are lines of the console in the order in which they come.
fn record(stage: &Stage, boot: Boot<'_>, data: &DataDisk, awaited: &[&str]) -> Result<Recorded, Failure> {
    let before = data.copy("before.raw")?;
    let file = Log::file_in(&stage.folder)?;
    let mut lengths = Vec::new();
    let ended = boot.recorded(&file).run_with(|vm| {
        for line in awaited {
            vm.console().wait_for(line, LINE).doing(line)?;
            lengths.push(std::fs::metadata(&file).doing("the log's size")?.len());
        }
        Ok(())
    })?;
    ended.reached_the_real_system()?;
    let log = Log::read(file)?;
    let marks = awaited.iter().zip(lengths).map(|(line, length)| ((*line).to_owned(), log.entries_at(length))).collect();
    Ok(Recorded { before, log, marks })
}

impl Recorded {
    /// How many entries there were when the line was seen.
    fn at(&self, line: &str) -> Result<usize, Failure> {
        let mark = self.marks.iter().find(|(mark, _)| mark == line);
        mark.map(|(_, entries)| *entries).ok_or_else(|| Failure(format!("no mark {line}")))
    }

    /// Cuts the power before each of `cuts`, boots again, and expects every file that was synced by then, whole.
    fn try_all<'a>(
        &self,
        cuts: &[usize],
        again: impl Fn(&'a DataDisk) -> Boot<'a>,
        slot: &'a mut Option<DataDisk>,
    ) -> Result<(), Failure> {
        let disk = &*slot.insert(self.before.copy("cut.raw")?);
        for cut in cuts {
            self.before.copy("cut.raw")?;
            self.log.replay(disk, *cut, &mut Chance::of(seed() ^ u64::try_from(*cut).unwrap_or(0)))?;
            let told = |failure: Failure| Failure(format!("cut {cut} of {}, seed {}: {failure}", self.log.len(), seed()));
            let ended = again(disk).tasks("check").run().map_err(told)?;
            ended.reached_the_real_system().map_err(told)?;
            for (line, entries) in self.marks.iter().filter(|(_, entries)| entries <= cut) {
                if let Some((_, name)) = line.split_once("synced ") {
                    ended
                        .line(&format!("cvm-tests: whole {name}"))
                        .map_err(told)
                        .map_err(|f| Failure(format!("{f} ({entries})")))?;
                }
            }
        }
        Ok(())
    }
}

const SYNCED: [&str; 4] =
    ["cvm-tests: synced cut-1", "cvm-tests: synced cut-2", "cvm-tests: synced cut-3", "cvm-tests: synced cut-4"];

fn first_boot<'a>(stage: &'a Stage, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(stage).data(data, vaults).word("cvm.data.format=if-blank").word("cvm.debug=timeline")
}

fn record_first_boot(stage: &Stage, vaults: &Vaults) -> Result<Recorded, Failure> {
    let data = DataDisk::blank(&stage.folder)?;
    let steps =
        ["data: format begun", "data: header written", "data: file system made", "data: format committed", "data: mounted"];
    let awaited: Vec<_> = steps.into_iter().chain(SYNCED).collect();
    record(stage, first_boot(stage, &data, vaults).tasks("files:cut:4"), &data, &awaited)
}

/// While the disk becomes one (the record, the header, the integrity area, the file system), while it becomes ready and the record goes,
/// and while files are written.
pub(super) fn in_the_first_boot(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let recorded = record_first_boot(stage, &vaults)?;
    let at = |line| recorded.at(line);
    let (header, made, committed) = (at("data: header written")?, at("data: file system made")?, at("data: format committed")?);
    let ready = committed.saturating_sub(12);
    let parts = [
        // The first writes are the record and dm-integrity's superblock.
        (0..6, 1),
        (6..header + 1, 2),
        (made..ready, 1),
        // The last writes before the commit are the headers' and the record's.
        (ready..committed + 1, 2),
        (committed + 1..recorded.log.len() + 1, 3),
    ];
    let mut chance = Chance::of(seed());
    let cuts: Result<Vec<_>, _> = parts.into_iter().map(|(range, count)| pick(&mut chance, range, count)).collect();
    recorded.try_all(&cuts?.concat(), |disk| first_boot(stage, disk, &vaults), &mut None)
}

/// While the file system grows on a disk that has become larger.
pub(super) fn while_the_file_system_grows(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = DataDisk::blank(&stage.folder)?;
    first_boot(stage, &data, &vaults).tasks("files:kept:1").run()?.reached_the_real_system()?;
    data.resize(640 << 20)?;
    let growing = |disk| first_boot(stage, disk, &vaults).word("cvm.data.grow=yes");
    let grown = "data: file system has grown";
    let awaited: Vec<_> = std::iter::once(grown).chain(SYNCED).collect();
    let mut recorded = record(stage, growing(&data).tasks("files:cut:4"), &data, &awaited)?;
    recorded.marks.push(("cvm-tests: synced kept-1".to_owned(), 0));
    let mut chance = Chance::of(seed() + 6);
    let mut cuts = pick(&mut chance, 0..recorded.at(grown)? + 1, 3)?;
    cuts.extend(pick(&mut chance, recorded.at(grown)? + 1..recorded.log.len() + 1, 2)?);
    recorded.try_all(&cuts, |disk| first_boot(stage, disk, &vaults).word("cvm.data.grow=yes"), &mut None)
}

/// While one key takes the place of the other, that of another fleet: other addresses, another build, another threshold, the same handle.
pub(super) fn in_a_rotation(stage: &Stage) -> Result<(), Failure> {
    let old = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = DataDisk::blank(&stage.folder)?;
    first_boot(stage, &data, &old).tasks("files:kept:1").run()?.reached_the_real_system()?;
    let vaults = Vaults::configured(&stage.artifacts, 3, 4, |config| config.mrenclave = [0xc2; 32])?.moving_from(old);
    let mut recorded = record(stage, rotating(stage, &data, &vaults).tasks("check"), &data, &["data: other keyslots removed"])?;
    // This file was there before anything of the log.
    recorded.marks.push(("cvm-tests: synced kept-1".to_owned(), 0));
    let rotated = recorded.at("data: other keyslots removed")?;
    let cuts = pick(&mut Chance::of(seed() + 3), 0..rotated + 1, 4)?;
    recorded.try_all(&cuts, |disk| rotating(stage, disk, &vaults), &mut None)?;
    // The disk as the whole rotation left it needs the new fleet alone.
    let vaults = vaults.rotated();
    let moved = rotating(stage, &data, &vaults).tasks("check").run()?;
    moved.reached_the_real_system()?;
    moved.line("cvm-tests: whole kept-1")?;
    assert_field(&moved.receipt()?, "/data/open_mode", &"opened")?;
    assert_field(&moved.receipt()?, "/unlock/threshold", &3)
}

fn rotating<'a>(stage: &'a Stage, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(stage).data(data, vaults).word("cvm.debug=timeline")
}

/// While a third key comes, on a disk whose rotation to the second one was cut short: both keyslots are there.
pub(super) fn in_a_rotation_after_one_that_was_cut(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let data = DataDisk::blank(&stage.folder)?;
    first_boot(stage, &data, &vaults).tasks("files:kept:1").run()?.reached_the_real_system()?;
    let vaults = vaults.rotating()?;
    let written = "data: keyslot of the current key written";
    let first = record(stage, rotating(stage, &data, &vaults).tasks("check"), &data, &[written])?;
    // Right behind the flush of the secondary header; nothing that was not flushed is kept or lost then.
    let at_cut = |cut| -> Result<DataDisk, Failure> {
        let disk = first.before.copy("data.raw")?;
        first.log.replay(&disk, cut, &mut Chance::of(0))?;
        Ok(disk)
    };
    let between = (0..first.at(written)?).rev().find_map(|cut| at_cut(cut).ok().filter(has_two_keyslots));
    let data = between.ok_or_else(|| Failure("no moment with two keyslots".to_owned()))?;

    let vaults = vaults.rotating()?;
    let mut recorded =
        record(stage, rotating(stage, &data, &vaults).tasks("check"), &data, &["data: other keyslots removed", written])?;
    recorded.marks.push(("cvm-tests: synced kept-1".to_owned(), 0));
    let cuts = pick(&mut Chance::of(seed() + 5), 0..recorded.at(written)? + 1, 4)?;
    recorded.try_all(&cuts, |disk| rotating(stage, disk, &vaults), &mut None)
}

fn has_two_keyslots(disk: &DataDisk) -> bool {
    let slots =
        crate::disk::header_json(disk).ok().and_then(|json| json.pointer("/keyslots")?.as_object().map(serde_json::Map::len));
    slots == Some(2)
}

/// The power goes after four files were synced, and the host changes dm-integrity's journal before it is replayed.
pub(super) fn with_a_spoiled_journal(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let recorded = record_first_boot(stage, &vaults)?;
    let [.., last] = SYNCED;
    for round in 0..3 {
        let disk = recorded.before.copy("cut.raw")?;
        let mut chance = Chance::of(seed() + 4 + round);
        recorded.log.replay(&disk, recorded.at(last)?, &mut chance)?;
        // Behind the header area and dm-integrity's superblock: its journal is 1/128 of this disk.
        for _ in 0..40 {
            disk.flip((16 << 20) + 4096 + chance.below(1 << 20))?;
        }
        let ended = first_boot(stage, &disk, &vaults).tasks("check").run()?;
        ended.no_line("cvm-tests: wrong")?;
        ended.no_line("formatting")?;
        // A read that fails while the disk is opened, examined, checked or mounted may succeed at the next boot.
        let read_failed =
            || ended.stopped_with_one_of(&[71, 76, 77, 86]).and(ended.line("(rebooting: another try may help)").map(drop));
        ended.reached_the_real_system().or_else(|_| read_failed())?;
    }
    Ok(())
}
