//! Runs scenarios as trials of libtest-mimic, which has the command line and the output of `cargo test`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

use crate::benchmarks::BENCHMARKS;
use crate::scenarios::{Run, SCENARIOS, Scenario, TestContext};
use crate::{Artifacts, Context, Failure, KernelSeries, schema};

/// How many virtual machines run at once unless `--test-threads` says otherwise: one per core of CI.
const MACHINES: usize = 2;
/// The trial that runs last, in a run with all usual scenarios.
const SCHEMA_TRIAL: &str = "boot_report::every_field_of_the_schema_was_seen";

/// A scenario and the kernel that it runs with.
#[derive(Clone, Copy)]
struct Case {
    scenario: &'static Scenario,
    kernel: KernelSeries,
}

impl Case {
    fn name(self) -> String {
        format!("{}{}", self.scenario.name, self.kernel.mark())
    }

    fn run(self) -> Run {
        match self.kernel {
            KernelSeries::Backports => self.scenario.default_kernel,
            KernelSeries::Stable => self.scenario.stable_kernel,
        }
    }

    /// Whether `arguments` and `filters` select it.
    ///
    /// A scenario with Debian 13's kernel is selected only when no filter is given or a filter contains `@`: `NAME` means the default kernel.
    fn is_selected(self, arguments: &Arguments, filters: &[String]) -> bool {
        let name = self.name();
        let matches = |filter: &String| if arguments.exact { name == *filter } else { name.contains(filter.as_str()) };
        let is_named = |filter: &String| matches(filter) && (self.kernel == KernelSeries::Backports || filter.contains('@'));
        (filters.is_empty() || filters.iter().any(is_named)) && !arguments.skip.iter().any(matches)
    }

    /// Whether it runs with the usual ones, so without `--ignored` or `--include-ignored`.
    fn is_usual(self) -> bool {
        self.run() == Run::Usual
    }
}

/// What every scenario of one run shares.
struct Shared {
    top: PathBuf,
    times: Mutex<Vec<(String, Duration)>>,
}

