//! Plays scenarios, two at a time, and keeps the count.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::scenarios::{Scenario, Stage};
use crate::{Artifacts, Doing, Failure, KernelLine};

/// Machines at a time: one for each core that CI has.
const AT_A_TIME: usize = 2;

/// A scenario and the kernel that it is played with.
pub type Part<'a> = (&'a Scenario, KernelLine);

/// How many passed and how many failed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
}

/// Plays `parts` over what is built below `top`; `report` is told of each as it ends.
pub fn play(top: &Path, parts: &[Part<'_>], report: impl Fn(Part<'_>, Duration, &Result<(), Failure>) + Sync) -> Count {
    let queue = Mutex::new(parts.iter());
    let count = Mutex::new(Count::default());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(part) = queue.lock().ok().and_then(|mut queue| queue.next()) else { return };
                    let start = Instant::now();
                    let outcome = play_one(top, *part);
                    report(*part, start.elapsed(), &outcome);
                    if let Ok(mut count) = count.lock() {
                        match outcome {
                            Ok(()) => count.passed += 1,
                            Err(_) => count.failed += 1,
                        }
                    }
                }
            });
        }
    });
    count.into_inner().unwrap_or_default()
}

fn play_one(top: &Path, (scenario, kernel): Part<'_>) -> Result<(), Failure> {
    let artifacts = Artifacts::find(top, kernel)?;
    let folder = top.join("target/scenarios").join(format!("{}{}", scenario.name, kernel.mark()));
    clear(&folder)?;
    std::fs::create_dir_all(&folder).doing("making the scenario's folder")?;
    let outcome = (scenario.play)(&Stage { artifacts, folder: folder.clone() });
    if outcome.is_ok() && std::env::var_os("CVM_KEEP").is_none() {
        clear(&folder)?; // disks are large; those of a failure stay to be looked at
    }
    outcome
}

fn clear(folder: &Path) -> Result<(), Failure> {
    if folder.exists() { std::fs::remove_dir_all(folder).doing("clearing the scenario's folder") } else { Ok(()) }
}
