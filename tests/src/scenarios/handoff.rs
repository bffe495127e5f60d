//! What the real init takes over, and what it never gets to see.

use std::time::Duration;

use machine::{Exit, Habits, QuoteAnswer, QuoteSource, Tpm};
use vault_node::Misbehaviour;

use super::Stage;
use super::root::assert_field;
use crate::{Boot, DataDisk, Doing, Ended, Failure, Vaults};

/// The longest that threads may take to end while no quote is under way, in milliseconds, under emulation.
const AT_ONCE: u64 = 1500;

pub(super) fn leaves_nothing_of_its_own(stage: &Stage) -> Result<(), Failure> {
    // One vault takes our quote and falls silent, and one that accepts and says nothing: both threads wait when the key is there.
    let vaults = Vaults::up(&stage.artifacts, 2, 4)?
        .misbehaving(0, Misbehaviour::HangAfterPresent)
        .misbehaving(1, Misbehaviour::HangAfterAccept);
    let data = DataDisk::blank(&stage.folder)?;
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank");
    let ended = boot.word("cvm.watchdog=30").tasks("alone").run()?;
    ended.reached_the_real_system()?;
    let took = ended.phase("quiesce")?;
    if took > AT_ONCE {
        return Err(Failure(format!("the threads took {took} ms to end")));
    }
    nothing_is_left(&ended)?;

    // The C library that speaks to a TPM opens the device without CLOEXEC.
    let tpm = Tpm::start().doing("a TPM")?;
    let ended = Boot::new(stage).production().arguments(tpm.arguments()).word("cvm.measure=tpm").tasks("alone").run()?;
    ended.reached_the_real_system()?;
    assert_field(&ended.receipt()?, "/measurement/pcr/number", &15)?;
    nothing_is_left(&ended)
}

/// The real init, a shell, has nothing but what the kernel gives to a first program.
fn nothing_is_left(ended: &Ended) -> Result<(), Failure> {
    ended.line("cvm-tests: looked at task")?;
    let seen = |mark: &str| -> Vec<String> {
        let lines = ended.lines.iter().filter_map(|line| line.split_once(mark));
        let mut seen: Vec<String> = lines.map(|(_, rest)| rest.trim().to_owned()).collect();
        seen.sort();
        seen
    };
    let none = "0000000000000000";
    let wanted: [(&str, &[&str]); 5] = [
        // The console as the kernel opened it, whose node went with the initramfs; a shell has the script that it reads open as 10.
        (
            "fd| ",
            &["0 /dev/console (deleted)", "1 /dev/console (deleted)", "10 /usr/lib/cvm-tests/task", "2 /dev/console (deleted)"],
        ),
        ("task| ", &["1 task"]),
        // Caught are those of the shell itself: SIGINT and SIGCHLD.
        ("signals| ", &[&format!("Blk {none}"), "Cgt 0000000000010002", &format!("Ign {none}")]),
        // What the kernel makes of its command line, and nothing of PID 1's.
        ("environment| ", &["HOME", "TERM", "roothash"]),
        ("request| ", &[]),
    ];
    for (mark, wanted) in wanted {
        let seen = seen(mark);
        if seen != wanted {
            return Err(Failure(format!("{mark}{seen:?}, not {wanted:?}")));
        }
    }
    Ok(())
}

pub(super) fn stops_at_an_init_that_is_no_program(stage: &Stage) -> Result<(), Failure> {
    // It is not there; it is no program; it is a folder; it is a script whose interpreter is not there. The image has /sbin in each case.
    for (init, why) in [
        ("/sbin/no-such-init", "No such file"),
        ("/usr/lib/os-release", "Permission denied"),
        ("/usr/bin", "Permission denied"),
        ("/usr/lib/cvm-tests/no-interpreter", "/usr/lib/cvm-tests/nobody, its interpreter: openat2"),
    ] {
        let ended = Boot::new(stage).systemd().word(format!("init={init}")).word("cvm.debug=timeline").run()?;
        ended.powered_off_with(94)?;
        ended.line(&format!("init={init} cannot be started in the verified root"))?;
        ended.line(why)?;
        ended.no_line("handoff: initramfs emptied")?;
    }
    // Before a disk is formatted for it.
    let (data, vaults) = (DataDisk::blank(&stage.folder)?, Vaults::up(&stage.artifacts, 2, 3)?);
    let boot = Boot::new(stage).data(&data, &vaults).systemd().word("cvm.data.format=if-blank");
    boot.word("init=/sbin/no-such-init").run()?.powered_off_with(94)?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was formatted for a root without an init".to_owned())) }
}

pub(super) fn reboots_when_a_quote_has_no_end(stage: &Stage) -> Result<(), Failure> {
    // All take so long for each answer that a third is asked; its quote is the one that the host never makes, and the key comes without.
    let slow = || Misbehaviour::Slow(Duration::from_millis(1500));
    let vaults = Vaults::up(&stage.artifacts, 2, 3)?.misbehaving(0, slow()).misbehaving(1, slow()).misbehaving(2, slow());
    let data = DataDisk::blank(&stage.folder)?;
    let habits = Habits { timeout: Duration::from_secs(120), ..Habits::default() };
    let two = |platform| {
        let (mut honest, mut quotes) = (crate::boot::honest(platform), 0);
        move |report: &[u8; 1024]| {
            quotes += 1;
            if quotes > 2 { QuoteAnswer::Silent } else { QuoteSource::quote(&mut honest, report) }
        }
    };
    let boot = Boot::new(stage).data(&data, &vaults).word("cvm.data.format=if-blank").habits(habits).quotes(two);
    let ended = boot.run()?;
    ended.rebooted_with(98)?;
    ended.line("threads of PID 1 did not end within 40 s: vault ")?;
    ended.no_line("phase measure").map(drop)
}

pub(super) fn ends_where_the_kernel_refuses_threads(stage: &Stage) -> Result<(), Failure> {
    // As many as the kernel has by itself: what needs one fails, and the end needs none.
    let ended = Boot::new(stage).word("sysctl.kernel.threads-max=20").run()?;
    ended.line("cvm-init: E")?;
    ended.line("Resource temporarily unavailable")?;
    match ended.exit {
        Exit::PoweredOff => Ok(()),
        _ => Err(Failure(format!("ended by {:?}", ended.exit))),
    }
}