/// Runs the scenarios that `arguments` and `filters` select with the artifacts below `top`; returns the time of each scenario, the longest first.
///
/// Several filters select the scenarios that match any of them.
///
/// # Errors
/// A filter matches no scenario, or the options leave none that runs: a run of nothing would pass.
pub fn run(top: &Path, mut arguments: Arguments, filters: &[String]) -> Result<(Conclusion, Vec<(String, Duration)>), Failure> {
    let cases: Vec<Case> = if arguments.bench { benchmarks() } else { cases() };
    check_filters(&cases, &arguments, filters)?;
    let selected: Vec<Case> = cases.iter().copied().filter(|case| case.is_selected(&arguments, filters)).collect();
    let is_whole = !arguments.bench && !arguments.ignored && count_usual(&selected) == count_usual(&cases);
    let shared = Arc::new(Shared { top: top.to_owned(), times: Mutex::default() });
    let (running, ended) = channel();
    let mut trials: Vec<Trial> = selected.into_iter().map(|case| trial(case, &shared, &running)).collect();
    drop(running);
    if is_whole {
        trials.push(Trial::test(SCHEMA_TRIAL, move || check_schema(&ended)));
    }
    arguments.test_threads.get_or_insert(MACHINES);
    // Filters were applied above, and benchmarks are tests to libtest-mimic: they print what they measure.
    (arguments.bench, arguments.skip, arguments.filter) = (false, Vec::new(), None);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list && conclusion.num_passed + conclusion.num_failed == 0 {
        return Err(Failure("no scenario ran: the options leave out each one that the filters select".to_owned()));
    }
    let mut times = std::mem::take(&mut *shared.times.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    Ok((conclusion, times))
}

/// Expects that each filter selects a scenario.
fn check_filters(cases: &[Case], arguments: &Arguments, filters: &[String]) -> Result<(), Failure> {
    let selects = |filter: &&String| cases.iter().any(|case| case.is_selected(arguments, std::slice::from_ref(*filter)));
    match filters.iter().find(|filter| !selects(filter)) {
        Some(filter) => Err(Failure(format!(
            "no scenario matches {filter}: `tests/run --list` lists scenarios, `tests/run --bench --list` benchmarks"
        ))),
        None => Ok(()),
    }
}

/// Every scenario with each kernel that it supports, in the order in which they run.
fn cases() -> Vec<Case> {
    let with = |kernel| SCENARIOS.iter().map(move |scenario| Case { scenario, kernel });
    let all = with(KernelSeries::Backports).chain(with(KernelSeries::Stable));
    all.filter(|case| case.run() != Run::Never).collect()
}

fn benchmarks() -> Vec<Case> {
    BENCHMARKS.iter().map(|scenario| Case { scenario, kernel: KernelSeries::Backports }).collect()
}

fn count_usual(cases: &[Case]) -> usize {
    cases.iter().filter(|case| case.is_usual()).count()
}

fn trial(case: Case, shared: &Arc<Shared>, running: &Sender<()>) -> Trial {
    let (shared, running) = (Arc::clone(shared), running.clone());
    let trial = Trial::test(case.name(), move || {
        let start = Instant::now();
        let result = run_one(&shared.top, case);
        shared.times.lock().unwrap_or_else(PoisonError::into_inner).push((case.name(), start.elapsed()));
        drop(running);
        result.map_err(Failed::from)
    });
    trial.with_ignored_flag(!case.is_usual())
}

/// Runs one scenario in a folder of its own, `target/scenarios/NAME`, which stays after a failure and when `CVM_KEEP` is set.
fn run_one(top: &Path, case: Case) -> Result<(), Failure> {
    let artifacts = Artifacts::find(top, case.kernel)?;
    let folder = top.join("target/scenarios").join(case.name().replace("::", "/"));
    clear(&folder)?;
    std::fs::create_dir_all(&folder).context("creating the scenario's folder")?;
    let result = (case.scenario.run)(&TestContext { artifacts, folder: folder.clone() });
    if result.is_ok() && std::env::var_os("CVM_KEEP").is_none() {
        clear(&folder)?;
    }
    result
}

fn clear(folder: &Path) -> Result<(), Failure> {
    if folder.exists() { std::fs::remove_dir_all(folder).context("deleting the scenario's folder") } else { Ok(()) }
}

/// Expects that each field of the boot report's schema was in some boot report of this run; waits for the end of all other trials.
fn check_schema(ended: &Receiver<()>) -> Result<(), Failed> {
    // Nothing is ever sent: the channel closes when the last trial has dropped its sender.
    while ended.recv().is_ok() {}
    match schema::fields_not_seen()?.as_slice() {
        [] => Ok(()),
        fields => Err(format!("no boot report of this run contains {}: add a scenario that does", fields.join(" ")).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn selected(filters: &[&str], exact: bool) -> Vec<String> {
        let arguments = Arguments { exact, ..Arguments::default() };
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        cases().into_iter().filter(|case| case.is_selected(&arguments, &filters)).map(Case::name).collect()
    }

    #[test]
    fn each_name_is_one_scenario() {
        let names: BTreeSet<_> = cases().into_iter().chain(benchmarks()).map(Case::name).collect();
        assert_eq!(names.len(), cases().len() + benchmarks().len());
    }

    #[test]
    fn filters_select_the_default_kernel_unless_they_name_another() {
        let name = "policy::watchdog_resets_after_a_hang";
        assert_eq!(selected(&["watchdog_resets_after"], false), [name]);
        assert_eq!(selected(&[name], true), [name]);
        assert_eq!(selected(&[&format!("{name}@stable")], true), [format!("{name}@stable")]);
        assert_eq!(selected(&[name, "root::stops_at_a_wrong_root_hash"], true).len(), 2);
        assert!(selected(&["@stable"], false).iter().all(|name| name.ends_with("@stable")));
        assert_eq!(selected(&[], false).len(), cases().len());
        assert!(selected(&["no such scenario"], false).is_empty());
    }

    #[test]
    fn filter_that_matches_nothing_is_an_error() {
        let check = |filters: &[&str], bench: bool| {
            let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
            let cases = if bench { benchmarks() } else { cases() };
            check_filters(&cases, &Arguments::default(), &filters).is_ok()
        };
        assert!(check(&[], false) && check(&["root::", "policy::"], false) && check(&["first_format"], true));
        assert!(!check(&["root::", "no_such_scenario"], false) && !check(&["first_format"], false));
        assert!(!check(&["stops_where_the_kernel_offers_no_registers@stable"], false), "it runs with one kernel only");
    }

    #[test]
    fn run_of_nothing_is_an_error() {
        let run = |arguments: Arguments, filter: &str| run(Path::new("."), arguments, &[filter.to_owned()]).err();
        let usual = "policy::watchdog_resets_after_a_hang";
        assert!(run(Arguments { ignored: true, ..Arguments::default() }, usual).is_some(), "it is not ignored");
        assert!(run(Arguments { ignored: true, list: true, ..Arguments::default() }, usual).is_none(), "a list runs nothing");
    }

    #[test]
    fn schema_trial_waits_for_the_end_of_all_scenarios() {
        let (running, ended) = channel::<()>();
        let other = std::thread::spawn(move || drop(running));
        assert!(check_schema(&ended).is_err(), "no scenario ran in this process");
        other.join().unwrap();
    }
}
