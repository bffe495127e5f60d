//! Several data disks.

use serde_json::Value;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, BootResult, DataDisk, Failure, Vaults};

/// Re-encryption by copying, as documented: rotate, attach a blank disk under a name, copy, boot without the old disk. The
/// rotation changes both disks; the copy grows; each disk has a key of its own.
pub(super) fn copies_to_a_new_disk_with_a_key_of_its_own(context: &TestContext) -> Result<(), Failure> {
    let (old, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let new = old.copy("new.raw")?;
    let first = Boot::new(context).data(&old, &vaults).cmdline("cvm.data.format=if-blank");
    first.tasks("write:kept,files:kept:3").run()?.reached_the_real_system()?;
    let uuid = uuid_of(&Boot::new(context).data(&old, &vaults).run()?.boot_report()?)?;

    let both = |vaults: &Vaults, cmdline: &[&str], tasks: &str| -> Result<BootResult, Failure> {
        let boot = Boot::new(context).data(&old, vaults).disk(new.attached_as("second"));
        let boot = boot.data_disks("serial=data,srv:serial=second");
        cmdline.iter().fold(boot, |boot, argument| boot.cmdline(*argument)).tasks(tasks).run()
    };
    let cmdline = ["cvm.data.format=if-blank", &format!("cvm.data.uuid={uuid}")];
    let copied = both(&vaults, &cmdline, "read,copy:/srv")?;
    copied.reached_the_real_system()?;
    copied.line("cvm-tests: marker is kept")?;
    copied.line("cvm-tests: copied to /srv")?;
    let report = copied.boot_report()?;
    assert_field(&report, "/data/open_mode", &"opened")?;
    assert_field(&report, "/more_data/0/open_mode", &"formatted")?;
    assert_field(&report, "/more_data/0/name", &"srv")?;

    let vaults = vaults.rotating()?;
    new.resize(256 << 20)?;
    let rotated = both(&vaults, &["cvm.data.grow=yes"], "read")?;
    rotated.reached_the_real_system()?;
    let report = rotated.boot_report()?;
    assert_field(&report, "/data/open_mode", &"rotated")?;
    assert_field(&report, "/more_data/0/open_mode", &"rotated")?;
    if report.pointer("/more_data/0/grown_from_bytes").and_then(Value::as_u64).is_none() {
        return Err(Failure("the second disk did not grow".to_owned()));
    }

    let vaults = vaults.without_previous();
    let named = |name: &str| -> Result<BootResult, Failure> {
        let boot = Boot::new(context).data(&new, &vaults).data_disks(&format!("{name}serial=data"));
        let mount = if name.is_empty() { "cvm.data.mount=/data".to_owned() } else { format!("cvm.data.mount={name}/data") };
        boot.cmdline(mount).tasks("read,check").run()
    };
    let alone = named("srv:")?;
    alone.reached_the_real_system()?;
    alone.line("cvm-tests: marker is kept")?;
    alone.line("cvm-tests: whole kept-3")?;
    assert_field(&alone.boot_report()?, "/data/name", &"srv")?;
    // Another name means another key: PID 1 opens neither of two disks that the host swapped.
    named("")?.powered_off_with(85)?;
    let other = named("opt:")?;
    other.powered_off_with(85)?;
    other.line("data disk opt").map(drop)
}

fn uuid_of(report: &Value) -> Result<String, Failure> {
    let uuid = report.pointer("/data/luks_uuid").and_then(Value::as_str);
    uuid.map(str::to_owned).ok_or_else(|| Failure("the boot report contains no LUKS UUID".to_owned()))
}
