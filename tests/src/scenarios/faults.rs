//! The disk fails, or the host changes it, while its file system is mounted.

use std::time::Duration;

use machine::Exit;
use ondisk::integrity::{SUPERBLOCK_BYTES, Superblock};

use super::Stage;
use crate::{Boot, DataDisk, Doing, Ended, Failure, Vaults};

/// How long the system may take to begin its work.
const READY: Duration = Duration::from_secs(120);
/// Where dm-integrity's superblock is, in bytes: behind the LUKS2 headers.
const AREA: u64 = 16 << 20;
const SECTOR: u64 = 512;

/// An inode that cannot be read is an error of ext4, unlike a block of a file or of a directory.
pub(super) fn changed_inodes_end_as_policy_says(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |data, tasks: &str| Boot::new(stage).data(data, &vaults).tasks(tasks);
    let first = boot(&data, "lost").word("cvm.data.format=if-blank").run()?;
    first.reached_the_real_system()?;
    first.line("cvm-tests: closed")?;
    let block = first.line("cvm-tests: inode in block ")?.rsplit(' ').next().and_then(|text| text.trim().parse().ok());
    data.flip(place(&data, block.ok_or_else(|| Failure("no block of the inode".to_owned()))?)?)?;
    let panicking = data.copy("panic.raw")?;

    let ended = boot(&data, "visit").run()?;
    ended.reached_the_real_system()?;
    ended.line("cvm-tests: lost is cat: /data/lost/file: Input/output error")?;
    ended.line("Remounting filesystem read-only")?;
    ended.line("cvm-tests: a write ends with touch: cannot touch '/data/after': Read-only file system")?;
    ended.line("cvm-tests: before is 1")?;

    panicked(&boot(&panicking, "visit").word("cvm.data.on-error=panic").run()?, "EXT4-fs (device dm-")
}

/// The byte of the disk that a block of 4 KiB of the file system begins with.
fn place(data: &DataDisk, block: u64) -> Result<u64, Failure> {
    let superblock = Superblock::parse(&data.read(AREA, SUPERBLOCK_BYTES)?);
    let place = superblock.and_then(|superblock| superblock.place(AREA / SECTOR, block * 8));
    place.map(|sector| sector * SECTOR).ok_or_else(|| Failure(format!("block {block} is nowhere")))
}

/// The host takes all but the headers away; what is read or written behind them fails from then on.
pub(super) fn failing_disks_end_as_policy_says(stage: &Stage) -> Result<(), Failure> {
    // xfs makes a kernel bug of it, which the command line's `oops=panic` makes a panic.
    for (kind, on_error) in [("ext4", "panic"), ("xfs", "panic"), ("btrfs", "remount-ro")] {
        let (data, vaults) = (DataDisk::blank_of(&stage.folder, 512 << 20)?, Vaults::up(&stage.artifacts, 2, 3)?);
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
        let boot = boot
            .word(format!("cvm.data.fstype={kind}"))
            .word(format!("cvm.data.on-error={on_error}"))
            .tasks("until-it-fails,visit");
        let ended = boot.run_with(|vm| {
            vm.console().wait_for("cvm-tests: writing", READY).doing("the first write")?;
            vm.resize_disk(1, AREA).doing("taking the disk away")
        })?;
        let ends = match kind {
            "ext4" => panicked(&ended, "EXT4-fs (device dm-"),
            // xfs makes a kernel bug of it, which the command line's `oops=panic` makes a panic.
            "xfs" => ended.line("Transforming an alert into a BUG").and(panicked(&ended, "Fatal exception")),
            _ => ended.reached_the_real_system().and_then(|()| {
                ended.line("forced readonly")?;
                ended.line("cvm-tests: a write ends with touch: cannot touch '/data/after': Read-only file system").map(drop)
            }),
        };
        ends.map_err(|failure| Failure(format!("{kind}: {failure}")))?;
    }
    Ok(())
}

fn panicked(ended: &Ended, words: &str) -> Result<(), Failure> {
    ended.no_line("cvm-tests: done")?;
    ended.line(&format!("Kernel panic - not syncing: {words}"))?;
    match ended.exit {
        Exit::Panicked(_) => Ok(()),
        _ => Err(Failure(format!("ended by {:?}", ended.exit))),
    }
}
