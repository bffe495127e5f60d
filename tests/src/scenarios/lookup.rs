//! Foreign disks, damaged disks, disks that do not answer, and missing disks.

use std::ffi::OsString;
use std::time::Duration;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, Context, DataDisk, Failure, Vaults};

/// The longest that the guest may take to print a line.
const READY: Duration = Duration::from_secs(120);

pub(super) fn boots_beside_damaged_disks(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let odd = |name: &str| DataDisk::named(&context.folder, name, 8 << 20);
    let (torn, noise, unreadable) = (odd("torn.raw")?, odd("noise.raw")?, odd("unreadable.raw")?);
    // The image's partition table with one byte changed, so that the checksum is wrong.
    let mut table = vec![0; 64 << 10];
    let image = std::fs::File::open(&context.artifacts.image).context("reading the image")?;
    std::os::unix::fs::FileExt::read_exact_at(&image, &mut table, 0).context("reading the image's partition table")?;
    torn.write(0, &table)?;
    torn.flip(512 + 60)?;
    noise.write(0, &(0..64_u32 << 10).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect::<Vec<_>>())?;
    let mut drive = OsString::from(
        "if=none,id=unreadable,driver=raw,file.driver=blkdebug,file.inject-error.0.event=read_aio,file.image.driver=file,file.image.filename=",
    );
    drive.push(unreadable.file());
    let boot = || {
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        let arguments =
            ["-drive".into(), drive.clone(), "-device".into(), "virtio-blk-pci,drive=unreadable,serial=unreadable".into()];
        boot.disk(torn.attached_as("torn")).disk(noise.attached_as("noise")).qemu_arguments(arguments).tasks("write:kept")
    };
    let result = boot().run()?;
    result.reached_the_real_system()?;
    result.line("disk is not searched for partitions: vdc: partition table: ")?;
    result.line("disk is not searched for partitions: vde: read ")?;
    result.no_line("disk is not searched for partitions: vdd")?;
    // For a disk that is missing, the message lists the disks that are there.
    let result = Boot::new(context).data(&data, &vaults).cmdline("cvm.root=serial=nobody").run()?;
    result.rebooted_with(30)?;
    result.line("disk with serial nobody did not appear; serials seen: \"root\" (vda), \"data\" (vdb)").map(drop)
}

pub(super) fn gives_up_a_disk_that_does_not_answer(context: &TestContext) -> Result<(), Failure> {
    // Fast enough for the kernel to read the partition table; the second megabyte of the header would take two minutes.
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let silent = DataDisk::named(&context.folder, "silent.raw", 64 << 20)?;
    let mut drive = OsString::from("if=none,id=silent,format=raw,throttling.bps-read=8192,file=");
    drive.push(silent.file());
    let arguments = ["-drive".into(), drive, "-device".into(), "virtio-blk-pci,drive=silent,serial=silent".into()];
    let boot = Boot::new(context).data(&data, &vaults).data_disks("serial=silent").qemu_arguments(arguments);
    let result = boot.cmdline("cvm.data.format=if-blank").cmdline("cvm.debug=timeline").run()?;
    result.rebooted_with(71)?;
    result.line("a request to read has no answer for 5 s")?;
    result.line("rebooting: another try may help").map(drop)
}

pub(super) fn reboots_when_a_disk_does_not_answer_its_driver(context: &TestContext) -> Result<(), Failure> {
    // The kernel reads the partition table in the call that loads the driver; the host does not answer the second read.
    let spare = DataDisk::named(&context.folder, "spare.raw", 64 << 20)?;
    let result = Boot::new(context).disk(spare.attached_as("spare")).run_with(|vm| {
        vm.console().wait_for("Linux version", READY).context("waiting for the kernel")?;
        vm.stall_disk(1).context("stopping the disk from answering")
    })?;
    result.rebooted_with(14)?;
    result.line("virtio_blk.ko").map(drop)
}

pub(super) fn reboots_beside_a_disk_that_stops_answering(context: &TestContext) -> Result<(), Failure> {
    // The search for the root's partitions reads a disk that is not the machine's. PID 1 must write nothing in a boot that will
    // fail.
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let spare = DataDisk::named(&context.folder, "spare.raw", 64 << 20)?;
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").disk(spare.attached_as("spare"));
    let result = boot.cmdline("cvm.debug=pause:root").for_at_most(Duration::from_secs(240)).run_with(|vm| {
        vm.console().wait_for("paused before root", READY).context("waiting for the pause")?;
        vm.stall_disk(2).context("stopping the disk from answering")?;
        vm.console().send("\n").context("writing to the console")
    })?;
    result.rebooted_with(39)?;
    result.line("/dev/vdc: a request to read has no answer for 5 s")?;
    result.line("disk is not searched for partitions: vdc: read /dev/vdc: Connection timed out")?;
    result.line("phase root: ")?;
    // PID 1 must not ask it again: each search would wait for a minute.
    let waits = result.lines.iter().filter(|line| line.contains("has no answer for 5 s")).count();
    if waits != 1 {
        return Err(Failure(format!("expected one read of the disk, found {waits}")));
    }
    data.expect_blank()
}

pub(super) fn finds_large_sectors_and_long_serials(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        boot.serial("a-serial-of-more-than-twenty-bytes").sectors(4096).tasks(tasks)
    };
    boot("write:kept").run()?.reached_the_real_system()?;
    let second = boot("read").run()?;
    second.line("cvm-tests: marker is kept")?;
    assert_field(&second.boot_report()?, "/data/open_mode", &"opened")?;
    // The image's partition table is for sectors of 512 bytes.
    let root = boot("none").root_sectors(4096).run()?;
    root.powered_off_with(38)?;
    root.line("is in a partition table for 512-byte sectors, but vda has 4096-byte sectors").map(drop)
}
