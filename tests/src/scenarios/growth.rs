//! A disk that the host makes larger and smaller.

use serde_json::Value;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, BootResult, DataDisk, Failure, Vaults};

/// The size at the first format.
const SMALL: u64 = 512 << 20;
/// The larger size: no multiple of a unit that a file system or dm-integrity uses.
const LARGE: u64 = (3 << 30) + (5 << 20) + 12 * 4096;

/// A disk of one file system, and the boots that change its size.
struct GrowthTest<'a> {
    context: &'a TestContext,
    kind: &'a str,
    data: DataDisk,
    vaults: Vaults,
}

impl<'a> GrowthTest<'a> {
    fn new(context: &'a TestContext, kind: &'a str) -> Result<Self, Failure> {
        let (data, vaults) = (DataDisk::blank_of(&context.folder, SMALL)?, Vaults::up(&context.artifacts, 2, 3)?);
        Ok(Self { context, kind, data, vaults })
    }

    fn boot(&self, bytes: u64, cmdline: &[&str], tasks: &str) -> Result<BootResult, Failure> {
        self.data.resize(bytes)?;
        let boot = Boot::new(self.context).data(&self.data, &self.vaults).cpus(4);
        let boot = boot.cmdline(format!("cvm.data.fstype={}", self.kind)).tasks(tasks);
        cmdline.iter().fold(boot, |boot, argument| boot.cmdline(*argument)).run()
    }

    /// Boots, and expects that the first boot's files are whole and that nothing was read that was never written.
    fn boot_and_check(&self, bytes: u64, cmdline: &[&str], tasks: &str) -> Result<Value, Failure> {
        let result = self.boot(bytes, cmdline, tasks)?;
        result.reached_the_real_system()?;
        result.line("cvm-tests: whole kept-2")?;
        result.no_line("INTEGRITY AEAD ERROR")?;
        result.no_line("EXT4-fs error")?;
        if tasks.contains("stress") {
            result.line("cvm-tests: stress ended with 0")?;
        }
        if tasks.contains("fsck") {
            result.line(&format!("cvm-tests: fsck of {} ended with 0", self.kind))?;
        }
        result.boot_report()
    }
}

fn number(report: &Value, field: &str) -> Result<u64, Failure> {
    let found = report.pointer(field).and_then(Value::as_u64);
    found.ok_or_else(|| Failure(format!("{field} must be a number: {:?}", report.pointer(field))))
}

/// Formats a small disk; boots it larger, small again, larger with `cvm.data.grow=yes`, then too small, then larger again.
pub(super) fn grows_with_its_disk_on_ext4(context: &TestContext) -> Result<(), Failure> {
    let test = GrowthTest::new(context, "ext4")?;
    let first = test.boot(SMALL, &["cvm.data.format=if-blank"], "files:kept:2")?;
    let small = number(&first.boot_report()?, "/data/mapped_bytes")?;
    let larger = test.boot_and_check(LARGE, &[], "check,close")?;
    assert_field(&larger, "/data/grown_from_bytes", &Value::Null)?;
    let large = number(&larger, "/data/mapped_bytes")?;
    if large < small + (2 << 30) {
        return Err(Failure(format!("only {large} bytes are mapped of a disk of {LARGE}")));
    }
    let small_again = test.boot_and_check(SMALL, &[], "check")?;
    assert_field(&small_again, "/data/mapped_bytes", &small)?;
    let grown = test.boot_and_check(LARGE, &["cvm.data.grow=yes"], "check,stress:16:60,fsck")?;
    let before = number(&grown, "/data/grown_from_bytes")?;
    if before > small {
        return Err(Failure(format!("the report says that it grew from {before} bytes, more than the {small} mapped before")));
    }
    let stays = test.boot_and_check(LARGE, &["cvm.data.grow=yes"], "check,fsck,close")?;
    assert_field(&stays, "/data/grown_from_bytes", &Value::Null)?;
    let whole = test.data.copy("whole.raw")?;
    let refused = test.boot(SMALL, &[], "check")?;
    refused.powered_off_with(79)?;
    refused.line("give the disk its former size")?;
    // Restores the size and content, with the headers that the boot of the smaller disk wrote.
    whole.write(0, &test.data.read(0, 17 << 20)?)?;
    let test = GrowthTest { data: whole, ..test };
    test.boot_and_check(LARGE, &[], "check,fsck").map(drop)
}

/// Formats a small disk, grows it, then makes it too small.
fn grows_once(context: &TestContext, kind: &str) -> Result<(), Failure> {
    let test = GrowthTest::new(context, kind)?;
    test.boot(SMALL, &["cvm.data.format=if-blank"], "files:kept:2,close")?.line("cvm-tests: the disk is closed")?;
    let grown = test.boot_and_check(LARGE, &["cvm.data.grow=yes"], "check,stress:16:60,fsck,close")?;
    number(&grown, "/data/grown_from_bytes")?;
    let refused = test.boot(SMALL, &[], "check")?;
    refused.powered_off_with(79)?;
    refused.line("give the disk its former size").map(drop)
}

pub(super) fn grows_with_its_disk_on_xfs(context: &TestContext) -> Result<(), Failure> {
    grows_once(context, "xfs")
}

pub(super) fn grows_with_its_disk_on_btrfs(context: &TestContext) -> Result<(), Failure> {
    grows_once(context, "btrfs")
}
