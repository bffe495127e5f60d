//! The demo: three vaults, a blank disk, two boots with the same data, and a boot that PID 1 refuses.
#![expect(clippy::print_stdout, reason = "a demo shows what happens")]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use tests::{Artifacts, Boot, BootResult, Context, DataDisk, Failure, KernelSeries, RootDisk, TestContext, Vaults};

fn main() -> ExitCode {
    let top = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    match demo(&top.canonicalize().unwrap_or(top)) {
        Ok(line) => {
            println!("demo: ok: {line}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("demo: failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn demo(top: &std::path::Path) -> Result<String, Failure> {
    let folder = top.join("target/demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("deleting target/demo")?;
    }
    std::fs::create_dir_all(&folder).context("creating target/demo")?;
    let context = TestContext { artifacts: Artifacts::find(top, KernelSeries::Backports)?, folder };

    title("three vault nodes (simulated SGX), a key dealt 2 of 3 by cvmctl");
    let vaults = Vaults::provisioned(&context.artifacts, 2, 3)?;
    vaults.cmdline().iter().for_each(|argument| println!("  {argument}"));
    let data = DataDisk::blank(&context.folder)?;
    let boot = |tasks: &str| {
        let boot = Boot::new(&context).data(&data, &vaults).cmdline("cvm.data.format=if-blank");
        // Firmware makes the registers by which the vaults decide.
        boot.cc().tpm(false).tasks(tasks).systemd().copy_to(Box::new(Watched::default()))
    };

    title("first boot: the data disk is blank; a file is written on /data");
    let first = boot("write:a-file-from-the-first-boot").run()?;
    first.reached_the_real_system()?;
    expect_field(&first, "/data/open_mode", "formatted")?;

    title("second boot: the file is there");
    let second = boot("read").run()?;
    second.reached_the_real_system()?;
    second.line("marker is a-file-from-the-first-boot")?;
    expect_field(&second, "/data/open_mode", "opened")?;

    title("third boot: one byte of the root was changed");
    let spoiled = RootDisk::with_flipped_byte(&context.artifacts, &context.folder, context.artifacts.root.0 + 1100)?;
    boot("read").root(spoiled).run()?.powered_off_with(35)?;

    let report = second.boot_report()?;
    let phases = report.pointer("/phases").and_then(|phases| phases.as_array()).cloned().unwrap_or_default();
    let unlock = phases.iter().find(|phase| phase.pointer("/name").is_some_and(|name| name == "unlock"));
    let unlock = unlock.and_then(|phase| phase.pointer("/milliseconds")).and_then(serde_json::Value::as_u64);
    let unlock = unlock.ok_or_else(|| Failure("the boot report contains no time of the phase unlock".to_owned()))?;
    let vaults = report.pointer("/unlock/vaults").and_then(|vaults| vaults.as_array()).cloned().unwrap_or_default();
    let served = vaults.iter().filter(|vault| vault.pointer("/status").is_some_and(|outcome| outcome == "served"));
    let served: Vec<_> = served.filter_map(|vault| vault.pointer("/address")).filter_map(|address| address.as_str()).collect();
    Ok(format!("unlocked in {unlock} ms, served by {}", served.join(" and ")))
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn expect_field(result: &BootResult, pointer: &str, want: &str) -> Result<(), Failure> {
    match result.boot_report()?.pointer(pointer) {
        Some(value) if value == want => Ok(()),
        other => Err(Failure(format!("{pointer} of the boot report: expected {want}, found {other:?}"))),
    }
}

/// Prints the console lines of cvm-init and of the demo's own unit.
#[derive(Default)]
struct Watched {
    line: Vec<u8>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line);
            let wanted = ["cvm-init: ", "cvm-tests: ", "system-up: ", "Kernel panic"].iter().any(|mark| line.contains(mark));
            if wanted && !line.contains("ommand line:") {
                println!("  {}", line.trim_end());
            }
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
