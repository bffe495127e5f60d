//! Sectors that fail under a mounted file system: what each does about it.

use std::time::Duration;

use super::Stage;
use super::header::blocks;
use crate::{Boot, DataDisk, Doing, Ended, Failure, Vaults};

/// How long the machine may take until it works on the disk.
const LINE: Duration = Duration::from_secs(120);

/// Boots, changes every written block of the disk while the file system is in use, and lets the machine go on working on it.
fn wrecked(stage: &Stage, kind: &str, words: &[&str]) -> Result<Ended, Failure> {
    let (data, vaults) = (DataDisk::blank_of(&stage.folder, 512 << 20)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = Boot::new(stage).data(&data, &vaults).word(vaults.commitment()).word("cvm.data.format=if-blank");
    let boot = words.iter().fold(boot.word(format!("cvm.data.fs={kind}")), |boot, word| boot.word(*word));
    boot.tasks("files:kept:4,wreck").run_with(|vm| {
        vm.console().wait_for("cvm-tests: wreck begins", LINE).doing("the machine at work")?;
        for at in blocks(&data, (16 << 20) + (64 << 10))? {
            data.flip(at + 1000)?;
        }
        Ok(())
    })
}

/// The default: no more writes, and the machine goes on; with `panic` it ends. Never wrong data.
pub(super) fn file_systems_stop_at_sectors_that_fail(stage: &Stage) -> Result<(), Failure> {
    let ends = [("ext4", "Remounting filesystem read-only"), ("xfs", "Shutting down filesystem"), ("btrfs", "forced readonly")];
    for (kind, line) in ends {
        let ended = wrecked(stage, kind, &[])?;
        ended.line("INTEGRITY AEAD ERROR")?;
        ended.line(line).map_err(|failure| Failure(format!("{kind}: {failure}")))?;
        ended.line("cvm-tests: the file system takes no more writes")?;
    }
    let panics = [
        ("ext4", "Kernel panic - not syncing: EXT4-fs"),
        ("xfs", "Kernel panic - not syncing: XFS"),
        ("btrfs", "Kernel panic - not syncing: BTRFS"),
    ];
    for (kind, line) in panics {
        let ended = wrecked(stage, kind, &["cvm.data.on-error=panic"])?;
        ended.line(line).map_err(|failure| Failure(format!("{kind}: {failure}")))?;
        ended.no_line("cvm-tests: the file system takes no more writes")?;
    }
    Ok(())
}
