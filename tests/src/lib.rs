//! The machine, tried: each scenario boots a VM with the real PID 1 against vault nodes and a host that behave as told.
//!
//! Console and receipt go in, a verdict comes out. Every boot is also searched for key material.

mod artifacts;
mod benchmarks;
mod boot;
mod chain;
mod clock;
mod cuts;
mod disk;
mod drain;
mod lan;
mod leak;
mod pccs;
mod relay;
pub mod runner;
mod scenarios;
pub mod schema;
mod trace;
mod vaults;
mod vsock;

pub use artifacts::{Artifacts, KernelLine};
pub use benchmarks::BENCHMARKS;
pub use boot::{Boot, Ended};
pub use disk::{DataDisk, RootDisk};
pub use scenarios::{ALL, LEFT_TO_ALL, OF_ONE_KERNEL, ON_STABLE, Scenario, Stage};
pub use vaults::Vaults;

/// Why a scenario failed: what was expected, and what came.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Turns any error into a failure that says what was being done.
pub trait Doing<T> {
    /// Names what was being done.
    ///
    /// # Errors
    /// The failure.
    fn doing(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
