use std::fs;

use super::*;
use crate::process::Run;

/// What a run did, in order: `ran`, `fresh`, `failed` or `not run` and the step's name.
#[derive(Default)]
struct TestReport(Vec<String>);

impl Report for TestReport {
    fn ended(&mut self, step: &Step, outcome: &StepResult) {
        let outcome = match outcome {
            StepResult::Fresh => "fresh",
            StepResult::Ran(_) => "ran",
            StepResult::Failed(..) => "failed",
            StepResult::NotRun(_) => "not run",
        };
        self.0.push(format!("{outcome} {}", step.name));
    }
    fn running(&mut self, _: &[(&Step, Instant)]) {}
}

fn shell(name: &str, script: &str) -> Step {
    Step::new(name, Kind::Build).runs(Run::new("sh", ["-c", script]))
}

/// source → middle → last, and side, which reads nothing of them.
fn chain() -> Graph {
    Graph::new(vec![
        shell("last", "cat target/middle > target/last").reads(["target/middle"]).makes(["target/last"]),
        shell("middle", "grep -v '^#' source > target/middle").reads(["source"]).makes(["target/middle"]),
        shell("side", "echo > target/side").reads(["other"]).makes(["target/side"]),
    ])
    .unwrap()
}

struct World {
    top: tempfile::TempDir,
    tools: String,
    keep_going: bool,
}

impl World {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("source"), "1\n").unwrap();
        Self { top, tools: "1".to_owned(), keep_going: true }
    }

    fn run(&self, graph: &Graph) -> Vec<String> {
        let (children, mut report) = (Children::default(), TestReport::default());
        let (top, tools, keep_going) = (self.top.path(), self.tools.as_str(), self.keep_going);
        let runner = Runner { top, tools, children: &children, jobs: 1, keep_going };
        let good = graph.run(&graph.names(), &runner, &mut report).unwrap();
        assert_eq!(good, report.0.iter().all(|line| line.starts_with("ran") || line.starts_with("fresh")));
        report.0
    }
}

#[test]
fn second_run_runs_nothing() {
    let world = World::new();
    assert_eq!(world.run(&chain()), ["ran middle", "ran last", "ran side"]);
    assert_eq!(world.run(&chain()), ["fresh middle", "fresh last", "fresh side"]);
}

#[test]
fn changed_input_reruns_what_depends_on_it_alone() {
    let world = World::new();
    world.run(&chain());
    fs::write(world.top.path().join("source"), "2\n").unwrap();
    assert_eq!(world.run(&chain()), ["ran middle", "ran last", "fresh side"]);
    assert_eq!(fs::read_to_string(world.top.path().join("target/last")).unwrap(), "2\n");
    // An output with the same content ends it.
    fs::write(world.top.path().join("source"), "# a comment\n2\n").unwrap();
    assert_eq!(world.run(&chain()), ["ran middle", "fresh last", "fresh side"]);
}

#[test]
fn missing_output_other_tools_and_another_command_rerun_a_step() {
    let mut world = World::new();
    world.run(&chain());
    fs::remove_file(world.top.path().join("target/middle")).unwrap();
    assert_eq!(world.run(&chain()), ["ran middle", "fresh last", "fresh side"]);
    world.tools = "2".to_owned();
    assert_eq!(world.run(&chain()), ["ran middle", "ran last", "ran side"]);
    let step = |script| Graph::new(vec![shell("side", script).reads(["other"]).makes(["target/side"])]).unwrap();
    assert_eq!(world.run(&step("echo > target/side")), ["fresh side"]);
    assert_eq!(world.run(&step("echo 2 > target/side")), ["ran side"]);
}

#[test]
fn failed_step_reruns_and_keeps_what_needs_it_from_running() {
    let world = World::new();
    world.run(&chain());
    let source = world.top.path().join("source");
    fs::write(&source, "# nothing else\n").unwrap();
    for _ in 0..2 {
        assert_eq!(world.run(&chain()), ["failed middle", "not run last", "fresh side"]);
    }
    // Its inputs are again those of a run that succeeded, but its output is not what that run made.
    fs::write(&source, "1\n").unwrap();
    assert_eq!(world.run(&chain()), ["ran middle", "fresh last", "fresh side"]);
}

