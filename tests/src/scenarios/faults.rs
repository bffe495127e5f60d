//! A disk that fails, or that the host changes, while its file system is mounted.

use std::time::Duration;

use ondisk::integrity::{SUPERBLOCK_BYTES, Superblock};
use qemu::Exit;

use super::TestContext;
use crate::{Boot, BootResult, Context, DataDisk, Failure, Vaults};

/// The longest that the system may take to begin its work.
const READY: Duration = Duration::from_secs(120);
/// Offset of dm-integrity's superblock in bytes: behind the LUKS2 headers.
const AREA: u64 = 16 << 20;
const SECTOR: u64 = 512;

/// ext4 reports an error for an unreadable inode, but not for an unreadable block of a file or directory.
pub(super) fn handles_a_changed_inode_by_policy(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |data, tasks: &str| Boot::new(context).data(data, &vaults).tasks(tasks);
    let first = boot(&data, "lost").cmdline("cvm.data.format=if-blank").run()?;
    first.reached_the_real_system()?;
    first.line("cvm-tests: closed")?;
    let block = first.line("cvm-tests: inode in block ")?.rsplit(' ').next().and_then(|text| text.trim().parse().ok());
    data.flip(place(&data, block.ok_or_else(|| Failure("the task program printed no block of the inode".to_owned()))?)?)?;
    let panicking = data.copy("panic.raw")?;

    let result = boot(&data, "visit").run()?;
    result.reached_the_real_system()?;
    result.line("cvm-tests: lost is cat: /data/lost/file: Input/output error")?;
    result.line("Remounting filesystem read-only")?;
    result.line("cvm-tests: a write ends with touch: cannot touch '/data/after': Read-only file system")?;
    result.line("cvm-tests: before is 1")?;

    panicked(&boot(&panicking, "visit").cmdline("cvm.data.on-error=panic").run()?, "EXT4-fs (device dm-")
}

/// Offset on the disk of a 4 KiB block of the file system.
fn place(data: &DataDisk, block: u64) -> Result<u64, Failure> {
    let superblock = Superblock::parse(&data.read(AREA, SUPERBLOCK_BYTES)?);
    let place = superblock.and_then(|superblock| superblock.place(AREA / SECTOR, block * 8));
    place.map(|sector| sector * SECTOR).ok_or_else(|| Failure(format!("block {block} is not on the disk")))
}

/// The host truncates the disk behind the headers; later reads and writes there fail.
pub(super) fn handles_a_failing_disk_by_policy(context: &TestContext) -> Result<(), Failure> {
    for (kind, on_error) in [("ext4", "panic"), ("xfs", "panic"), ("btrfs", "remount-ro")] {
        let (data, vaults) = (DataDisk::blank_of(&context.folder, 512 << 20)?, Vaults::up(&context.artifacts, 2, 3)?);
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        let boot = boot
            .cmdline(format!("cvm.data.fstype={kind}"))
            .cmdline(format!("cvm.data.on-error={on_error}"))
            .tasks("until-it-fails,visit");
        let result = boot.run_with(|vm| {
            vm.console().wait_for("cvm-tests: writing", READY).context("waiting for the first write")?;
            vm.resize_disk(1, AREA).context("truncating the disk")
        })?;
        let ends = match kind {
            "ext4" => panicked(&result, "EXT4-fs (device dm-"),
            // xfs reports a kernel BUG, which `oops=panic` on the command line makes a panic.
            "xfs" => result.line("Transforming an alert into a BUG").and(panicked(&result, "Fatal exception")),
            _ => result.reached_the_real_system().and_then(|()| {
                result.line("forced readonly")?;
                result.line("cvm-tests: a write ends with touch: cannot touch '/data/after': Read-only file system").map(drop)
            }),
        };
        ends.map_err(|failure| Failure(format!("{kind}: {failure}")))?;
    }
    Ok(())
}

fn panicked(result: &BootResult, text: &str) -> Result<(), Failure> {
    result.no_line("cvm-tests: done")?;
    result.line(&format!("Kernel panic - not syncing: {text}"))?;
    match result.exit {
        Exit::Panicked(_) => Ok(()),
        _ => Err(Failure(format!("expected a panic, the machine ended by {:?}", result.exit))),
    }
}
