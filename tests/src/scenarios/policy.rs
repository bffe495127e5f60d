//! The measured command line.

use std::time::Duration;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, Doing, Failure};

pub(super) fn refuses_words_it_does_not_know(stage: &Stage) -> Result<(), Failure> {
    Boot::new(stage).word("cvm.dta=serial=data").run()?.stopped_with(21)
}

pub(super) fn refuses_a_repeated_root_hash(stage: &Stage) -> Result<(), Failure> {
    Boot::new(stage).word(format!("roothash={}", "00".repeat(32))).run()?.stopped_with(22)
}

pub(super) fn debug_words_work_and_show(stage: &Stage) -> Result<(), Failure> {
    let boot = Boot::new(stage).word("cvm.debug=timeline,pause:handoff").word("cvm.log=debug");
    let ended = boot.run_with(|vm| {
        vm.console().wait_for("cvm-init: paused before handoff", Duration::from_secs(90)).doing("the pause")?;
        vm.console().send("\n").doing("typing")
    })?;
    ended.reached_the_real_system()?;
    ended.line("s root: verity active")?;
    let receipt = ended.receipt()?;
    assert_field(&receipt, "/debug/0", &"pause:handoff")?;
    assert_field(&receipt, "/debug/1", &"timeline")?;
    assert_field(&receipt, "/debug/2", &"log:debug")
}
