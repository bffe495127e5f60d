//! Many processes on a disk of usual size after its first format: no errors, no lost files, no read of an unwritten sector.

use std::time::Duration;

use super::TestContext;
use super::root::assert_field;
use crate::trace::Trace;
use crate::{Boot, Context, DataDisk, Failure, Vaults};

/// ext4 was seen to read unwritten inode tables on disks of 3 GiB and more.
const BYTES: u64 = 8 << 30;
/// Number of processes.
const PROCESSES: u32 = 16;
/// Files per process. Without initialised inode tables, 4 CPUs lost files among the first hundred.
const ROUNDS: u32 = 60;
/// Files per process with one CPU, on file systems that lost none.
const FEWER_ROUNDS: u32 = 20;
/// The longest that the work may take under emulation on a busy machine.
const LONGEST: Duration = Duration::from_secs(300);

/// Works on a new disk, boots again, and expects every file whole and no file system errors.
fn lose_nothing(context: &TestContext, kind: &str, cpus: u8, rounds: u32) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank_of(&context.folder, BYTES)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(context).data(&data, &vaults).cpus(cpus).for_at_most(LONGEST * rounds.div_ceil(ROUNDS));
        boot.cmdline("cvm.data.format=if-blank").cmdline(format!("cvm.data.fstype={kind}")).tasks(tasks).run()
    };
    let first = boot(&format!("stress:{PROCESSES}:{rounds}"))?;
    first.reached_the_real_system()?;
    first.line(&format!("stress: {PROCESSES} processes, 0 with errors"))?;
    first.line("cvm-tests: stress ended with 0")?;
    assert_field(&first.boot_report()?, "/data/open_mode", &"formatted")?;
    let second = boot(&format!("verify:{PROCESSES},fsck"))?;
    second.reached_the_real_system()?;
    second.line("cvm-tests: verify ended with 0")?;
    second.line(&format!("cvm-tests: fsck of {kind} ended with 0"))?;
    assert_field(&second.boot_report()?, "/data/open_mode", &"opened")?;
    assert_field(&second.boot_report()?, "/data/file_system", &kind)?;
    for result in [&first, &second] {
        result.no_line("INTEGRITY AEAD ERROR").and(result.no_line("EXT4-fs error"))?;
    }
    Ok(())
}

pub(super) fn loses_nothing_on_ext4(context: &TestContext) -> Result<(), Failure> {
    lose_nothing(context, "ext4", 4, ROUNDS)
}

pub(super) fn loses_nothing_on_ext4_with_one_cpu(context: &TestContext) -> Result<(), Failure> {
    lose_nothing(context, "ext4", 1, ROUNDS)
}

pub(super) fn loses_nothing_on_xfs(context: &TestContext) -> Result<(), Failure> {
    lose_nothing(context, "xfs", 4, ROUNDS)
}

pub(super) fn loses_nothing_on_xfs_with_one_cpu(context: &TestContext) -> Result<(), Failure> {
    lose_nothing(context, "xfs", 1, FEWER_ROUNDS)
}

pub(super) fn loses_nothing_on_btrfs_with_one_cpu(context: &TestContext) -> Result<(), Failure> {
    lose_nothing(context, "btrfs", 1, FEWER_ROUNDS)
}

pub(super) fn loses_nothing_on_btrfs(context: &TestContext) -> Result<(), Failure> {
    lose_nothing(context, "btrfs", 4, ROUNDS)
}

/// Runs the same work for hours with 8, 4 and 1 CPUs on each file system (`tests/soak`).
pub(crate) fn loses_nothing_for_hours(context: &TestContext) -> Result<(), Failure> {
    let kinds = ["ext4", "xfs", "btrfs"];
    for (cpus, kind) in [8, 4, 1].into_iter().flat_map(|cpus| kinds.map(|kind| (cpus, kind))) {
        lose_nothing(context, kind, cpus, 40 * ROUNDS).map_err(|failure| Failure(format!("{kind}, {cpus} CPUs: {failure}")))?;
    }
    Ok(())
}

/// Records every request to the open disk from the kernel's start on.
pub(super) fn reads_no_sector_that_was_never_written(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    for kind in ["ext4", "xfs", "btrfs"] {
        let (data, record) =
            (DataDisk::blank_of(&context.folder, 1 << 30)?, DataDisk::named(&context.folder, "trace.raw", 32 << 20)?);
        let boot = Boot::new(context).data(&data, &vaults).disk(record.attached_as("trace")).cmdline("cvm.data.format=if-blank");
        let boot = boot.cmdline(format!("cvm.data.fstype={kind}")).cmdline("trace_event=block:block_bio_queue");
        let boot = boot.cmdline("trace_buf_size=24M").for_at_most(LONGEST).tasks("stress:8:40,trace");
        // With systemd, udev and blkid read the disk too, on all file systems in the same places.
        let result = if kind == "ext4" { boot.systemd() } else { boot }.run()?;
        result.reached_the_real_system()?;
        result.line("cvm-tests: stress ended with 0")?;
        result.no_line("INTEGRITY AEAD ERROR")?;
        let trace = Trace::parse(&record.read(0, 32 << 20).context("reading the trace")?)?;
        let unwritten = trace.reads_of_unwritten();
        if !unwritten.is_empty() {
            return Err(Failure(format!(
                "{kind}: {} reads of sectors that were never written, first {:?}",
                unwritten.len(),
                unwritten.first()
            )));
        }
        // A trace that lost its requests must not pass.
        if trace.reads() < 20 || trace.writes() < 200 {
            return Err(Failure(format!(
                "{kind}: expected 20 reads and 200 writes or more, found {} and {}",
                trace.reads(),
                trace.writes()
            )));
        }
    }
    Ok(())
}
