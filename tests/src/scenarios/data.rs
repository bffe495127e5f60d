//! The data disk.

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Failure, Vaults};

pub(super) fn survives_a_second_boot_into_systemd(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::provisioned(&stage.artifacts, 2, 3)?);
    let boot = |tasks: &str| {
        let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").word(vaults.commitment());
        boot.tasks(tasks).systemd().run()
    };
    let first = boot("write:hello")?;
    first.reached_the_real_system()?;
    first.line("system-up: the real system runs")?;
    assert_field(&first.receipt()?, "/data/what", &"formatted")?;

    let second = boot("read,units")?;
    second.reached_the_real_system()?;
    second.line("cvm-tests: marker is hello")?;
    second.line("cvm-tests: 0 failed units")?;
    assert_field(&second.receipt()?, "/data/what", &"opened")?;
    assert_field(&second.receipt()?, "/unlock/threshold", &2)
}

pub(super) fn leaves_a_blank_disk_blank(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    Boot::new(stage).data(&data, &vaults).run()?.stopped_with(72)?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn refuses_a_disk_neither_blank_nor_luks(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    data.write(5 << 20, b"x")?;
    Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").run()?.stopped_with(73)?;
    if data.read(5 << 20, 1)? == b"x" { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn refuses_to_format_on_two_shares_alone(stage: &Stage) -> Result<(), Failure> {
    // No commitment and one vault away: nothing proves the key that two shares make.
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.misbehaving(2, vault_node::Misbehaviour::Down);
    let data = DataDisk::blank(&stage.folder)?;
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    boot.word("cvm.vault.patience=12s").run()?.stopped_with(50)?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn refuses_a_cipher_null_keyslot(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let first = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    first.tasks("write:x").run()?.reached_the_real_system()?;
    crate::disk::spoil_keyslot_cipher(&data)?;
    let ended = Boot::new(stage).data(&data, &vaults).run()?;
    ended.stopped_with(75)?;
    // The header is judged before the network is up: no vault was asked.
    ended.no_line("phase unlock")
}
