//! The measured command line.

use std::time::Duration;

use machine::Exit;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Doing, Failure, Vaults};

pub(super) fn refuses_words_it_does_not_know(stage: &Stage) -> Result<(), Failure> {
    Boot::new(stage).word("cvm.dta=serial=data").run()?.powered_off_with(21)
}

pub(super) fn refuses_a_repeated_root_hash(stage: &Stage) -> Result<(), Failure> {
    Boot::new(stage).word(format!("roothash={}", "00".repeat(32))).run()?.powered_off_with(22)
}

pub(super) fn debug_words_work_and_show(stage: &Stage) -> Result<(), Failure> {
    let boot = Boot::new(stage).word("cvm.debug=timeline,pause:policy,pause:measure,pause:handoff").word("cvm.log=debug");
    let ended = boot.run_with(|vm| {
        ["after policy", "before measure", "before handoff"].into_iter().try_for_each(|place| {
            vm.console().wait_for(&format!("cvm-init: paused {place}"), Duration::from_secs(90)).doing("the pause")?;
            vm.console().send("\n").doing("typing")
        })
    })?;
    ended.reached_the_real_system()?;
    ended.line("s root: verity active")?;
    let receipt = ended.receipt()?;
    for (place, word) in ["pause:policy", "pause:measure", "pause:handoff", "timeline", "log:debug"].into_iter().enumerate() {
        assert_field(&receipt, &format!("/debug/{place}"), &word)?;
    }
    Ok(())
}

pub(super) fn watchdog_ends_a_hang(stage: &Stage) -> Result<(), Failure> {
    // A pause that nobody ends is as good a hang as any: nothing is done any more.
    let boot = Boot::new(stage).word("cvm.watchdog=10").word("cvm.debug=pause:root");
    let ended = boot.run()?;
    ended.line("watchdog: resets the machine after 10 s without progress")?;
    ended.line("paused before root")?;
    ended.no_line("cvm-init: E")?;
    if ended.exit == Exit::Rebooted { Ok(()) } else { Err(Failure(format!("ended by {:?}", ended.exit))) }
}

pub(super) fn fed_watchdog_lets_the_boot_through(stage: &Stage) -> Result<(), Failure> {
    // Longer than the watchdog waits, first without a lease, and then in the real system, which does not feed it.
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let lan = crate::lan::Lan::start({
        let mut asked = 0;
        move |bytes| {
            asked += usize::from(crate::lan::dhcp::asked(bytes).is_some());
            if asked < 4 && crate::lan::dhcp::asked(bytes).is_some() { crate::lan::Fate::Drop } else { crate::lan::Fate::Pass }
        }
    })?;
    let boot = Boot::new(stage).data(&data, &vaults).lan(&lan).word("cvm.data.format=if-blank");
    // The watchdog that QEMU offers: it is loaded before the kernel's own timer.
    let ended = boot.arguments(["-device", "i6300esb"]).word("cvm.watchdog=20").tasks("idle:25").run()?;
    ended.line("i6300ESB")?;
    ended.reached_the_real_system()?;
    match ended.phase("net")? {
        20_000.. => Ok(()),
        took => Err(Failure(format!("the net phase took {took} ms only"))),
    }
}

pub(super) fn crash_ends_with_a_word(stage: &Stage) -> Result<(), Failure> {
    let module = stage.artifacts.test_modules.join("crash/crash.ko");
    let initrd = stage.initrd_with("lib/modules/tdx-guest.ko", std::fs::read(module).doing("the module that crashes")?)?;
    let ended = Boot::new(stage).initrd(initrd).run()?;
    ended.powered_off_with(99)?;
    ended.line("E99 internal: a defect of cvm-init: it crashed (powering off: another try cannot help)")?;
    ended.no_line("Kernel panic")
}

pub(super) fn parks_with_the_console_readable(stage: &Stage) -> Result<(), Failure> {
    // The watchdog would end the reading: a halted machine has none.
    let boot = Boot::new(stage).root_hash("11".repeat(32)).word("cvm.fail=halt").word("cvm.watchdog=10");
    let ended = boot.for_at_most(Duration::from_secs(40)).run()?;
    ended.line("cvm-init: E")?;
    ended.line("(halted)")?;
    if ended.exit == Exit::TimedOut { Ok(()) } else { Err(Failure(format!("ended by {:?}", ended.exit))) }
}
