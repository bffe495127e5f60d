//! What PID 1 leaves to the real init.

use std::time::Duration;

use qemu::{DriverQuirks, Exit, QuoteAnswer, QuoteSource, Tpm};
use vault_node::Misbehaviour;

use super::TestContext;
use super::root::assert_field;
use crate::{Boot, BootResult, Context, DataDisk, Failure, Vaults};

/// The longest that threads may take to end while no quote is pending, in milliseconds, under emulation.
const AT_ONCE: u64 = 1500;

pub(super) fn leaves_no_resources_to_the_real_init(context: &TestContext) -> Result<(), Failure> {
    // One vault stops answering after it got the quote, another after it accepted the connection: two threads still wait when PID
    // 1 has the key.
    let vaults = Vaults::up(&context.artifacts, 2, 4)?
        .misbehaving(0, Misbehaviour::HangAfterPresent)
        .misbehaving(1, Misbehaviour::HangAfterAccept);
    let data = DataDisk::blank(&context.folder)?;
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
    let result = boot.cmdline("cvm.watchdog=30").tasks("alone").run()?;
    result.reached_the_real_system()?;
    let took = result.phase("quiesce")?;
    if took > AT_ONCE {
        return Err(Failure(format!("expected the threads to end within {AT_ONCE} ms, took {took} ms")));
    }
    nothing_is_left(&result)?;

    // The C library that talks to a TPM opens the device without CLOEXEC.
    let tpm = Tpm::start().context("starting a TPM")?;
    let result =
        Boot::new(context).production().qemu_arguments(tpm.arguments()).cmdline("cvm.measure=tpm").tasks("alone").run()?;
    result.reached_the_real_system()?;
    assert_field(&result.boot_report()?, "/measurement/pcr/number", &15)?;
    nothing_is_left(&result)
}

/// Expects that the real init has only what the kernel gives to a first program.
fn nothing_is_left(result: &BootResult) -> Result<(), Failure> {
    result.line("cvm-tests: looked at task")?;
    let seen = |mark: &str| -> Vec<String> {
        let lines = result.lines.iter().filter_map(|line| line.split_once(mark));
        let mut seen: Vec<String> = lines.map(|(_, rest)| rest.trim().to_owned()).collect();
        seen.sort();
        seen
    };
    let none = "0000000000000000";
    let wanted: [(&str, &[&str]); 5] = [
        // The console as the kernel opened it; its node is gone with the initramfs. The shell has its script open as 10.
        (
            "fd| ",
            &["0 /dev/console (deleted)", "1 /dev/console (deleted)", "10 /usr/lib/cvm-tests/task", "2 /dev/console (deleted)"],
        ),
        ("task| ", &["1 task"]),
        // The shell itself catches SIGINT and SIGCHLD.
        ("signals| ", &[&format!("Blk {none}"), "Cgt 0000000000010002", &format!("Ign {none}")]),
        // What the kernel takes from its command line, and nothing of PID 1.
        ("environment| ", &["HOME", "TERM", "roothash"]),
        ("request| ", &[]),
    ];
    for (mark, wanted) in wanted {
        let seen = seen(mark);
        if seen != wanted {
            return Err(Failure(format!("{mark}: expected {wanted:?}, found {seen:?}")));
        }
    }
    Ok(())
}

pub(super) fn stops_at_an_init_that_cannot_start(context: &TestContext) -> Result<(), Failure> {
    // A missing file, a file without execute permission, a folder, a script without its interpreter. The image contains /sbin in
    // each case.
    for (init, why) in [
        ("/sbin/no-such-init", "No such file"),
        ("/usr/lib/os-release", "Permission denied"),
        ("/usr/bin", "Permission denied"),
        ("/usr/lib/cvm-tests/no-interpreter", "/usr/lib/cvm-tests/nobody, its interpreter: openat2"),
    ] {
        let result = Boot::new(context).systemd().cmdline(format!("init={init}")).cmdline("cvm.debug=timeline").run()?;
        result.powered_off_with(94)?;
        result.line(&format!("init={init} cannot be started in the verified root"))?;
        result.line(why)?;
        result.no_line("handoff: initramfs emptied")?;
    }
    // PID 1 checks the init before it formats a disk.
    let (data, vaults) = (DataDisk::blank(&context.folder)?, Vaults::up(&context.artifacts, 2, 3)?);
    let boot = Boot::new(context).data(&data, &vaults).systemd().cmdline("cvm.data.format=if-blank");
    boot.cmdline("init=/sbin/no-such-init").run()?.powered_off_with(94)?;
    if data.is_blank()? { Ok(()) } else { Err(Failure("the disk was formatted for a root without an init".to_owned())) }
}

pub(super) fn reboots_when_a_quote_never_arrives(context: &TestContext) -> Result<(), Failure> {
    // All vaults are so slow that PID 1 asks the third one too. The host never makes that third quote, and the key comes without
    // it.
    let slow = || Misbehaviour::Slow(Duration::from_millis(1500));
    let vaults = Vaults::up(&context.artifacts, 2, 3)?.misbehaving(0, slow()).misbehaving(1, slow()).misbehaving(2, slow());
    let data = DataDisk::blank(&context.folder)?;
    let quirks = DriverQuirks { timeout: Duration::from_secs(120), ..DriverQuirks::default() };
    let two = |platform| {
        let (mut honest, mut quotes) = (crate::boot::honest(platform), 0);
        move |report: &[u8; 1024]| {
            quotes += 1;
            if quotes > 2 { QuoteAnswer::Silent } else { QuoteSource::quote(&mut honest, report) }
        }
    };
    let boot = Boot::new(context).data(&data, &vaults).cmdline("cvm.data.format=if-blank").quirks(quirks).quotes(two);
    let result = boot.run()?;
    result.rebooted_with(98)?;
    result.line("threads of PID 1 did not end within 40 s: vault ")?;
    result.no_line("phase measure").map(drop)
}

pub(super) fn powers_off_when_the_kernel_refuses_threads(context: &TestContext) -> Result<(), Failure> {
    // The limit is the number of threads that the kernel itself has, so PID 1 cannot start one.
    let result = Boot::new(context).cmdline("sysctl.kernel.threads-max=20").run()?;
    result.line("cvm-init: E")?;
    result.line("Resource temporarily unavailable")?;
    match result.exit {
        Exit::PoweredOff => Ok(()),
        _ => Err(Failure(format!("expected a power off, the machine ended by {:?}", result.exit))),
    }
}
