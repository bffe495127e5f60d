//! Power cuts at any time: afterwards PID 1 opens the disk with all synced files, or formats it if the first format had not
//! ended.

use std::ops::Range;
use std::time::Duration;

use failure::FailureAction;

use super::TestContext;
use super::root::assert_field;
use crate::power_cut::{Log, Random};
use crate::{Boot, Context, DataDisk, Failure, Vaults};

/// Selects the same power cuts in each run, unless `CVM_SEED` is set.
const SEED: u64 = 20_261_125;
/// The longest wait for a line of a recorded boot.
const LINE: Duration = Duration::from_secs(90);

/// Selects `count` power cuts in the range, one boot each; `CVM_CUTS=10` (tests/soak) selects up to ten times as many.
fn pick(random: &mut Random, range: Range<usize>, count: usize) -> Result<Vec<usize>, Failure> {
    let times: usize = std::env::var("CVM_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let cuts = random.pick(range.clone(), count * times);
    // An empty range must not pass as survived power cuts.
    if cuts.len() < count {
        Err(Failure(format!("expected {count} power cuts in {range:?}, found {}", cuts.len())))
    } else {
        Ok(cuts)
    }
}

/// A recorded boot, and the disk as before it.
struct Recorded {
    before: DataDisk,
    log: Log,
    /// The console lines that were awaited, each with the number of log entries that were complete by then.
    marks: Vec<(String, usize)>,
}

fn seed() -> u64 {
    std::env::var("CVM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

/// Boots and records every write to `data`; waits for the lines `awaited` in their order.
fn record(context: &TestContext, boot: Boot<'_>, data: &DataDisk, awaited: &[&str]) -> Result<Recorded, Failure> {
    let before = data.copy("before.raw")?;
    let file = Log::file_in(&context.folder)?;
    let mut lengths = Vec::new();
    let result = boot.recorded(&file).run_with(|vm| {
        for line in awaited {
            vm.console().wait_for(line, LINE).context(line)?;
            lengths.push(std::fs::metadata(&file).context("reading the size of the log")?.len());
        }
        Ok(())
    })?;
    result.reached_the_real_system()?;
    let log = Log::read(file)?;
    let marks = awaited.iter().zip(lengths).map(|(line, length)| ((*line).to_owned(), log.entries_at(length))).collect();
    Ok(Recorded { before, log, marks })
}

impl Recorded {
    /// The number of log entries when the line appeared.
    fn at(&self, line: &str) -> Result<usize, Failure> {
        let mark = self.marks.iter().find(|(mark, _)| mark == line);
        mark.map(|(_, entries)| *entries).ok_or_else(|| Failure(format!("{line:?} was not awaited")))
    }

    /// Cuts the power before each entry in `cuts`, boots again, and expects every file whole that was synced by then.
    fn try_all<'a>(
        &self,
        cuts: &[usize],
        again: impl Fn(&'a DataDisk) -> Boot<'a>,
        slot: &'a mut Option<DataDisk>,
    ) -> Result<(), Failure> {
        let disk = &*slot.insert(self.before.copy("cut.raw")?);
        for cut in cuts {
            self.before.copy("cut.raw")?;
            self.log.replay(disk, *cut, &mut Random::of(seed() ^ u64::try_from(*cut).unwrap_or(0)))?;
            let failed = |failure: Failure| Failure(format!("cut {cut} of {}, seed {}: {failure}", self.log.len(), seed()));
            let result = again(disk).tasks("check").run().map_err(failed)?;
            result.reached_the_real_system().map_err(failed)?;
            for (line, entries) in self.marks.iter().filter(|(_, entries)| entries <= cut) {
                if let Some((_, name)) = line.split_once("synced ") {
                    result
                        .line(&format!("cvm-tests: whole {name}"))
                        .map_err(failed)
                        .map_err(|f| Failure(format!("{f} ({entries})")))?;
                }
            }
        }
        Ok(())
    }
}

const SYNCED: [&str; 4] =
    ["cvm-tests: synced cut-1", "cvm-tests: synced cut-2", "cvm-tests: synced cut-3", "cvm-tests: synced cut-4"];

fn first_boot<'a>(context: &'a TestContext, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(context).data(data, vaults).cmdline("cvm.data.format=if-blank").cmdline("cvm.debug=timeline")
}

fn record_first_boot(context: &TestContext, vaults: &Vaults) -> Result<Recorded, Failure> {
    let data = DataDisk::blank(&context.folder)?;
    let steps =
        ["data: format begun", "data: header written", "data: file system made", "data: format committed", "data: mounted"];
    let awaited: Vec<_> = steps.into_iter().chain(SYNCED).collect();
    record(context, first_boot(context, &data, vaults).tasks("files:cut:4"), &data, &awaited)
}

/// Cuts the power during the format (record, header, integrity area, file system), during its commit, and while files are
/// written.
pub(super) fn in_the_first_boot(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let recorded = record_first_boot(context, &vaults)?;
    let at = |line| recorded.at(line);
    let (header, made, committed) = (at("data: header written")?, at("data: file system made")?, at("data: format committed")?);
    let ready = committed.saturating_sub(12);
    let parts = [
        // The first writes are the record and dm-integrity's superblock.
        (0..6, 1),
        (6..header + 1, 2),
        (made..ready, 1),
        // The last writes before the commit are the headers and the record.
        (ready..committed + 1, 2),
        (committed + 1..recorded.log.len() + 1, 3),
    ];
    let mut random = Random::of(seed());
    let cuts: Result<Vec<_>, _> = parts.into_iter().map(|(range, count)| pick(&mut random, range, count)).collect();
    recorded.try_all(&cuts?.concat(), |disk| first_boot(context, disk, &vaults), &mut None)
}

/// Cuts the power while the file system grows on a larger disk.
pub(super) fn while_the_file_system_grows(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = DataDisk::blank(&context.folder)?;
    first_boot(context, &data, &vaults).tasks("files:kept:1").run()?.reached_the_real_system()?;
    data.resize(640 << 20)?;
    let growing = |disk| first_boot(context, disk, &vaults).cmdline("cvm.data.grow=yes");
    let grown = "data: file system has grown";
    let awaited: Vec<_> = std::iter::once(grown).chain(SYNCED).collect();
    let mut recorded = record(context, growing(&data).tasks("files:cut:4"), &data, &awaited)?;
    recorded.marks.push(("cvm-tests: synced kept-1".to_owned(), 0));
    let mut random = Random::of(seed() + 6);
    let mut cuts = pick(&mut random, 0..recorded.at(grown)? + 1, 3)?;
    cuts.extend(pick(&mut random, recorded.at(grown)? + 1..recorded.log.len() + 1, 2)?);
    recorded.try_all(&cuts, |disk| first_boot(context, disk, &vaults).cmdline("cvm.data.grow=yes"), &mut None)
}

/// Cuts the power during a rotation to the key of another set of vaults: other addresses, another build and threshold, the same
/// handle.
pub(super) fn in_a_rotation(context: &TestContext) -> Result<(), Failure> {
    let old = Vaults::up(&context.artifacts, 2, 3)?;
    let data = DataDisk::blank(&context.folder)?;
    first_boot(context, &data, &old).tasks("files:kept:1").run()?.reached_the_real_system()?;
    let vaults = Vaults::configured(&context.artifacts, 3, 4, |config| config.mrenclave = [0xc2; 32])?.migrating_from(old);
    let mut recorded =
        record(context, rotating(context, &data, &vaults).tasks("check"), &data, &["data: other keyslots removed"])?;
    // This file existed before the recorded boot.
    recorded.marks.push(("cvm-tests: synced kept-1".to_owned(), 0));
    let rotated = recorded.at("data: other keyslots removed")?;
    let cuts = pick(&mut Random::of(seed() + 3), 0..rotated + 1, 4)?;
    recorded.try_all(&cuts, |disk| rotating(context, disk, &vaults), &mut None)?;
    // After the rotation the disk needs only the new vaults.
    let vaults = vaults.without_previous();
    let moved = rotating(context, &data, &vaults).tasks("check").run()?;
    moved.reached_the_real_system()?;
    moved.line("cvm-tests: whole kept-1")?;
    assert_field(&moved.boot_report()?, "/data/open_mode", &"opened")?;
    assert_field(&moved.boot_report()?, "/unlock/threshold", &3)
}

fn rotating<'a>(context: &'a TestContext, data: &'a DataDisk, vaults: &'a Vaults) -> Boot<'a> {
    Boot::new(context).data(data, vaults).cmdline("cvm.debug=timeline")
}

