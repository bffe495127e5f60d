//! A host that runs its own vault nodes beside the owner's: the same build, on genuine platforms, under the same root
//! certificate. All signatures verify, but the key is not the owner's.

use std::io::{self, Write};

use qemu::TdInfo;

use super::TestContext;
use super::root::assert_field;
use crate::forward::Redirect;
use crate::{Boot, BootResult, DataDisk, Failure, Vaults};

/// Enough for connections, quotes and shares, which take about two seconds under emulation.
const TIMEOUT: &str = "cvm.vault.timeout=15s";

/// Redirects the host's forwards when a text appears on the console.
struct Watcher {
    redirect: Redirect,
    until: &'static str,
    seen: String,
}

impl Write for Watcher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen.push_str(&String::from_utf8_lossy(bytes));
        if self.seen.contains(self.until) {
            self.redirect.start();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Watcher {
    fn until(redirect: &Redirect, until: &'static str) -> Box<dyn Write + Send> {
        Box::new(Self { redirect: redirect.clone(), until, seen: String::new() })
    }
}

/// Boots with the host's nodes admitting the guest too.
fn run(boot: Boot<'_>, host: &Vaults) -> Result<BootResult, Failure> {
    let td: TdInfo = boot.measurement()?;
    host.grant(&td)?;
    boot.run()
}

/// Expects that the host's nodes gave shares and that PID 1 used none of them.
fn refused(result: &BootResult, host: &Vaults) -> Result<(), Failure> {
    result.rebooted_with(52)?;
    result.line("the shares do not combine to the key that policy expects")?;
    result.no_line("phase data")?;
    match host.node(0)?.served().exports + host.node(1)?.served().exports + host.node(2)?.served().exports {
        2.. => Ok(()),
        exports => Err(Failure(format!("expected two shares or more from the host's nodes, found {exports}"))),
    }
}

pub(super) fn no_disk_is_formatted_under_the_hosts_key(context: &TestContext) -> Result<(), Failure> {
    let host = Vaults::up(&context.artifacts, 2, 3)?;
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.forwarded_to(&host, &Redirect::default())?;
    let data = DataDisk::blank(&context.folder)?;
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").cmdline(TIMEOUT);
    refused(&run(boot, &host)?, &host)?;
    data.expect_blank()
}

pub(super) fn no_disk_of_the_hosts_is_opened(context: &TestContext) -> Result<(), Failure> {
    let (host, data) = (Vaults::up(&context.artifacts, 2, 3)?, DataDisk::blank(&context.folder)?);
    let made = Boot::new(context).data(&data, &host).cmdline("cvm.data.format=if-blank").tasks("write:of-the-host");
    made.run()?.reached_the_real_system()?;
    let before = data.read(0, 20 << 20)?;
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.forwarded_to(&host, &Redirect::default())?;
    refused(&run(Boot::new(context).data(&data, &vaults).cmdline(TIMEOUT), &host)?, &host)?;
    if data.read(0, 20 << 20)? != before {
        return Err(Failure("the disk was written to".to_owned()));
    }
    // Without the commitment all signatures verify, so PID 1 accepts the host's disk: this shows what the commitment is for.
    let vaults = vaults.without_commitment();
    let opened = run(Boot::new(context).data(&data, &vaults).tasks("read"), &host)?;
    opened.reached_the_real_system()?;
    opened.line("cvm-tests: marker is of-the-host")?;
    opened.line("cvm.vault.key-commitment=none: nothing proves who owns the vaults")?;
    assert_field(&opened.boot_report()?, "/unlock/key_proof", &"disk")
}

pub(super) fn no_disk_is_rotated_to_the_hosts_key(context: &TestContext) -> Result<(), Failure> {
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let first = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").tasks("write:kept");
    first.run()?.reached_the_real_system()?;
    let before = data.read(0, 20 << 20)?;
    // The first unlock reaches the host's nodes, the second one the owner's.
    let (host, redirect) = (Vaults::up(&context.artifacts, 2, 3)?.rotating()?, Redirect::default());
    let vaults = vaults.rotating()?.forwarded_to(&host, &redirect)?;
    let boot = Boot::new(context).data(&data, &vaults).cmdline(TIMEOUT);
    let watched = boot.copy_to(Watcher::until(&redirect, "unlock: a disk does not open with "));
    refused(&run(watched, &host)?, &host)?;
    if data.read(0, 20 << 20)? != before {
        return Err(Failure("the disk was written to".to_owned()));
    }
    // When the host redirects the connections back, the same boot gets the owner's key and rotates to it.
    let redirect = Redirect::default();
    let vaults = vaults.forwarded_to(&host, &redirect)?;
    let boot = Boot::new(context).data(&data, &vaults).tasks("read");
    let rotated = run(boot.copy_to(Watcher::until(&redirect, "do not combine to the key; trying again")), &host)?;
    rotated.reached_the_real_system()?;
    rotated.line("cvm-tests: marker is kept")?;
    assert_field(&rotated.boot_report()?, "/data/open_mode", &"rotated")
}
