//! The graph of steps: its edges, and a scheduler that runs independent steps at the same time.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::process::Children;
use crate::step::{Kind, Lock, Step, StepError};

/// Why steps make no graph.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Two steps share a name, and so a log and a digest.
    #[error("two steps are named {0}")]
    SameName(String),
    /// Two steps make the same file.
    #[error("both {0} and {1} make {2}")]
    SameOutput(String, String, String),
    /// A step waits for itself.
    #[error("the steps wait for each other: {0}")]
    Cycle(String),
    /// No step has this name.
    #[error("no step is named {0}")]
    NoStep(String),
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum StepResult {
    /// Its inputs are those of the last run.
    Fresh,
    /// It ran.
    Ran(Duration),
    /// It ran and failed.
    Failed(Duration, StepError),
    /// It did not run since this step, which it needs, failed.
    NotRun(String),
}

/// What a run says while it goes on.
pub(crate) trait Report {
    /// A step ended.
    fn ended(&mut self, step: &Step, outcome: &StepResult);
    /// About once a second: the steps that run, and since when.
    fn running(&mut self, steps: &[(&Step, Instant)]);
}

/// Where and how steps run.
pub(crate) struct Runner<'a> {
    /// The project.
    pub(crate) top: &'a Path,
    /// The versions of the tools.
    pub(crate) tools: &'a str,
    pub(crate) children: &'a Children,
    /// The most steps at a time.
    pub(crate) jobs: usize,
    /// Whether steps that do not need a failed one still run.
    pub(crate) keep_going: bool,
}

/// Steps and, for each, the positions of the steps that it needs, and of those that it only waits for.
#[derive(Debug)]
pub(crate) struct Graph {
    steps: Vec<Step>,
    needs: Vec<BTreeSet<usize>>,
    after: Vec<BTreeSet<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running(Instant),
    Succeeded,
    Failed,
}

impl Graph {
    /// Connects the steps. The order of `steps` is the order in which those start that are ready at the same time.
    pub(crate) fn new(steps: Vec<Step>) -> Result<Self, Error> {
        for (position, step) in steps.iter().enumerate() {
            for other in steps.iter().take(position) {
                if other.name == step.name {
                    return Err(Error::SameName(step.name.clone()));
                }
                if let Some(output) = step.outputs.iter().find(|output| other.outputs.contains(output)) {
                    return Err(Error::SameOutput(other.name.clone(), step.name.clone(), output.display().to_string()));
                }
            }
            if let Some(unknown) = step.after.iter().find(|name| !steps.iter().any(|other| other.name == **name)) {
                return Err(Error::NoStep(unknown.clone()));
            }
        }
        let makes_input = |maker: &Step, step: &Step| {
            let overlap = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
            step.inputs.iter().any(|input| maker.outputs.iter().any(|output| overlap(input.path(), output)))
        };
        let positions = |of: &dyn Fn(&Step) -> bool| -> BTreeSet<usize> {
            steps.iter().enumerate().filter(|(_, step)| of(step)).map(|(position, _)| position).collect()
        };
        let needs = steps.iter().map(|step| positions(&|maker| makes_input(maker, step))).collect();
        let after = steps.iter().map(|step| positions(&|earlier| step.after.contains(&earlier.name))).collect();
        let graph = Self { steps, needs, after };
        graph.refuse_cycles()?;
        Ok(graph)
    }

    fn refuse_cycles(&self) -> Result<(), Error> {
        let mut left: BTreeSet<usize> = (0..self.steps.len()).collect();
        while !left.is_empty() {
            let waits = |position: &usize| self.edges(*position).any(|earlier| left.contains(&earlier));
            let blocked: BTreeSet<usize> = left.iter().copied().filter(waits).collect();
            if blocked.len() == left.len() {
                let names = left.iter().filter_map(|position| self.steps.get(*position)).map(|step| step.name.as_str());
                return Err(Error::Cycle(names.collect::<Vec<_>>().join(", ")));
            }
            left = blocked;
        }
        Ok(())
    }

    /// The steps that must have ended before the one at `position` starts.
    fn edges(&self, position: usize) -> impl Iterator<Item = usize> {
        [&self.needs, &self.after].into_iter().filter_map(move |edges| edges.get(position)).flatten().copied()
    }