/// Cuts the power during a rotation to a third key, on a disk whose rotation to the second key was interrupted: it has two
/// keyslots.
pub(super) fn in_a_rotation_after_an_interrupted_one(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let data = DataDisk::blank(&context.folder)?;
    first_boot(context, &data, &vaults).tasks("files:kept:1").run()?.reached_the_real_system()?;
    let vaults = vaults.rotating()?;
    let written = "data: keyslot of the current key written";
    let first = record(context, rotating(context, &data, &vaults).tasks("check"), &data, &[written])?;
    // Directly after the flush of the secondary header, no unflushed write exists.
    let at_cut = |cut| -> Result<DataDisk, Failure> {
        let disk = first.before.copy("data.raw")?;
        first.log.replay(&disk, cut, &mut Random::of(0))?;
        Ok(disk)
    };
    let between = (0..first.at(written)?).rev().find_map(|cut| at_cut(cut).ok().filter(has_two_keyslots));
    let data = between.ok_or_else(|| Failure("no power cut leaves two keyslots".to_owned()))?;

    let vaults = vaults.rotating()?;
    let mut recorded =
        record(context, rotating(context, &data, &vaults).tasks("check"), &data, &["data: other keyslots removed", written])?;
    recorded.marks.push(("cvm-tests: synced kept-1".to_owned(), 0));
    let cuts = pick(&mut Random::of(seed() + 5), 0..recorded.at(written)? + 1, 4)?;
    recorded.try_all(&cuts, |disk| rotating(context, disk, &vaults), &mut None)
}

