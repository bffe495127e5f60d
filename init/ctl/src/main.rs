//! `cvmctl`, the operator's tool. Results go to stdout, explanations and errors to stderr.

mod args;
mod cmdline;
mod explain;
mod header;
mod log;
mod measure;
mod new_file;
mod quote;
mod run;
mod show;
mod vaults;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run::run(args::parse()) {
        Ok(code) => code,
        Err(error) => {
            writeln!(std::io::stderr(), "cvmctl: {}", failure::chain(&error)).ok();
            ExitCode::FAILURE
        }
    }
}
