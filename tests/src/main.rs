//! `scenarios [--list] [NAME...]`: plays all scenarios, or those named.
#![expect(clippy::print_stdout, reason = "a test run says what it does")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tests::runner::{Count, play};
use tests::{ALL, Artifacts, BENCHMARKS, Scenario};

/// Plays scenarios in virtual machines.
#[derive(Parser)]
struct Arguments {
    /// Names the scenarios and plays none.
    #[arg(long)]
    list: bool,
    /// The project's folder.
    #[arg(long, default_value = ".")]
    top: PathBuf,
    /// Scenarios to play; none: all.
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
    let is_known = |name: &String| ALL.iter().chain(BENCHMARKS).any(|scenario| scenario.name == *name);
    if let Some(name) = arguments.names.iter().find(|name| !is_known(name)) {
        println!("no scenario {name}: see --list");
        return ExitCode::FAILURE;
    }
    let is_named = |scenario: &&Scenario| arguments.names.iter().any(|name| name == scenario.name);
    let scenarios: Vec<_> = match arguments.names.as_slice() {
        [] => ALL.iter().collect(),
        _ => ALL.iter().chain(BENCHMARKS).filter(is_named).collect(),
    };
    let top = arguments.top.canonicalize().unwrap_or(arguments.top);
    let count = match Artifacts::find(&top) {
        Ok(artifacts) => play(&artifacts, &scenarios, |scenario, took, outcome| match outcome {
            Ok(()) => println!("ok      {:6.1} s  {}", took.as_secs_f64(), scenario.name),
            Err(failure) => println!("FAILED  {:6.1} s  {}: {failure}", took.as_secs_f64(), scenario.name),
        }),
        Err(failure) => {
            println!("{failure}");
            Count { passed: 0, failed: scenarios.len() }
        }
    };
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