fn has_two_keyslots(disk: &DataDisk) -> bool {
    let slots =
        crate::disk::header_json(disk).ok().and_then(|json| json.pointer("/keyslots")?.as_object().map(serde_json::Map::len));
    slots == Some(2)
}

/// Cuts the power after four files were synced; the host changes dm-integrity's journal before the kernel replays it.
pub(super) fn with_a_changed_integrity_journal(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let recorded = record_first_boot(context, &vaults)?;
    let [.., last] = SYNCED;
    for round in 0..3 {
        let disk = recorded.before.copy("cut.raw")?;
        let mut random = Random::of(seed() + 4 + round);
        recorded.log.replay(&disk, recorded.at(last)?, &mut random)?;
        // dm-integrity's journal is behind the header area and its superblock, and takes 1/128 of this disk.
        for _ in 0..40 {
            disk.flip((16 << 20) + 4096 + random.below(1 << 20))?;
        }
        let result = first_boot(context, &disk, &vaults).tasks("check").run()?;
        result.no_line("cvm-tests: wrong")?;
        result.no_line("formatting")?;
        // A failed read while PID 1 opens, examines, checks or mounts the disk may succeed at the next boot.
        let read_failed = || result.stopped_with_one_of(&[71, 76, 77, 86].map(|code| (code, FailureAction::Reboot)));
        result.reached_the_real_system().or_else(|_| read_failed())?;
    }
    Ok(())
}
