//! Many processes on a disk of ordinary size, right after its first format: no error, nothing lost, and nothing read that was never written.

use std::time::Duration;

use super::Stage;
use super::root::assert_field;
use crate::trace::Trace;
use crate::{Boot, DataDisk, Doing, Failure, Vaults};

/// From here on ext4 was seen to read inode tables that were never written: 3 GiB and more.
const BYTES: u64 = 8 << 30;
/// Processes that work at once.
const PROCESSES: u32 = 16;
/// Files that each makes. Without initialised tables 4 CPUs lost files from the first hundred on.
const ROUNDS: u32 = 60;
/// The same with one CPU on file systems that lost none.
const FEWER_ROUNDS: u32 = 20;
/// The longest that the work may take under emulation on a busy machine.
const LONGEST: Duration = Duration::from_secs(300);

/// Works on a new disk, boots again, and expects every file whole and a file system without errors.
fn lose_nothing(stage: &Stage, kind: &str, cpus: u8, rounds: u32) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&stage.folder, BYTES)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(stage).data(&data, &vaults).cpus(cpus).for_at_most(LONGEST * rounds.div_ceil(ROUNDS));
        boot.word("cvm.data.format=if-blank").word(format!("cvm.data.fstype={kind}")).tasks(tasks).run()
    };
    let first = boot(&format!("stress:{PROCESSES}:{rounds}"))?;
    first.reached_the_real_system()?;
    first.line(&format!("stress: {PROCESSES} processes, 0 with errors"))?;
    first.line("cvm-tests: stress ended with 0")?;
    assert_field(&first.receipt()?, "/data/open_mode", &"formatted")?;
    let second = boot(&format!("verify:{PROCESSES},fsck"))?;
    second.reached_the_real_system()?;
    second.line("cvm-tests: verify ended with 0")?;
    second.line(&format!("cvm-tests: fsck of {kind} ended with 0"))?;
    assert_field(&second.receipt()?, "/data/open_mode", &"opened")?;
    assert_field(&second.receipt()?, "/data/file_system", &kind)?;
    for ended in [&first, &second] {
        ended.no_line("INTEGRITY AEAD ERROR").and(ended.no_line("EXT4-fs error"))?;
    }
    Ok(())
}

pub(super) fn on_ext4(stage: &Stage) -> Result<(), Failure> {
    lose_nothing(stage, "ext4", 4, ROUNDS)
}

pub(super) fn on_ext4_with_one_cpu(stage: &Stage) -> Result<(), Failure> {
    lose_nothing(stage, "ext4", 1, ROUNDS)
}

pub(super) fn on_xfs(stage: &Stage) -> Result<(), Failure> {
    lose_nothing(stage, "xfs", 4, ROUNDS)
}

pub(super) fn on_xfs_with_one_cpu(stage: &Stage) -> Result<(), Failure> {
    lose_nothing(stage, "xfs", 1, FEWER_ROUNDS)
}

pub(super) fn on_btrfs_with_one_cpu(stage: &Stage) -> Result<(), Failure> {
    lose_nothing(stage, "btrfs", 1, FEWER_ROUNDS)
}

pub(super) fn on_btrfs(stage: &Stage) -> Result<(), Failure> {
    lose_nothing(stage, "btrfs", 4, ROUNDS)
}

/// The same for an hour or so, with 8, 4 and 1 CPUs, one file system after the other (`tests/soak`).
pub(crate) fn for_long(stage: &Stage) -> Result<(), Failure> {
    let kinds = ["ext4", "xfs", "btrfs"];
    for (cpus, kind) in [8, 4, 1].into_iter().flat_map(|cpus| kinds.map(|kind| (cpus, kind))) {
        lose_nothing(stage, kind, cpus, 40 * ROUNDS).map_err(|failure| Failure(format!("{kind}, {cpus} CPUs: {failure}")))?;
    }
    Ok(())
}

/// The kernel records every request to the open disk from its first instruction on.
pub(super) fn reads_no_sector_that_was_never_written(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    for kind in ["ext4", "xfs", "btrfs"] {
        let (data, record) =
            (DataDisk::blank_of(&stage.folder, 1 << 30)?, DataDisk::named(&stage.folder, "trace.raw", 32 << 20)?);
        let boot = Boot::new(stage).data(&data, &vaults).disk(record.attached_as("trace")).word("cvm.data.format=if-blank");
        let boot = boot.word(format!("cvm.data.fstype={kind}")).word("trace_event=block:block_bio_queue");
        let boot = boot.word("trace_buf_size=24M").for_at_most(LONGEST).tasks("stress:8:40,trace");
        // Under systemd udev looks at the disk as well, and blkid after it: at all kinds in the same places.
        let ended = if kind == "ext4" { boot.systemd() } else { boot }.run()?;
        ended.reached_the_real_system()?;
        ended.line("cvm-tests: stress ended with 0")?;
        ended.no_line("INTEGRITY AEAD ERROR")?;
        let trace = Trace::parse(&record.read(0, 32 << 20).doing("the trace")?)?;
        let unwritten = trace.reads_of_unwritten();
        if !unwritten.is_empty() {
            return Err(Failure(format!(
                "{kind}: {} reads of sectors that were never written, first {:?}",
                unwritten.len(),
                unwritten.first()
            )));
        }
        // A trace that lost its requests must not pass for one without bad reads.
        if trace.reads() < 20 || trace.writes() < 200 {
            return Err(Failure(format!("{kind}: a trace of {} reads and {} writes", trace.reads(), trace.writes())));
        }
    }
    Ok(())
}