#[test]
fn failure_ends_a_run_that_does_not_keep_going() {
    let world = World { keep_going: false, ..World::new() };
    fs::write(world.top.path().join("source"), "# nothing else\n").unwrap();
    assert_eq!(world.run(&chain()), ["failed middle"]);
}

#[test]
fn step_that_does_not_make_its_output_fails() {
    let world = World::new();
    let graph = Graph::new(vec![shell("empty", "true").makes(["target/none"])]).unwrap();
    assert_eq!(world.run(&graph), ["failed empty"]);
}

#[test]
fn check_runs_each_time_and_what_waits_for_it_runs_though_it_failed() {
    let world = World::new();
    let check = |name: &str, script| Step { kind: Kind::Check, ..shell(name, script) };
    let graph = Graph::new(vec![check("second", "true").after(["first"]), check("first", "false")]).unwrap();
    for _ in 0..2 {
        assert_eq!(world.run(&graph), ["failed first", "ran second"]);
    }
}

#[test]
fn independent_steps_run_at_the_same_time_unless_they_share_a_lock() {
    let world = World::new();
    let meet = |name: &str, other: &str| {
        let script = format!("touch {name}; for i in $(seq 100); do [ ! -e {other} ] || exit 0; sleep 0.05; done; exit 1");
        Step { kind: Kind::Check, ..shell(name, &script) }
    };
    let run = |steps| {
        let (children, mut report) = (Children::default(), TestReport::default());
        let runner = Runner { top: world.top.path(), tools: "", children: &children, jobs: 2, keep_going: true };
        let graph = Graph::new(steps).unwrap();
        graph.run(&graph.names(), &runner, &mut report).unwrap()
    };
    assert!(run(vec![meet("a", "b"), meet("b", "a")]));
    // One at a time: the first waits in vain.
    let apart = |name, other| {
        let script = format!("touch {name}; sleep 0.2; [ ! -e {other} ] && rm {name}");
        Step { kind: Kind::Check, ..shell(name, &script) }.locks(Lock::Mkosi)
    };
    assert!(run(vec![apart("c", "d"), apart("d", "c")]));
}

#[test]
fn only_what_is_wanted_and_what_it_needs_runs() {
    let world = World::new();
    let (children, mut report) = (Children::default(), TestReport::default());
    let runner = Runner { top: world.top.path(), tools: "", children: &children, jobs: 2, keep_going: true };
    assert!(chain().run(&["last"], &runner, &mut report).unwrap());
    assert_eq!(report.0, ["ran middle", "ran last"]);
    assert_eq!(chain().run(&["none"], &runner, &mut report), Err(Error::NoStep("none".to_owned())));
}

#[test]
fn steps_that_make_no_graph_are_refused() {
    let step = |name: &str, from: &str, to: &str| Step::new(name, Kind::Build).reads([from]).makes([to]);
    let error = |steps| Graph::new(steps).unwrap_err();
    assert_eq!(error(vec![step("a", "x", "y"), step("a", "x", "z")]), Error::SameName("a".to_owned()));
    assert_eq!(error(vec![step("a", "x", "y").after(["b"])]), Error::NoStep("b".to_owned()));
    let same = Error::SameOutput("a".to_owned(), "b".to_owned(), "y".to_owned());
    assert_eq!(error(vec![step("a", "x", "y"), step("b", "x", "y")]), same);
    assert_eq!(error(vec![step("a", "x", "y"), step("b", "y/in", "x")]), Error::Cycle("a, b".to_owned()));
}

#[test]
fn step_that_panics_fails() {
    let end = |work: fn() -> std::result::Result<bool, StepError>| result(work, Instant::now());
    assert!(matches!(end(|| panic!("as a defect does")), StepResult::Failed(_, StepError::Panic)));
    assert!(matches!(end(|| Ok(true)), StepResult::Ran(_)) && matches!(end(|| Ok(false)), StepResult::Fresh));
}
