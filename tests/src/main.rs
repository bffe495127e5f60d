//! `scenarios [--list] [NAME...]`: plays the usual scenarios, or those named; `all`: every one; `NAME@6` with Debian 13's kernel, `all@6` every one.
#![expect(clippy::print_stdout, reason = "a test run says what it does")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tests::runner::{Part, play};
use tests::{ALL, BENCHMARKS, KernelLine, LEFT_TO_ALL, OF_ONE_KERNEL, ON_STABLE, Scenario, schema};

/// Plays scenarios in virtual machines.
#[derive(Parser)]
struct Arguments {
    /// Names the scenarios and plays none.
    #[arg(long)]
    list: bool,
    /// The project's folder.
    #[arg(long, default_value = ".")]
    top: PathBuf,
    /// Scenarios to play (`NAME`, `NAME@6`, `all`, `all@6`); none: the usual ones.
    names: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in ALL {
            println!("{}", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    let parts = match parts(&arguments.names) {
        Ok(parts) => parts,
        Err(name) => {
            println!("no scenario {name}: see --list");
            return ExitCode::FAILURE;
        }
    };
    let top = arguments.top.canonicalize().unwrap_or(arguments.top);
    let mut count = play(&top, &parts, |(scenario, kernel), took, outcome| {
        let (name, took) = (format!("{}{}", scenario.name, kernel.mark()), took.as_secs_f64());
        match outcome {
            Ok(()) => println!("ok      {took:6.1} s  {name}"),
            Err(failure) => println!("FAILED  {took:6.1} s  {name}: {failure}"),
        }
    });
    if arguments.names.is_empty() {
        let missing = schema::not_produced().unwrap_or_else(|failure| vec![failure.to_string()]);
        match missing.as_slice() {
            [] => println!("ok                receipts: every field of the schema was there in one of them"),
            fields => println!("FAILED            receipts: no boot had {}", fields.join(" ")),
        }
        if missing.is_empty() { count.passed += 1 } else { count.failed += 1 }
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What these names call for; no names: every scenario but those that are left to `all`, and those that are worth it once more with Debian 13's kernel.
fn parts(names: &[String]) -> Result<Vec<Part<'static>>, &String> {
    if names.is_empty() {
        let again = ALL.iter().filter(|scenario| ON_STABLE.contains(&scenario.name));
        let usual = ALL.iter().filter(|scenario| !LEFT_TO_ALL.contains(&scenario.name));
        return Ok(usual.map(|s| (s, KernelLine::Backports)).chain(again.map(|s| (s, KernelLine::Stable))).collect());
    }
    let mut parts = Vec::new();
    for name in names {
        let mark = KernelLine::Stable.mark();
        let (plain, kernel) = name.strip_suffix(mark).map_or((name.as_str(), KernelLine::Backports), |n| (n, KernelLine::Stable));
        let before = parts.len();
        let has_it = |scenario: &&Scenario| kernel == KernelLine::Backports || !OF_ONE_KERNEL.contains(&scenario.name);
        let played = ALL.iter().filter(|scenario| plain == "all" || scenario.name == plain).filter(has_it);
        parts
            .extend(played.chain(BENCHMARKS.iter().filter(|scenario| scenario.name == plain)).map(|scenario| (scenario, kernel)));
        if parts.len() == before {
            return Err(name);
        }
    }
    Ok(parts)
}
