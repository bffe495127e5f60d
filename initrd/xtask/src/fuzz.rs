//! Fuzzes parsers of what peers send (tests/fuzz).
//!
//! The targets are built with stable Rust and without a sanitizer: the code under test is safe Rust, and a target looks for a panic, an
//! endless loop, memory without bound, or bytes that are wrongly verified.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::console::Console;
use crate::graph::{Graph, Runner};
use crate::plan::build as bring_up_to_date;
use crate::process::Run;
use crate::project::{Project, packages};
use crate::step::{Kind, Step};
use crate::steps::tool_path;
use crate::{CHILDREN, Error};

/// Where the built targets are.
pub(crate) const BUILD: &str = "target/fuzz/build/x86_64-unknown-linux-gnu/release";
/// The name of the step that builds all targets.
pub(crate) const BUILD_STEP: &str = "fuzz targets";
/// More that the corpus of a target begins with, besides `tests/fuzz/seeds/TARGET`: files, or all files of a folder.
const SEEDS: [(&str, &str); 6] = [
    ("quote", "tests/vectors/dcap-qvl/sgx_quote"),
    ("quote", "tests/vectors/dcap-qvl/tdx_quote"),
    ("collateral", "tests/vectors/dcap-qvl/sgx_quote_collateral.json"),
    ("event_log", "init/ctl/tests/logs"),
    ("event_log", "init/ctl/tests/logs/public"),
    ("rtmr0", "init/predict/tests/rtmr0"),
];

/// The names of the targets, in the order of the manifest.
pub(crate) fn targets(project: &Project) -> Result<Vec<String>, Error> {
    let packages = packages(&project.top, "tests/fuzz/Cargo.toml")?;
    let targets: Vec<String> = packages.into_iter().flat_map(|package| package.programs).collect();
    if targets.is_empty() { Err(Error::NoFuzzTargets) } else { Ok(targets) }
}

/// The step that builds all targets with cargo-fuzz.
pub(crate) fn build(project: &Project) -> Result<Step, Error> {
    let absolute = |path: &str| project.top.join(path).display().to_string();
    let fuzz = Run::in_tools_tree([&tool_path("cargo-fuzz"), "build", "--sanitizer", "none", "--fuzz-dir", "tests/fuzz"])
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", absolute("target/fuzz/build"))
        .env("PKG_CONFIG_PATH", absolute("target/c-libraries/lib/pkgconfig"))
        .env("PKG_CONFIG_ALL_STATIC", "1");
    Ok(Step::new(BUILD_STEP, Kind::Build)
        .reads([".cargo", "Cargo.toml", "rust-toolchain.toml", "tests/fuzz", "target/c-libraries", &tool_path("cargo-fuzz")])
        .reads_packages(project.folders())
        .runs(Run::new("cargo", ["fetch", "--quiet", "--locked", "--manifest-path", "tests/fuzz/Cargo.toml"]))
        .runs(fuzz)
        .makes(targets(project)?.iter().map(|target| format!("{BUILD}/{target}"))))
}

/// A step for each target that fuzzes it for some seconds. The seed is fixed: a short run finds what it found before, a long one goes on from
/// its corpus.
pub(crate) fn runs(seconds: u32, targets: &[String]) -> Vec<Step> {
    let run = |target: &String| {
        let (corpus, artifacts) =
            (format!("target/fuzz/corpus/{target}"), format!("-artifact_prefix=target/fuzz/artifacts/{target}/"));
        let limit = format!("-max_total_time={seconds}");
        let flags = [limit.as_str(), "-seed=1", "-max_len=65536", "-timeout=10", "-rss_limit_mb=1024", &artifacts];
        let run = Run::in_tools_tree([format!("{BUILD}/{target}"), corpus]);
        Step::new(format!("fuzz {target}"), Kind::Fuzz)
            .reads([format!("{BUILD}/{target}")])
            .runs(flags.into_iter().fold(run, Run::arg))
    };
    targets.iter().map(run).collect()
}

/// Fills the corpora: seeds that are not there yet are copied.
pub(crate) fn seed(top: &Path, targets: &[String]) -> Result<(), Error> {
    for target in targets {
        let corpus = top.join("target/fuzz/corpus").join(target);
        for folder in [&corpus, &top.join("target/fuzz/artifacts").join(target)] {
            fs::create_dir_all(folder).map_err(|e| Error::File(folder.clone(), e))?;
        }
        let own = format!("tests/fuzz/seeds/{target}");
        let more = SEEDS.iter().filter(|(name, _)| name == target).map(|(_, path)| *path);
        let mut seeds: Vec<(PathBuf, String)> =
            [own.as_str()].into_iter().chain(more).flat_map(|path| files(&top.join(path))).collect();
        if target == "quote" {
            let genuine = list(&top.join("tests/vectors/genuine")).into_iter();
            seeds.extend(genuine.map(|folder| (folder.join("quote.bin"), name(&folder))).filter(|(file, _)| file.exists()));
        }
        for (file, name) in seeds {
            let copy = corpus.join(name);
            if !copy.exists() {
                fs::copy(&file, copy).map_err(|e| Error::File(file, e))?;
            }
        }
    }
    Ok(())
}

/// A file, or the files of a folder, with their names.
fn files(path: &Path) -> Vec<(PathBuf, String)> {
    let found = if path.is_dir() { list(path) } else { vec![path.to_owned()] };
    found.into_iter().filter(|file| file.is_file()).map(|file| (file.clone(), name(&file))).collect()
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Fuzzes targets, two at a time.
pub(crate) fn run(project: &Project, arguments: &[&str], with_build: bool) -> Result<ExitCode, Error> {
    if with_build {
        bring_up_to_date(project, Some(&[BUILD_STEP.to_owned()]))?;
    }
    let (seconds, names) = match arguments {
        ["build"] => return Ok(ExitCode::SUCCESS),
        [] => ("20", [].as_slice()),
        [seconds, names @ ..] => (*seconds, names),
    };
    let usage = || Error::Usage("usage: tests/fuzz/run [build | SECONDS] [TARGET...]".to_owned());
    let seconds = seconds.parse().map_err(|_| usage())?;
    let mut selected = targets(project)?;
    if let Some(unknown) = names.iter().find(|name| !selected.iter().any(|target| target == *name)) {
        return Err(Error::Usage(format!("no fuzz target {unknown}: there are {}", selected.join(", "))));
    }
    selected.retain(|target| names.is_empty() || names.contains(&target.as_str()));
    seed(&project.top, &selected)?;
    let mut console = Console::new(&project.top);
    let runner = Runner { top: &project.top, tools: &project.tools, children: &CHILDREN, jobs: 2, keep_going: true };
    let graph = Graph::new(runs(seconds, &selected))?;
    let good = graph.run(&graph.names(), &runner, &mut console)?;
    console.close();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
