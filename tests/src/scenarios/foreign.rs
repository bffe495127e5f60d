//! A host that runs a set of nodes of its own beside the owner's: the same build, on genuine platforms, under the same root. Every
//! signature verifies; the owner, and so the key, is another.

use std::io::{self, Write};

use machine::TdInfo;

use super::Stage;
use super::root::assert_field;
use crate::relay::Switch;
use crate::{Boot, DataDisk, Ended, Failure, Vaults};

/// The longest that is tried: under emulation a dial, a quote and a share take some two seconds.
const PATIENCE: &str = "cvm.vault.timeout=15s";

/// Switches a host's relays over when the console says so.
struct Watcher {
    switch: Switch,
    until: &'static str,
    seen: String,
}

impl Write for Watcher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen.push_str(&String::from_utf8_lossy(bytes));
        if self.seen.contains(self.until) {
            self.switch.over();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Watcher {
    fn until(switch: &Switch, until: &'static str) -> Box<dyn Write + Send> {
        Box::new(Self { switch: switch.clone(), until, seen: String::new() })
    }
}

/// The host's nodes let the guest in as well: they are the host's.
fn run(boot: Boot<'_>, host: &Vaults) -> Result<Ended, Failure> {
    let td: TdInfo = boot.measurement()?;
    host.grant(&td)?;
    boot.run()
}

/// Expects that the host's shares came, made no key, and that nothing came of them.
fn refused(ended: &Ended, host: &Vaults) -> Result<(), Failure> {
    ended.rebooted_with(52)?;
    ended.line("the shares do not combine to the key that policy expects")?;
    ended.no_line("phase data")?;
    match host.node(0)?.served().exports + host.node(1)?.served().exports + host.node(2)?.served().exports {
        2.. => Ok(()),
        exports => Err(Failure(format!("the host's nodes gave {exports} shares: the scenario shows nothing"))),
    }
}

pub(super) fn no_disk_is_formatted_under_the_hosts_key(stage: &Stage) -> Result<(), Failure> {
    let host = Vaults::up(&stage.artifacts, 2, 3)?;
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.led_to(&host, &Switch::default())?;
    let data = DataDisk::blank(&stage.folder)?;
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").word(PATIENCE);
    refused(&run(boot, &host)?, &host)?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was written to".to_owned())) }
}

pub(super) fn no_disk_of_the_hosts_is_opened(stage: &Stage) -> Result<(), Failure> {
    let (host, data) = (Vaults::up(&stage.artifacts, 2, 3)?, DataDisk::blank(&stage.folder)?);
    let made = Boot::new(stage).data(&data, &host).word("cvm.data.format=if-blank").tasks("write:of-the-host");
    made.run()?.reached_the_real_system()?;
    let before = data.read(0, 20 << 20)?;
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.led_to(&host, &Switch::default())?;
    refused(&run(Boot::new(stage).data(&data, &vaults).word(PATIENCE), &host)?, &host)?;
    if data.read(0, 20 << 20)? != before {
        return Err(Failure("the disk was written to".to_owned()));
    }
    // What the commitment is for: without it every signature verifies, and the host's disk is the owner's.
    let vaults = vaults.uncommitted();
    let opened = run(Boot::new(stage).data(&data, &vaults).tasks("read"), &host)?;
    opened.reached_the_real_system()?;
    opened.line("cvm-tests: marker is of-the-host")?;
    opened.line("cvm.vault.key-commitment=none: nothing proves who owns the vaults")?;
    assert_field(&opened.receipt()?, "/unlock/key_proof", &"disk")
}

pub(super) fn no_disk_is_rotated_to_the_hosts_key(stage: &Stage) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let first = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").tasks("write:kept");
    first.run()?.reached_the_real_system()?;
    let before = data.read(0, 20 << 20)?;
    // The first gathering is led to the host's nodes, the second to the owner's.
    let (host, switch) = (Vaults::up(&stage.artifacts, 2, 3)?.rotating()?, Switch::default());
    let vaults = vaults.rotating()?.led_to(&host, &switch)?;
    let boot = Boot::new(stage).data(&data, &vaults).word(PATIENCE);
    let watched = boot.copy_to(Watcher::until(&switch, "unlock: a disk does not open with "));
    refused(&run(watched, &host)?, &host)?;
    if data.read(0, 20 << 20)? != before {
        return Err(Failure("the disk was written to".to_owned()));
    }
    // Led back as soon as the host's shares have failed, the same boot gets the owner's key and rotates to it.
    let switch = Switch::default();
    let vaults = vaults.led_to(&host, &switch)?;
    let boot = Boot::new(stage).data(&data, &vaults).tasks("read");
    let rotated = run(boot.copy_to(Watcher::until(&switch, "do not combine to the key; trying again")), &host)?;
    rotated.reached_the_real_system()?;
    rotated.line("cvm-tests: marker is kept")?;
    assert_field(&rotated.receipt()?, "/data/open_mode", &"rotated")
}
