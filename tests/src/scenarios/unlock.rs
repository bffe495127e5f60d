//! Vaults that serve, fail and misbehave.

use std::time::Duration;

use vault_node::Misbehaviour;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, BootResult, DataDisk, Failure, Vaults};

/// A first boot, which formats the disk.
fn format_with(context: &TestContext, vaults: &Vaults) -> Result<BootResult, Failure> {
    let data = DataDisk::blank(&context.folder)?;
    let boot = Boot::new(context).data(&data, vaults).cmdline("cvm.data.format=if-blank");
    boot.tasks("write:x,mounts").run()
}

pub(super) fn unlocks_with_three_of_three(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 3, 3)?;
    let result = format_with(context, &vaults)?;
    result.reached_the_real_system()?;
    result.line("mounts| /dev/mapper/data-crypt /data ext4")?;
    for index in 0..3 {
        assert_field(&result.boot_report()?, &format!("/unlock/vaults/{index}/status"), &"served")?;
    }
    Ok(())
}

pub(super) fn unlocks_with_one_vault_down(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.misbehaving(1, Misbehaviour::Down);
    let result = format_with(context, &vaults)?;
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/unlock/vaults/0/status", &"served")?;
    assert_field(&result.boot_report()?, "/unlock/vaults/2/status", &"served")
}

pub(super) fn unlocks_with_one_vault_hanging(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.misbehaving(0, Misbehaviour::HangAfterAccept);
    let result = format_with(context, &vaults)?;
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/unlock/vaults/0/status", &"slow")
}

pub(super) fn unlocks_with_one_wrong_share(context: &TestContext) -> Result<(), Failure> {
    // Without a commitment the disk's authenticated header shows which combination of shares is right.
    let (data, honest) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let first = Boot::new(context).data(&data, &honest).cmdline("cvm.data.format=if-blank");
    first.tasks("write:kept").run()?.reached_the_real_system()?;

    let misbehaving_vaults = honest
        .without_commitment()
        .misbehaving(0, Misbehaviour::WrongShare)
        .misbehaving(1, Misbehaviour::Slow(Duration::from_millis(300)));
    let result = Boot::new(context).data(&data, &misbehaving_vaults).tasks("read").run()?;
    result.reached_the_real_system()?;
    result.line("cvm-tests: marker is kept")?;
    assert_field(&result.boot_report()?, "/unlock/vaults/0/status", &"bad_share")?;
    assert_field(&result.boot_report()?, "/data/open_mode", &"opened")
}

pub(super) fn stops_when_one_vault_of_three_answers(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.misbehaving(0, Misbehaviour::Down).misbehaving(2, Misbehaviour::Down);
    let data = DataDisk::blank(&context.folder)?;
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
    let result = boot.cmdline("cvm.vault.timeout=12s").run()?;
    result.rebooted_with(50)?;
    result.line("unlock: 1 of 2 shares")?;
    data.expect_blank()
}

pub(super) fn counts_one_node_behind_two_addresses_once(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.forwarding_node(1, 0)?.misbehaving(2, Misbehaviour::Down);
    let data = DataDisk::blank(&context.folder)?;
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
    let result = boot.cmdline("cvm.vault.timeout=12s").run()?;
    result.rebooted_with(50)?;
    result.line("the same node as another vault")?;
    Ok(())
}

pub(super) fn stops_when_all_vaults_deny(context: &TestContext) -> Result<(), Failure> {
    let vaults = (0..3).fold(Vaults::up(&context.artifacts, 2, 3)?, |vaults, i| vaults.misbehaving(i, Misbehaviour::Deny));
    let data = DataDisk::blank(&context.folder)?;
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
    boot.cmdline("cvm.vault.timeout=12s").run()?.rebooted_with(51)
}

pub(super) fn stops_at_vaults_of_another_build(context: &TestContext) -> Result<(), Failure> {
    let vaults = Vaults::up(&context.artifacts, 2, 3)?;
    let vaults = vaults.misbehaving(0, Misbehaviour::WrongMrenclave).misbehaving(1, Misbehaviour::WrongMrenclave);
    let data = DataDisk::blank(&context.folder)?;
    let result =
        Boot::new(context).data(&data, &vaults).cmdline("cvm.vault.timeout=12s").cmdline("cvm.data.format=if-blank").run()?;
    result.rebooted_with(53)?;
    result.line("is not in cvm.vault.mrenclave")?;
    // PID 1 sends neither a quote nor a request to a vault that failed verification.
    match vaults.node(0)?.served() {
        served if served.presents == 0 && served.exports == 0 => Ok(()),
        served => {
            Err(Failure(format!("expected neither evidence nor a request for a vault that failed verification: {served:?}")))
        }
    }
}

pub(super) fn production_anchor_refuses_simulated_vaults(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = Boot::new(context).production().data(&data, &vaults).cmdline("cvm.data.format=if-blank");
    let result = boot.cmdline("cvm.vault.timeout=12s").run()?;
    result.rebooted_with(53)?;
    result.line("chain ends in another root")?;
    Ok(())
}
