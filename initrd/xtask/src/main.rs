//! `xtask TOP COMMAND`: builds and tests the project at TOP. `initrd/xtask/run` compiles and starts it.
//!
//! One graph contains every step. A step is fresh while the digest of its inputs, its commands and the versions of the tools is the one that its
//! last successful run left in `target/digests`, and its outputs exist. Steps are skipped while fresh; independent ones run at the same time.
#![expect(clippy::print_stderr, reason = "a build tool reports on its console")]

mod artifacts;
mod checks;
mod commands;
mod console;
mod count;
mod digest;
mod efi;
mod fuzz;
mod graph;
mod images;
mod initrds;
mod plan;
mod process;
mod project;
mod reproducible;
mod scripts;
mod sign;
mod simulation;
mod step;
mod steps;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::LazyLock;

use crate::commands::{absolute, image, initrd, qemu, replace};
use crate::plan::{all_steps, build, demo_steps};
use crate::process::{Children, Run};
use crate::project::Project;
use crate::steps::{PROGRAMS, program};

const USAGE: &str = "usage: xtask TOP build [direct] | initrd [production | simulated ANCHOR MODULE [NAME]] | image INITRD OUT [ARGUMENTS...] | \
                     sign KEY CERTIFICATE IMAGE SIGNED | rom PROGRAM ROM | demo | qemu [FLAGS...] | test [--list] [NAME...] | \
                     fuzz [build | SECONDS] [TARGET...] | \
                     artifacts | reproducible | scripts";

pub(crate) static CHILDREN: LazyLock<Children> = LazyLock::new(Children::of_this_process);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    File(PathBuf, #[source] io::Error),
    #[error("{0}: {1}")]
    Command(String, ExitStatus),
    #[error("output of cargo metadata")]
    Json(#[source] serde_json::Error),
    #[error(
        "expected one kernel of the series {0} in the tools tree: name the version that the mirror has in initrd/tools-tree/mkosi.conf"
    )]
    Kernel(&'static str),
    #[error("no package of the workspace is named {0}")]
    NoPackage(&'static str),
    #[error("the package of {0} is not below {1}")]
    Elsewhere(String, PathBuf),
    #[error("tests/fuzz/Cargo.toml names no fuzz target: expected one [[bin]] for each")]
    NoFuzzTargets,
    #[error("{0} has no EFI system partition")]
    NoEsp(PathBuf),
    #[error("{0}")]
    Artifact(String),
    #[error(transparent)]
    Graph(#[from] graph::Error),
    #[error("the build did not finish")]
    Build,
    #[error("ended by a signal")]
    Interrupted,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("xtask: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<ExitCode, Error> {
    let [top, command @ ..] = arguments else { return Err(Error::Usage(USAGE.to_owned())) };
    CHILDREN.stop_at_signals().map_err(|e| Error::File("signals".into(), e))?;
    let project = Project::open(Path::new(top))?;
    match command {
        ["build"] => drop(build(&project, None)?),
        ["build", "direct"] => drop(build(&project, Some(&demo_steps()))?),
        ["initrd", rest @ ..] => initrd(&project, rest)?,
        ["image", initrd, out, rest @ ..] => image(&project, initrd, out, rest)?,
        ["sign", key, certificate, image, signed] => {
            let [key, certificate, image, signed] = [key, certificate, image, signed].map(|path| absolute(path));
            sign::sign(&project.top, [&key?, &certificate?, &image?, &signed?])?;
        }
        ["rom", program, rom] => efi::write_option_rom(&absolute(program)?, &absolute(rom)?)?,
        ["demo"] => {
            build(&project, Some(&demo_steps()))?;
            return Err(replace(&project, &Run::in_tools_tree([program("demo"), project.top.display().to_string()])));
        }
        ["qemu", flags @ ..] => return Err(qemu(&project, flags)?),
        ["test"] => return checks::run(&project),
        ["test", names @ ..] => {
            let needs =
                if checks::only_prints(names) { vec![PROGRAMS.to_owned()] } else { checks::for_scenarios(&all_steps(&project)?) };
            build(&project, Some(&needs))?;
            let arguments = checks::scenario_arguments(names);
            let run = arguments.into_iter().fold(Run::in_tools_tree([program("scenarios")]), Run::arg);
            return Err(replace(&project, &run));
        }
        ["fuzz", rest @ ..] => return fuzz::run(&project, rest, true),
        ["fuzz-built", rest @ ..] => return fuzz::run(&project, rest, false),
        ["artifacts"] => {
            let _lock = build(&project, Some(&checks::needs(&all_steps(&project)?, checks::ARTIFACTS)))?;
            artifacts::check(&project)?;
        }
        ["reproducible"] => {
            let _lock = build(&project, Some(&checks::needs(&all_steps(&project)?, checks::REPRODUCIBLE)))?;
            reproducible::check(&project, &CHILDREN)?;
        }
        // As steps of a run, which has the lock and has built what they read.
        ["artifacts-built"] => artifacts::check(&project)?,
        ["reproducible-built"] => reproducible::check(&project, &CHILDREN)?,
        ["scripts"] => scripts::check(&project.top)?,
        _ => return Err(Error::Usage(USAGE.to_owned())),
    }
    Ok(ExitCode::SUCCESS)
}
