//! Vaults that serve, fail and lie.

use std::time::Duration;

use vault_node::Misbehaviour;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Ended, Failure, Vaults};

/// A first boot that formats.
fn format_with(stage: &Stage, vaults: &Vaults) -> Result<Ended, Failure> {
    let data = DataDisk::blank(&stage.folder)?;
    let boot = Boot::new(stage).data(&data, vaults).word("cvm.data.format=if-blank");
    boot.tasks("write:x,mounts").run()
}

pub(super) fn unlocks_with_three_of_three(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 3, 3)?;
    let ended = format_with(stage, &vaults)?;
    ended.reached_the_real_system()?;
    ended.line("mounts| /dev/mapper/data-crypt /data ext4")?;
    for index in 0..3 {
        assert_field(&ended.receipt()?, &format!("/unlock/vaults/{index}/status"), &"served")?;
    }
    Ok(())
}

pub(super) fn unlocks_with_one_vault_down(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.misbehaving(1, Misbehaviour::Down);
    let ended = format_with(stage, &vaults)?;
    ended.reached_the_real_system()?;
    assert_field(&ended.receipt()?, "/unlock/vaults/0/status", &"served")?;
    assert_field(&ended.receipt()?, "/unlock/vaults/2/status", &"served")
}

pub(super) fn unlocks_with_one_vault_hanging(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.misbehaving(0, Misbehaviour::HangAfterAccept);
    let ended = format_with(stage, &vaults)?;
    ended.reached_the_real_system()?;
    assert_field(&ended.receipt()?, "/unlock/vaults/0/status", &"slow")
}

pub(super) fn unlocks_with_one_vault_lying(stage: &Stage) -> Result<(), Failure> {
    // An existing disk and no commitment: its authentication token verifies the true candidate.
    let (data, honest) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let first = Boot::new(stage).data(&data, &honest).word("cvm.data.format=if-blank");
    first.tasks("write:kept").run()?.reached_the_real_system()?;

    let lying = honest
        .uncommitted()
        .misbehaving(0, Misbehaviour::WrongShare)
        .misbehaving(1, Misbehaviour::Slow(Duration::from_millis(300)));
    let ended = Boot::new(stage).data(&data, &lying).tasks("read").run()?;
    ended.reached_the_real_system()?;
    ended.line("cvm-tests: marker is kept")?;
    assert_field(&ended.receipt()?, "/unlock/vaults/0/status", &"bad_share")?;
    assert_field(&ended.receipt()?, "/data/open_mode", &"opened")
}

pub(super) fn stops_when_one_vault_of_three_answers(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.misbehaving(0, Misbehaviour::Down).misbehaving(2, Misbehaviour::Down);
    let data = DataDisk::blank(&stage.folder)?;
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    let ended = boot.word("cvm.vault.timeout=12s").run()?;
    ended.rebooted_with(50)?;
    ended.line("unlock: 1 of 2 shares")?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn counts_one_node_behind_two_addresses_once(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.leading(1, 0)?.misbehaving(2, Misbehaviour::Down);
    let data = DataDisk::blank(&stage.folder)?;
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    let ended = boot.word("cvm.vault.timeout=12s").run()?;
    ended.rebooted_with(50)?;
    ended.line("the same node as another vault")?;
    Ok(())
}

pub(super) fn stops_when_all_vaults_deny(stage: &Stage) -> Result<(), Failure> {
    let vaults = (0..3).fold(Vaults::up(&stage.artifacts, 2, 3)?, |vaults, i| vaults.misbehaving(i, Misbehaviour::Deny));
    let data = DataDisk::blank(&stage.folder)?;
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    boot.word("cvm.vault.timeout=12s").run()?.rebooted_with(51)
}

pub(super) fn stops_at_vaults_of_another_build(stage: &Stage) -> Result<(), Failure> {
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?;
    let vaults = vaults.misbehaving(0, Misbehaviour::WrongMrenclave).misbehaving(1, Misbehaviour::WrongMrenclave);
    let data = DataDisk::blank(&stage.folder)?;
    let ended = Boot::new(stage).data(&data, &vaults).word("cvm.vault.timeout=12s").word("cvm.data.format=if-blank").run()?;
    ended.rebooted_with(53)?;
    ended.line("is not in cvm.vault.mrenclave")?;
    // An unverified vault gets neither the guest's quote nor a request.
    match vaults.node(0)?.served() {
        served if served.presents == 0 && served.exports == 0 => Ok(()),
        served => Err(Failure(format!("the vault was told something: {served:?}"))),
    }
}

pub(super) fn intels_anchor_refuses_simulated_vaults(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = Boot::new(stage).production().data(&data, &vaults).word("cvm.data.format=if-blank");
    let ended = boot.word("cvm.vault.timeout=12s").run()?;
    ended.rebooted_with(53)?;
    ended.line("chain ends in another root")?;
    Ok(())
}
