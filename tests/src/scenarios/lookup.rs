//! Disks that are none of the machine's, odd ones, and ones that are not there.

use std::ffi::OsString;
use std::time::Duration;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Doing, Failure, Vaults};

/// How long the guest may take to a line of its console.
const READY: Duration = Duration::from_secs(120);

pub(super) fn boots_beside_damaged_disks(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let odd = |name: &str| DataDisk::named(&stage.folder, name, 8 << 20);
    let (torn, noise, unreadable) = (odd("torn.raw")?, odd("noise.raw")?, odd("unreadable.raw")?);
    // The image's own table with one byte changed, so that its checksum does not hold.
    let mut table = vec![0; 64 << 10];
    let image = std::fs::File::open(&stage.artifacts.image).doing("the image")?;
    std::os::unix::fs::FileExt::read_exact_at(&image, &mut table, 0).doing("the image's table")?;
    torn.write(0, &table)?;
    torn.flip(512 + 60)?;
    noise.write(0, &(0..64_u32 << 10).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect::<Vec<_>>())?;
    let mut drive = OsString::from(
        "if=none,id=unreadable,driver=raw,file.driver=blkdebug,file.inject-error.0.event=read_aio,file.image.driver=file,file.image.filename=",
    );
    drive.push(unreadable.file());
    let boot = || {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
        let arguments =
            ["-drive".into(), drive.clone(), "-device".into(), "virtio-blk-pci,drive=unreadable,serial=unreadable".into()];
        boot.disk(torn.attached_as("torn")).disk(noise.attached_as("noise")).arguments(arguments).tasks("write:kept")
    };
    let ended = boot().run()?;
    ended.reached_the_real_system()?;
    ended.line("disk is not searched for partitions: vdc: partition table: ")?;
    ended.line("disk is not searched for partitions: vde: read ")?;
    ended.no_line("disk is not searched for partitions: vdd")?;
    // A disk that does not appear: what is there is told.
    let ended = Boot::new(stage).data(&data, &vaults).word("cvm.root=serial=nobody").run()?;
    ended.rebooted_with(30)?;
    ended.line("disk with serial nobody did not appear; serials seen: \"root\" (vda), \"data\" (vdb)").map(drop)
}

pub(super) fn gives_up_a_disk_that_does_not_answer(stage: &Stage) -> Result<(), Failure> {
    // Enough for the kernel's look at the partition table; the header's second megabyte would come after two minutes.
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let silent = DataDisk::named(&stage.folder, "silent.raw", 64 << 20)?;
    let mut drive = OsString::from("if=none,id=silent,format=raw,throttling.bps-read=8192,file=");
    drive.push(silent.file());
    let arguments = ["-drive".into(), drive, "-device".into(), "virtio-blk-pci,drive=silent,serial=silent".into()];
    let boot = Boot::new(stage).data(&data, &vaults).data_disks("serial=silent").arguments(arguments);
    let ended = boot.word("cvm.data.format=if-blank").word("cvm.debug=timeline").run()?;
    ended.rebooted_with(71)?;
    ended.line("a request to read has no answer for 5 s")?;
    ended.line("rebooting: another try may help").map(drop)
}

pub(super) fn reboots_when_a_disk_does_not_answer_its_driver(stage: &Stage) -> Result<(), Failure> {
    // The kernel reads the partition table inside of the call that loads the driver: the second of these reads is never answered.
    let spare = DataDisk::named(&stage.folder, "spare.raw", 64 << 20)?;
    let ended = Boot::new(stage).disk(spare.attached_as("spare")).run_with(|vm| {
        vm.console().wait_for("Linux version", READY).doing("the kernel's start")?;
        vm.silence_disk(1).doing("silencing the disk")
    })?;
    ended.rebooted_with(14)?;
    ended.line("virtio_blk.ko").map(drop)
}

pub(super) fn reboots_beside_a_disk_that_stops_answering(stage: &Stage) -> Result<(), Failure> {
    // It is none of the machine's; the search for the root's partitions reads it. Nothing may be written for a boot that cannot end well.
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let spare = DataDisk::named(&stage.folder, "spare.raw", 64 << 20)?;
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").disk(spare.attached_as("spare"));
    let ended = boot.word("cvm.debug=pause:root").for_at_most(Duration::from_secs(240)).run_with(|vm| {
        vm.console().wait_for("paused before root", READY).doing("the pause")?;
        vm.silence_disk(2).doing("silencing the disk")?;
        vm.console().send("\n").doing("typing")
    })?;
    ended.rebooted_with(39)?;
    ended.line("/dev/vdc: a request to read has no answer for 5 s")?;
    ended.line("disk is not searched for partitions: vdc: read /dev/vdc: Connection timed out")?;
    ended.line("phase root: ")?;
    // Each search would wait a minute for it, if it were asked again.
    let waits = ended.lines.iter().filter(|line| line.contains("has no answer for 5 s")).count();
    if waits != 1 {
        return Err(Failure(format!("the disk was asked {waits} times")));
    }
    if data.is_blank()? { Ok(()) } else { Err(Failure("the data disk was written to".to_owned())) }
}

pub(super) fn finds_large_sectors_and_long_serials(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
        boot.serial("a-serial-of-more-than-twenty-bytes").sectors(4096).tasks(tasks)
    };
    boot("write:kept").run()?.reached_the_real_system()?;
    let second = boot("read").run()?;
    second.line("cvm-tests: marker is kept")?;
    assert_field(&second.receipt()?, "/data/open_mode", &"opened")?;
    // The image's table is for sectors of 512 bytes.
    let root = boot("none").root_sectors(4096).run()?;
    root.powered_off_with(38)?;
    root.line("is in a partition table for 512-byte sectors, but vda has 4096-byte sectors").map(drop)
}
