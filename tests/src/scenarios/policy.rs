//! The measured command line and what it sets.

use std::time::Duration;

use qemu::Exit;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, Context, DataDisk, Failure, Vaults};

pub(super) fn refuses_unknown_arguments(context: &TestContext) -> Result<(), Failure> {
    Boot::new(context).cmdline("cvm.dta=serial=data").run()?.powered_off_with(21)
}

pub(super) fn refuses_a_repeated_root_hash(context: &TestContext) -> Result<(), Failure> {
    Boot::new(context).cmdline(format!("roothash={}", "00".repeat(32))).run()?.powered_off_with(22)
}

pub(super) fn debug_arguments_work_and_are_reported(context: &TestContext) -> Result<(), Failure> {
    let boot = Boot::new(context).cmdline("cvm.debug=timeline,pause:policy,pause:measure,pause:handoff").cmdline("cvm.log=debug");
    let result = boot.run_with(|vm| {
        ["after policy", "before measure", "before handoff"].into_iter().try_for_each(|place| {
            vm.console()
                .wait_for(&format!("cvm-init: paused {place}"), Duration::from_secs(90))
                .context("waiting for the pause")?;
            vm.console().send("\n").context("writing to the console")
        })
    })?;
    result.reached_the_real_system()?;
    result.line("s root: verity active")?;
    let report = result.boot_report()?;
    for (place, argument) in ["pause:policy", "pause:measure", "pause:handoff", "timeline", "log:debug"].into_iter().enumerate() {
        assert_field(&report, &format!("/debug/{place}"), &argument)?;
    }
    Ok(())
}

pub(super) fn watchdog_resets_after_a_hang(context: &TestContext) -> Result<(), Failure> {
    // A pause that no input ends is a hang: PID 1 makes no progress.
    let boot = Boot::new(context).cmdline("cvm.watchdog=10").cmdline("cvm.debug=pause:root");
    let result = boot.run()?;
    result.line("watchdog: resets the machine after 10 s without progress")?;
    result.line("paused before root")?;
    result.no_line("cvm-init: E")?;
    if result.exit == Exit::Rebooted {
        Ok(())
    } else {
        Err(Failure(format!("expected a reboot, the machine ended by {:?}", result.exit)))
    }
}

pub(super) fn watchdog_keepalive_lets_the_boot_finish(context: &TestContext) -> Result<(), Failure> {
    // Longer than the watchdog's timeout: first without a lease, then in the real system, which does not keep the watchdog alive.
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let lan = crate::lan::Lan::start({
        let mut asked = 0;
        move |bytes| {
            asked += usize::from(crate::lan::dhcp::request(bytes).is_some());
            if asked < 4 && crate::lan::dhcp::request(bytes).is_some() {
                crate::lan::FrameAction::Drop
            } else {
                crate::lan::FrameAction::Pass
            }
        }
    })?;
    let boot = Boot::new(context).data(&data, &vaults).lan(&lan).cmdline("cvm.data.format=if-blank");
    // QEMU's watchdog is loaded before the kernel's software watchdog.
    let result = boot.qemu_arguments(["-device", "i6300esb"]).cmdline("cvm.watchdog=20").tasks("idle:25").run()?;
    result.line("i6300ESB")?;
    result.reached_the_real_system()?;
    match result.phase("net")? {
        20_000.. => Ok(()),
        took => Err(Failure(format!("expected 20 s or more for the phase net, took {took} ms"))),
    }
}

pub(super) fn crash_is_reported_without_a_panic(context: &TestContext) -> Result<(), Failure> {
    let module = context.artifacts.test_modules.join("crash/crash.ko");
    let initrd = context.initrd_with(
        "lib/modules/tdx-guest.ko",
        std::fs::read(module).context("reading the crash module (qemu/build makes it)")?,
    )?;
    let result = Boot::new(context).initrd(initrd).run()?;
    result.powered_off_with(99)?;
    result.line("E99 internal: a defect of cvm-init, please report it: it crashed (powering off: another try cannot help)")?;
    result.no_line("Kernel panic")
}

pub(super) fn halts_with_a_readable_console(context: &TestContext) -> Result<(), Failure> {
    // A halted machine must stay readable, so its watchdog is off.
    let boot = Boot::new(context).root_hash("11".repeat(32)).cmdline("cvm.fail=halt").cmdline("cvm.watchdog=10");
    let result = boot.for_at_most(Duration::from_secs(40)).run()?;
    result.line("cvm-init: E")?;
    result.line("(halted)")?;
    if result.exit == Exit::TimedOut {
        Ok(())
    } else {
        Err(Failure(format!("expected that the machine halts, it ended by {:?}", result.exit)))
    }
}
