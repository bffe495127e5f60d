//! More than one data disk.

use serde_json::Value;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Ended, Failure, Vaults};

/// Re-encryption by copy, as the README says it: rotate, attach a blank disk under a name, copy, boot without the old one. The rotation
/// finds both disks; the copy grows; its key is no other disk's.
pub(super) fn copies_to_a_new_disk_with_a_key_of_its_own(stage: &Stage) -> Result<(), Failure> {
    let (old, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let new = old.copy("new.raw")?;
    let first = Boot::new(stage).data(&old, &vaults).word("cvm.data.format=if-blank");
    first.tasks("write:kept,files:kept:3").run()?.reached_the_real_system()?;
    let uuid = uuid_of(&Boot::new(stage).data(&old, &vaults).run()?.receipt()?)?;

    let both = |vaults: &Vaults, words: &[&str], tasks: &str| -> Result<Ended, Failure> {
        let boot = Boot::new(stage).data(&old, vaults).disk(new.attached_as("second"));
        let boot = boot.data_disks("serial=data,srv:serial=second");
        words.iter().fold(boot, |boot, word| boot.word(*word)).tasks(tasks).run()
    };
    let words = ["cvm.data.format=if-blank", &format!("cvm.data.uuid={uuid}")];
    let copied = both(&vaults, &words, "read,copy:/srv")?;
    copied.reached_the_real_system()?;
    copied.line("cvm-tests: marker is kept")?;
    copied.line("cvm-tests: copied to /srv")?;
    let receipt = copied.receipt()?;
    assert_field(&receipt, "/data/open_mode", &"opened")?;
    assert_field(&receipt, "/more_data/0/open_mode", &"formatted")?;
    assert_field(&receipt, "/more_data/0/name", &"srv")?;

    let vaults = vaults.rotating()?;
    new.resize(256 << 20)?;
    let rotated = both(&vaults, &["cvm.data.grow=yes"], "read")?;
    rotated.reached_the_real_system()?;
    let receipt = rotated.receipt()?;
    assert_field(&receipt, "/data/open_mode", &"rotated")?;
    assert_field(&receipt, "/more_data/0/open_mode", &"rotated")?;
    if receipt.pointer("/more_data/0/grown_from_bytes").and_then(Value::as_u64).is_none() {
        return Err(Failure("the second disk did not grow".to_owned()));
    }

    let vaults = vaults.rotated();
    let named = |name: &str| -> Result<Ended, Failure> {
        let boot = Boot::new(stage).data(&new, &vaults).data_disks(&format!("{name}serial=data"));
        let mount = if name.is_empty() { "cvm.data.mount=/data".to_owned() } else { format!("cvm.data.mount={name}/data") };
        boot.word(mount).tasks("read,check").run()
    };
    let alone = named("srv:")?;
    alone.reached_the_real_system()?;
    alone.line("cvm-tests: marker is kept")?;
    alone.line("cvm-tests: whole kept-3")?;
    assert_field(&alone.receipt()?, "/data/name", &"srv")?;
    // Under another name, or none, it is another key: a host that swaps two disks of one machine gets neither opened.
    named("")?.powered_off_with(85)?;
    let other = named("opt:")?;
    other.powered_off_with(85)?;
    other.line("data disk opt").map(drop)
}

fn uuid_of(receipt: &Value) -> Result<String, Failure> {
    let uuid = receipt.pointer("/data/luks_uuid").and_then(Value::as_str);
    uuid.map(str::to_owned).ok_or_else(|| Failure("no UUID in the boot report".to_owned()))
}
