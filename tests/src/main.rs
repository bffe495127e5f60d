//! `scenarios [OPTIONS] [FILTER...]`: runs scenarios in virtual machines, with the options of `cargo test`. Call it in the project's folder.
#![expect(clippy::print_stdout, reason = "a test runner reports to its caller")]

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use libtest_mimic::Arguments;

/// Runs scenarios in virtual machines.
///
/// A name is MODULE::FUNCTION; with the kernel of Debian 13 instead of that of its backports, MODULE::FUNCTION@stable. Ignored scenarios are
/// long, or similar to one that is not; --bench selects the benchmarks.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    arguments: Arguments,
    /// More filters: a scenario runs if its name contains any of them
    #[arg(value_name = "FILTER")]
    more_filters: Vec<String>,
}

fn main() -> ExitCode {
    let Flags { mut arguments, more_filters } = Flags::parse();
    let filters: Vec<String> = arguments.filter.take().into_iter().chain(more_filters).collect();
    let is_list = arguments.list;
    let top = match Path::new(".").canonicalize() {
        Ok(top) => top,
        Err(error) => {
            println!("scenarios: reading the path of the current folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (conclusion, times) = match tests::runner::run(&top, arguments, &filters) {
        Ok(ended) => ended,
        Err(error) => {
            println!("scenarios: {error}");
            return ExitCode::FAILURE;
        }
    };
    if !is_list {
        println!("time per scenario:");
        for (name, time) in times {
            println!("{:8.1} s  {name}", time.as_secs_f64());
        }
    }
    conclusion.exit_code()
}
