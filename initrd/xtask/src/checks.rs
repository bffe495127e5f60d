//! The steps of `tests/run` that come on top of the build: checks and tests.
#![expect(clippy::print_stdout, reason = "a test run reports on its console")]

use std::path::Path;
use std::process::ExitCode;

use crate::console::Console;
use crate::count::Count;
use crate::digest::Input;
use crate::graph::{Graph, Runner};
use crate::plan::{all_steps, jobs, lock};
use crate::process::Run;
use crate::project::Project;
use crate::step::{Kind, Lock, Step};
use crate::steps::{PROGRAMS, program, tool_name, tool_path};
use crate::{CHILDREN, Error, fuzz};

/// The check of `tests/artifacts`.
pub(crate) const ARTIFACTS: &str = "artifacts";
/// The check of `tests/reproducible`.
pub(crate) const REPRODUCIBLE: &str = "reproducible: a second build gives the same bytes";
const PRODUCTION: &str = "target/initrd/production.zst";
const IMAGES: [&str; 3] = ["target/image/direct/cvm.roothash", "target/image/uki/cvm.raw", "target/image/grub/cvm.roothash"];
const SIMULATED: &str = "target/initrd/simulated.zst";

/// Every check. `own` runs this program again with a command: its output then goes to the check's log.
pub(crate) fn all(own: &Run) -> Vec<Step> {
    let check = |name: &str| Step::new(name, Kind::Check);
    let own = |arguments: &[&str]| arguments.iter().fold(own.clone(), |run, argument| run.arg(*argument));
    let deny = || Run::in_tools_tree([&tool_path("cargo-deny")]);
    let deny_offline = ["--offline", "--config", "tests/deny.toml", "check", "bans", "licenses", "sources"];
    let advisories =
        ["60", "initrd/run-in-tools-tree", &tool_path("cargo-deny"), "--config", "tests/deny.toml", "check", "advisories"];
    let docs = Run::cargo(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let mut steps = vec![
        check("fmt").runs(Run::cargo(["fmt", "--check"])),
        check("scripts: length, shellcheck").runs(own(&["scripts"])),
        check("dependencies: bans, licences, sources")
            .reads([tool_path("cargo-deny")])
            .runs(deny_offline.into_iter().fold(deny(), Run::arg)),
        // Its database is a repository elsewhere: where that cannot be reached, the check did not run.
        Step::new("dependencies: advisories", Kind::Advisories)
            .reads([tool_path("cargo-deny")])
            .runs(Run::new("timeout", advisories)),
        check("clippy").runs(Run::cargo(clippy)).locks(Lock::CargoDebug),
        check("docs").runs(docs.env("RUSTDOCFLAGS", "-D warnings")).locks(Lock::CargoDebug),
        Step::new("unit tests", Kind::Tests { live: false })
            .runs(Run::cargo(["test", "--quiet", "--workspace", "--no-fail-fast"]))
            .locks(Lock::CargoDebug),
        check(ARTIFACTS).reads([PRODUCTION, SIMULATED]).runs(own(&["artifacts-built"])),
        check("fuzz targets, three seconds each").reads([fuzz::BUILD]).runs(own(&["fuzz-built", "3"])),
        check(REPRODUCIBLE).reads(IMAGES).reads([PRODUCTION, SIMULATED]).runs(own(&["reproducible-built"])).locks(Lock::Mkosi),
    ];
    for step in &mut steps {
        if step.lock == Some(Lock::CargoDebug) {
            step.inputs.push(Input::Path("target/c-libraries".into()));
            step.after.push(PROGRAMS.to_owned());
        }
    }
    steps
}

/// The names of the steps that make what a check reads.
pub(crate) fn needs(steps: &[Step], check: &str) -> Vec<String> {
    let reads: Vec<&Path> =
        steps.iter().filter(|step| step.name == check).flat_map(|step| &step.inputs).map(Input::path).collect();
    let makes = |step: &&Step| step.outputs.iter().any(|output| reads.contains(&output.as_path()));
    steps.iter().filter(makes).map(|step| step.name.clone()).collect()
}

/// The scenarios, after everything else: they measure time, and no other step may disturb them.
pub(crate) fn scenarios(others: &[Step]) -> Step {
    let made = others.iter().filter(|step| is_for_scenarios(step));
    Step::new("scenarios", Kind::Tests { live: true })
        .reads(made.flat_map(|step| step.outputs.iter().cloned()))
        .runs(Run::in_tools_tree([program("scenarios")]))
        .after(others.iter().map(|step| step.name.clone()))
}

/// The arguments of the scenarios program for those of `tests/run`: named scenarios run although the usual run leaves them out. `all` and
/// `all@stable` may stand anywhere; together they select every scenario with both kernels.
pub(crate) fn scenario_arguments<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    const WORDS: [&str; 2] = ["all", "all@stable"];
    let kernels: &[&str] = match WORDS.map(|word| arguments.contains(&word)) {
        [true, false] => &["--skip", "@stable"],
        [false, true] => &["@stable"],
        _ => &[],
    };
    let rest = arguments.iter().filter(|argument| !WORDS.contains(argument));
    ["--include-ignored"].iter().chain(kernels).chain(rest).copied().collect()
}

