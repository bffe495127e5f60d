//! Scratch disks: their content lasts for one boot.

use std::process::Command;
use std::time::Duration;

use super::TestContext;
use super::image::with_partitions_of_the_host;
use super::root::assert_field;
use crate::{Boot, Context, DataDisk, Failure, Vaults};

/// Text that is written to scratch space and must not be on the disk.
const PLAINTEXT: &str = "this-is-the-plaintext-of-scratch-space";
/// The first bytes of a scratch disk.
const MARK: &[u8] = b"cvm-init scratch";
const SIZE: u64 = 160 << 20;
/// The longest boot: systemd beside another machine, or memory swapped out and back, under emulation.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) fn disk_is_empty_at_each_boot(context: &TestContext) -> Result<(), Failure> {
    let (files, memory) =
        (DataDisk::named(&context.folder, "files.raw", SIZE)?, DataDisk::named(&context.folder, "memory.raw", SIZE)?);
    // The host adds a swap area beside the root: memory must not be swapped there unencrypted.
    let root = with_partitions_of_the_host(context)?;
    let boot = || {
        let boot = Boot::new(context).root(root.clone()).disk(files.attached_as("files")).disk(memory.attached_as("memory"));
        let boot = boot.cmdline("cvm.scratch=serial=memory:swap,serial=files").for_at_most(LONGEST);
        boot.tasks(&format!("swaps,scratch:{PLAINTEXT},units"))
    };
    let first = boot().systemd().run()?;
    first.line("cvm-tests: 0 failed units")?;
    // systemd closed both scratch disks: only the root is still mapped.
    first.line("Not all DM devices detached, 1 left")?;
    for result in [first, boot().run()?] {
        result.reached_the_real_system()?;
        result.line("cvm-tests: scratch holds [lost+found ]")?;
        result.line("cvm-tests: wrote to scratch")?;
        result.line("mounts| /dev/mapper/scratch-1 /scratch ext4 rw,nosuid,nodev,")?;
        result.line("cvm-tests: swap on scratch-0: partition of ")?;
        result.line("cvm-tests: swap areas: 1")?;
        result.no_line("INTEGRITY AEAD ERROR")?;
        let report = result.boot_report()?;
        assert_field(&report, "/scratch/0/use", &"swap")?;
        assert_field(&report, "/scratch/1/disk", &"serial=files")?;
        assert_field(&report, "/scratch/1/use", &"/scratch")?;
    }
    [&files, &memory].into_iter().try_for_each(is_encrypted)
}

/// Expects the marker, data behind it, and no readable text.
fn is_encrypted(disk: &DataDisk) -> Result<(), Failure> {
    let bytes = std::fs::read(disk.file()).context("reading the scratch disk")?;
    let finds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if !bytes.starts_with(MARK) || bytes.iter().skip(16 << 20).filter(|byte| **byte != 0).count() < 1 << 20 {
        return Err(Failure("the scratch disk has no marker or less than 1 MiB of data".to_owned()));
    }
    // Headers of ext4, LUKS2 or swap must not be readable either.
    let known = [PLAINTEXT.as_bytes(), b"lost+found", b"LUKS\xba\xbe", b"SWAPSPACE2"];
    match known.into_iter().find(|text| finds(text)) {
        Some(text) => Err(Failure(format!("the scratch disk contains {:?} unencrypted", String::from_utf8_lossy(text)))),
        None => Ok(()),
    }
}

pub(super) fn memory_is_swapped_out_and_back(context: &TestContext) -> Result<(), Failure> {
    let memory = DataDisk::named(&context.folder, "memory.raw", SIZE)?;
    let boot = Boot::new(context).disk(memory.attached_as("memory")).cmdline("cvm.scratch=serial=memory:swap");
    let result = boot.tasks(&format!("swaps,swapped:{PLAINTEXT}:4")).for_at_most(LONGEST).run()?;
    result.reached_the_real_system()?;
    result.line("cvm-tests: 4 of 4 files whole after swapping")?;
    result.no_line("INTEGRITY AEAD ERROR")?;
    for counter in ["pswpout", "pswpin"] {
        let line = result.line(&format!("vmstat| {counter} "))?;
        // At least half of the files, in pages of 4 KiB.
        let pages = line.trim_end().rsplit(' ').next().and_then(|pages| pages.parse::<u64>().ok());
        if pages.is_none_or(|pages| pages < 8000) {
            return Err(Failure(line.to_owned()));
        }
    }
    is_encrypted(&memory)
}

pub(super) fn refuses_a_data_disk(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let scratch = DataDisk::named(&context.folder, "scratch.raw", SIZE)?;
    // Both disks in one boot, so that the data disk is whole.
    let both = |scratch: &DataDisk, argument: &str| {
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        boot.disk(scratch.attached_as("scratch")).cmdline(argument).tasks("write:kept").run()
    };
    both(&scratch, "cvm.scratch=serial=scratch")?.reached_the_real_system()?;
    both(&scratch, "cvm.scratch=serial=data")?.powered_off_with(26)?;

    let ext4 = DataDisk::named(&context.folder, "ext4.raw", SIZE)?;
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(ext4.file()).status().context("starting mkfs.ext4")?;
    if !made.success() {
        return Err(Failure(format!("mkfs.ext4: {made}")));
    }
    // Another disk has the scratch disk's serial number now, beside a usable scratch disk.
    for (wrong, seen) in [(&data, "a LUKS header"), (&ext4, "an ext2, ext3 or ext4 file system")] {
        let before = std::fs::read(wrong.file()).context("reading the disk")?;
        let boot = Boot::new(context).disk(scratch.attached_as("swap")).disk(wrong.attached_as("scratch"));
        let result = boot.cmdline("cvm.scratch=serial=swap:swap,serial=scratch").run()?;
        result.powered_off_with(62)?;
        result.line(&format!("serial=scratch holds {seen}: a scratch disk must be blank"))?;
        if std::fs::read(wrong.file()).context("reading the disk")? != before {
            return Err(Failure("the disk was written to".to_owned()));
        }
    }
    // PID 1 does not format a scratch disk as a data disk.
    let as_data = Boot::new(context).data(&scratch, &vaults).cmdline("cvm.data.format=if-blank");
    as_data.run()?.powered_off_with(73)?;
    let missing = Boot::new(context).cmdline("cvm.scratch=serial=nobody:swap").run()?;
    missing.rebooted_with(60)
}
