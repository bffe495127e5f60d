//! What a run shows: a line for each step that ran, and a count of checks and tests.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a build tool reports on its console")]

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::count::Count;
use crate::graph::{Report, StepResult};
use crate::step::{Kind, Step};

/// How much of a failed step's log is shown, in lines.
const TAIL: usize = 40;
/// What cargo-deny prints when it cannot fetch the database of advisories.
pub(crate) const OUT_OF_REACH: &str = "failed to fetch advisory database";

/// Writes builds to standard error, checks to standard output.
pub(crate) struct Console {
    top: PathBuf,
    count: Count,
    fresh: usize,
    terminal: bool,
}

impl Console {
    pub(crate) fn new(top: &Path) -> Self {
        Self { top: top.to_owned(), count: Count::default(), fresh: 0, terminal: std::io::stderr().is_terminal() }
    }

    /// What passed and failed so far.
    pub(crate) const fn count(&self) -> Count {
        self.count
    }

    /// Says how many steps had nothing to do.
    pub(crate) fn close(&self) {
        self.clear();
        if self.fresh > 0 {
            eprintln!("{} steps up to date", self.fresh);
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    fn log(&self, step: &Step) -> String {
        fs::read(self.top.join(step.log())).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn passed(&mut self, took: Duration, what: &str) {
        println!("ok      {:6} s  {what}", took.as_secs());
        self.count.passed += 1;
    }

    fn failed(&mut self, step: &Step, took: Duration, error: &dyn std::error::Error) {
        println!(
            "FAILED  {:6} s  {}: {error}; the end of {}:\n{}",
            took.as_secs(),
            step.name,
            step.log().display(),
            tail(&self.log(step))
        );
        self.count.failed += 1;
        if let Some(advice) = step.advice {
            println!("{}: {advice}", step.name);
        }
    }

    fn tests(&mut self, step: &Step, live: bool, took: Duration, succeeded: bool) {
        let log = self.log(step);
        let count = Count::of_runner(&log, succeeded);
        self.count = self.count + count;
        let (result, took) = (if count.failed == 0 { "ok    " } else { "FAILED" }, took.as_secs());
        if count.failed > 0 && !live {
            println!("{}", tail(&log));
        }
        println!(
            "{result}  {took:6} s  {}: {} passed, {} failed ({})",
            step.name,
            count.passed,
            count.failed,
            step.log().display()
        );
    }
}

impl Report for Console {
    fn ended(&mut self, step: &Step, outcome: &StepResult) {
        self.clear();
        match (step.kind, outcome) {
            (_, StepResult::Fresh) => self.fresh += 1,
            (_, StepResult::NotRun(need)) => {
                println!("not run           {}: {need} failed", step.name);
                // A check that could not run has not passed.
                self.count.failed += usize::from(step.kind != Kind::Build);
            }
            (Kind::Build, StepResult::Ran(took)) => eprintln!("{:<44} {:4} s", step.name, took.as_secs()),
            (Kind::Check, StepResult::Ran(took)) => self.passed(*took, &step.name),
            (Kind::Fuzz, StepResult::Ran(took)) => {
                let log = self.log(step);
                let done = log.lines().rev().find(|line| line.starts_with("Done ")).unwrap_or_default();
                self.passed(*took, &format!("{}: {done}", step.name));
            }
            // No part of the count, since it may not have run.
            (Kind::Advisories, StepResult::Ran(_)) => println!("ok                {}", step.name),
            (Kind::Advisories, StepResult::Failed(..)) if self.log(step).contains(OUT_OF_REACH) => {
                println!("not run           {}: their database is out of reach", step.name);
            }
            (Kind::Tests { live }, StepResult::Ran(took)) => self.tests(step, live, *took, true),
            (Kind::Tests { live }, StepResult::Failed(took, _)) => self.tests(step, live, *took, false),
            (_, StepResult::Failed(took, error)) => self.failed(step, *took, error),
        }
    }

    fn running(&mut self, steps: &[(&Step, Instant)]) {
        if self.terminal && !steps.iter().any(|(step, _)| step.kind == Kind::Tests { live: true }) {
            let parts: Vec<String> =
                steps.iter().map(|(step, start)| format!("{} {} s", step.name, start.elapsed().as_secs())).collect();
            let line: String = parts.join(" · ").chars().take(100).collect();
            eprint!("\r\x1b[K{line}");
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::StepError;

    #[test]
    fn checks_runners_and_advisories_count_and_builds_do_not() {
        let top = tempfile::tempdir().unwrap();
        let mut console = Console::new(top.path());
        let mut end = |kind, log: &str, outcome: StepResult| {
            let step = Step::new("step", kind);
            fs::create_dir_all(top.path().join("target/logs")).unwrap();
            fs::write(top.path().join(step.log()), log).unwrap();
            console.ended(&step, &outcome);
            (console.count.passed, console.count.failed)
        };
        let ran = || StepResult::Ran(Duration::ZERO);
        let failed = || StepResult::Failed(Duration::ZERO, StepError::NoOutput("x".into()));
        assert_eq!(end(Kind::Build, "", ran()), (0, 0));
        assert_eq!(end(Kind::Build, "", StepResult::Fresh), (0, 0));
        assert_eq!(end(Kind::Check, "", ran()), (1, 0));
        assert_eq!(end(Kind::Check, "", failed()), (1, 1));
        assert_eq!(end(Kind::Tests { live: false }, "4 passed, 0 failed\n", ran()), (5, 1));
        assert_eq!(end(Kind::Tests { live: false }, "4 passed, 0 failed\n", failed()), (9, 2));
        assert_eq!(end(Kind::Advisories, OUT_OF_REACH, failed()), (9, 2));
        assert_eq!(end(Kind::Advisories, "a vulnerability", failed()), (9, 3));
        assert_eq!(end(Kind::Build, "", failed()), (9, 4));
        assert_eq!(end(Kind::Check, "", StepResult::NotRun("other".to_owned())), (9, 5));
    }
}
