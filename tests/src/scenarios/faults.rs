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

/// The default: no more writes, and the machine goes on; with `panic` it ends. Files are read as they were written, or not at all.
pub(super) fn file_system_stops_at_sectors_that_fail(stage: &Stage) -> Result<(), Failure> {
    let ended = wrecked(stage, "ext4", &[])?;
    ended.line("INTEGRITY AEAD ERROR")?;
    ended.line("Remounting filesystem read-only")?;
    ended.line("cvm-tests: the file system takes no more writes")?;
    let ended = wrecked(stage, "ext4", &["cvm.data.on-error=panic"])?;
    ended.line("Kernel panic - not syncing: EXT4-fs")?;
    ended.no_line("cvm-tests: the file system takes no more writes")
}