    /// The positions of the named steps and of everything that they need.
    fn closure(&self, wanted: &[&str]) -> Result<BTreeSet<usize>, Error> {
        let mut selected = BTreeSet::new();
        let position = |name: &&str| {
            let found = self.steps.iter().position(|step| step.name == *name);
            found.ok_or_else(|| Error::NoStep((*name).to_owned()))
        };
        let mut queue = wanted.iter().map(position).collect::<Result<Vec<_>, _>>()?;
        while let Some(next) = queue.pop() {
            if selected.insert(next) {
                queue.extend(self.needs.get(next).into_iter().flatten());
            }
        }
        Ok(selected)
    }

    /// The names of all steps.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step.name.as_str()).collect()
    }

    /// Brings the named steps and what they need up to date. Returns whether none failed.
    pub(crate) fn run(&self, wanted: &[&str], runner: &Runner<'_>, report: &mut dyn Report) -> Result<bool, Error> {
        let selected = self.closure(wanted)?;
        let mut states = vec![State::Waiting; self.steps.len()];
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            loop {
                while let Some(position) = self.next(&selected, &states, runner) {
                    let Some(step) = self.steps.get(position) else { break };
                    if let Some(failed) = self.failed_need(position, &states) {
                        set(&mut states, position, State::Failed);
                        report.ended(step, &StepResult::NotRun(failed));
                        continue;
                    }
                    let (start, sender) = (Instant::now(), sender.clone());
                    set(&mut states, position, State::Running(start));
                    scope.spawn(move || {
                        let outcome = result(|| step.bring_up_to_date(runner.top, runner.tools, runner.children), start);
                        sender.send((position, outcome)).unwrap_or_default();
                    });
                }
                let running = self.running(&states);
                if running.is_empty() {
                    break;
                }
                report.running(&running);
                let Ok((position, outcome)) = receiver.recv_timeout(Duration::from_secs(1)) else { continue };
                let failed = matches!(outcome, StepResult::Failed(..));
                set(&mut states, position, if failed { State::Failed } else { State::Succeeded });
                if let Some(step) = self.steps.get(position) {
                    // What a stopped run cuts short has not failed by itself.
                    if !(failed && runner.children.is_stopped()) {
                        report.ended(step, &outcome);
                    }
                    if failed && !runner.keep_going && !runner.children.is_stopped() {
                        runner.children.stop();
                    }
                }
            }
        });
        Ok(selected.iter().all(|position| states.get(*position) == Some(&State::Succeeded)))
    }

    /// The first step that can start now.
    fn next(&self, selected: &BTreeSet<usize>, states: &[State], runner: &Runner<'_>) -> Option<usize> {
        let running = self.running(states);
        if runner.children.is_stopped() || running.len() >= runner.jobs {
            return None;
        }
        let locks: Vec<Lock> = running.iter().filter_map(|(step, _)| step.lock).collect();
        let ended = |position: usize| matches!(states.get(position), Some(State::Succeeded | State::Failed));
        let ready = |position: &usize| {
            let free = |step: &Step| step.lock.is_none_or(|lock| !locks.contains(&lock));
            states.get(*position) == Some(&State::Waiting)
                && self.steps.get(*position).is_some_and(free)
                && self.edges(*position).all(|earlier| !selected.contains(&earlier) || ended(earlier))
        };
        selected.iter().copied().find(ready)
    }

    fn failed_need(&self, position: usize, states: &[State]) -> Option<String> {
        let failed = |need: &&usize| states.get(**need) == Some(&State::Failed);
        let need = self.needs.get(position)?.iter().find(failed)?;
        self.steps.get(*need).filter(|step| step.kind == Kind::Build).map(|step| step.name.clone())
    }

    fn running(&self, states: &[State]) -> Vec<(&Step, Instant)> {
        let started = |(step, state)| if let &State::Running(start) = state { Some((step, start)) } else { None };
        self.steps.iter().zip(states).filter_map(started).collect()
    }
}

/// How `work` ended. A panic is a failure: a thread that ends without a result would keep the run waiting for ever.
fn result(work: impl FnOnce() -> Result<bool, StepError>, start: Instant) -> StepResult {
    match std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(StepError::Panic)) {
        Ok(true) => StepResult::Ran(start.elapsed()),
        Ok(false) => StepResult::Fresh,
        Err(error) => StepResult::Failed(start.elapsed(), error),
    }
}

fn set(states: &mut [State], position: usize, state: State) {
    if let Some(slot) = states.get_mut(position) {
        *slot = state;
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