/// Whether the scenarios program only prints something for these arguments, for which no image is needed.
pub(crate) fn only_prints(arguments: &[&str]) -> bool {
    arguments.iter().any(|argument| ["--list", "--help", "-h"].contains(argument))
}

/// Whether scenarios use what the step makes: all that is built but the fuzz targets and the tools of other checks.
fn is_for_scenarios(step: &Step) -> bool {
    let is_tool_of_others = step.name.starts_with("tool ") && step.name != tool_name("vhost-device-vsock");
    step.kind == Kind::Build && step.name != fuzz::BUILD_STEP && !is_tool_of_others
}

/// The names of the steps that scenarios run by name need.
pub(crate) fn for_scenarios(steps: &[Step]) -> Vec<String> {
    steps.iter().filter(|step| is_for_scenarios(step)).map(|step| step.name.clone()).collect()
}

/// Builds, and runs every check and test; the last line counts.
pub(crate) fn run(project: &Project) -> Result<ExitCode, Error> {
    let _lock = lock(project)?;
    let mut steps = all_steps(project)?;
    steps.push(scenarios(&steps));
    let mut console = Console::new(&project.top);
    let runner = Runner { top: &project.top, tools: &project.tools, children: &CHILDREN, jobs: jobs(), keep_going: true };
    let graph = Graph::new(steps)?;
    graph.run(&graph.names(), &runner, &mut console)?;
    console.close();
    if CHILDREN.is_stopped() {
        return Err(Error::Interrupted);
    }
    let count = console.count();
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(exit_code(count))
}

/// The count alone decides: it contains each failed build and each check that could not run, but not the advisories when their database
/// is out of reach.
fn exit_code(count: Count) -> ExitCode {
    if count.passed > 0 && count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use std::process::{ExitCode, Termination};
    use std::time::Duration;

    use super::{exit_code, only_prints, scenario_arguments};
    use crate::console::{Console, OUT_OF_REACH};
    use crate::count::Count;
    use crate::graph::{Report, StepResult};
    use crate::step::{Kind, Step, StepError};

    #[test]
    fn run_without_advisories_succeeds_and_one_with_a_failure_does_not() {
        let top = tempfile::tempdir().unwrap();
        let mut console = Console::new(top.path());
        let advisories = Step::new("advisories", Kind::Advisories);
        std::fs::create_dir_all(top.path().join("target/logs")).unwrap();
        std::fs::write(top.path().join(advisories.log()), OUT_OF_REACH).unwrap();
        console.ended(&Step::new("check", Kind::Check), &StepResult::Ran(Duration::ZERO));
        console.ended(&advisories, &StepResult::Failed(Duration::ZERO, StepError::NoOutput("x".into())));
        let ok = |count| exit_code(count).report() == ExitCode::SUCCESS.report();
        assert!(ok(console.count()));
        console.ended(&Step::new("build", Kind::Build), &StepResult::NotRun("other".to_owned()));
        console.ended(&Step::new("check", Kind::Check), &StepResult::NotRun("other".to_owned()));
        assert!(!ok(console.count()) && !ok(Count::default()));
    }

    #[test]
    fn names_include_scenarios_that_the_usual_run_leaves_out() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["all", "--nocapture"], &["--include-ignored", "--skip", "@stable", "--nocapture"]),
            (&["all@stable"], &["--include-ignored", "@stable"]),
            (&["--nocapture", "all"], &["--include-ignored", "--skip", "@stable", "--nocapture"]),
            (&["--nocapture", "all@stable"], &["--include-ignored", "@stable", "--nocapture"]),
            (&["all", "all@stable"], &["--include-ignored"]),
            (&["data::", "root::"], &["--include-ignored", "data::", "root::"]),
        ];
        for (given, want) in cases {
            assert_eq!(scenario_arguments(given), want);
        }
    }

    #[test]
    fn lists_need_no_images() {
        assert!(only_prints(&["--list"]) && only_prints(&["root::", "--list"]) && only_prints(&["--bench", "--list"]));
        assert!(only_prints(&["--help"]) && !only_prints(&["root::", "--exact"]) && !only_prints(&[]));
    }
}
