//! Disks whose content lasts for one boot.

use std::process::Command;
use std::time::Duration;

use super::Stage;
use super::image::with_partitions_of_the_host;
use super::root::assert_field;
use crate::{Boot, DataDisk, Doing, Failure, Vaults};

/// What is written to scratch space, and must not be found on a disk.
const PLAINTEXT: &str = "this-is-the-plaintext-of-scratch-space";
/// What a scratch disk begins with.
const MARK: &[u8] = b"cvm-init scratch";
const SIZE: u64 = 160 << 20;
/// The longest that a boot may take: systemd beside another machine, or memory to swap and back, under emulation.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) fn is_new_at_each_boot(stage: &Stage) -> Result<(), Failure> {
    let (files, memory) =
        (DataDisk::named(&stage.folder, "files.raw", SIZE)?, DataDisk::named(&stage.folder, "memory.raw", SIZE)?);
    // The host adds a swap area of its own beside the root: memory must not go there in the clear.
    let root = with_partitions_of_the_host(stage)?;
    let boot = || {
        let boot = Boot::new(stage).root(root.clone()).disk(files.attached_as("files")).disk(memory.attached_as("memory"));
        let boot = boot.word("cvm.scratch=serial=memory:swap,serial=files").for_at_most(LONGEST);
        boot.tasks(&format!("swaps,scratch:{PLAINTEXT},units"))
    };
    let first = boot().systemd().run()?;
    first.line("cvm-tests: 0 failed units")?;
    // systemd gives both back: what stays mapped to the end is the root.
    first.line("Not all DM devices detached, 1 left")?;
    for ended in [first, boot().run()?] {
        ended.reached_the_real_system()?;
        ended.line("cvm-tests: scratch holds [lost+found ]")?;
        ended.line("cvm-tests: wrote to scratch")?;
        ended.line("mounts| /dev/mapper/scratch-1 /scratch ext4 rw,nosuid,nodev,")?;
        ended.line("cvm-tests: swap on scratch-0: partition of ")?;
        ended.line("cvm-tests: swap areas: 1")?;
        ended.no_line("INTEGRITY AEAD ERROR")?;
        let receipt = ended.receipt()?;
        assert_field(&receipt, "/scratch/0/use", &"swap")?;
        assert_field(&receipt, "/scratch/1/disk", &"serial=files")?;
        assert_field(&receipt, "/scratch/1/use", &"/scratch")?;
    }
    [&files, &memory].into_iter().try_for_each(is_encrypted)
}

/// The mark in front, something behind it, and nothing of it readable.
fn is_encrypted(disk: &DataDisk) -> Result<(), Failure> {
    let bytes = std::fs::read(disk.file()).doing("reading the scratch disk")?;
    let finds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if !bytes.starts_with(MARK) || bytes.iter().skip(16 << 20).filter(|byte| **byte != 0).count() < 1 << 20 {
        return Err(Failure("the scratch disk was not used".to_owned()));
    }
    // What ext4, LUKS2 and swap areas begin with would tell as much as the text itself.
    let known = [PLAINTEXT.as_bytes(), b"lost+found", b"LUKS\xba\xbe", b"SWAPSPACE2"];
    match known.into_iter().find(|text| finds(text)) {
        Some(text) => Err(Failure(format!("on the scratch disk: {:?}", String::from_utf8_lossy(text)))),
        None => Ok(()),
    }
}

pub(super) fn memory_goes_to_swap_and_comes_back(stage: &Stage) -> Result<(), Failure> {
    let memory = DataDisk::named(&stage.folder, "memory.raw", SIZE)?;
    let boot = Boot::new(stage).disk(memory.attached_as("memory")).word("cvm.scratch=serial=memory:swap");
    let ended = boot.tasks(&format!("swaps,swapped:{PLAINTEXT}:4")).for_at_most(LONGEST).run()?;
    ended.reached_the_real_system()?;
    ended.line("cvm-tests: 4 of 4 files whole after swapping")?;
    ended.no_line("INTEGRITY AEAD ERROR")?;
    for counter in ["pswpout", "pswpin"] {
        let line = ended.line(&format!("vmstat| {counter} "))?;
        // Half of the files at least, in pages of 4 KiB.
        let pages = line.trim_end().rsplit(' ').next().and_then(|pages| pages.parse::<u64>().ok());
        if pages.is_none_or(|pages| pages < 8000) {
            return Err(Failure(line.to_owned()));
        }
    }
    is_encrypted(&memory)
}

pub(super) fn refuses_a_data_disk(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let scratch = DataDisk::named(&stage.folder, "scratch.raw", SIZE)?;
    // Both in one boot, so that the data disk is whole.
    let both = |scratch: &DataDisk, word: &str| {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
        boot.disk(scratch.attached_as("scratch")).word(word).tasks("write:kept").run()
    };
    both(&scratch, "cvm.scratch=serial=scratch")?.reached_the_real_system()?;
    both(&scratch, "cvm.scratch=serial=data")?.powered_off_with(26)?;

    let ext4 = DataDisk::named(&stage.folder, "ext4.raw", SIZE)?;
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(ext4.file()).status().doing("mkfs.ext4")?;
    if !made.success() {
        return Err(Failure(format!("mkfs.ext4: {made}")));
    }
    // The serial number of the scratch disk is on another disk now, beside one that would do.
    for (wrong, seen) in [(&data, "a LUKS header"), (&ext4, "an ext2, ext3 or ext4 file system")] {
        let before = std::fs::read(wrong.file()).doing("reading the disk")?;
        let boot = Boot::new(stage).disk(scratch.attached_as("swap")).disk(wrong.attached_as("scratch"));
        let ended = boot.word("cvm.scratch=serial=swap:swap,serial=scratch").run()?;
        ended.powered_off_with(62)?;
        ended.line(&format!("serial=scratch holds {seen}: a scratch disk must be blank"))?;
        if std::fs::read(wrong.file()).doing("reading the disk")? != before {
            return Err(Failure("the disk was written to".to_owned()));
        }
    }
    // Nor does a scratch disk become a data disk.
    let as_data = Boot::new(stage).data(&scratch, &vaults).word("cvm.data.format=if-blank");
    as_data.run()?.powered_off_with(73)?;
    let missing = Boot::new(stage).word("cvm.scratch=serial=nobody:swap").run()?;
    missing.rebooted_with(60)
}
