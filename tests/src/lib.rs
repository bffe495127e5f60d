//! The scenarios: each boots a virtual machine with the real PID 1 against simulated vault nodes and a simulated host.
//!
//! A scenario checks the console and the boot report. Every boot's console is also searched for key material.

mod artifacts;
mod benchmarks;
mod boot;
mod boot_chain;
mod clock;
mod disk;
mod forward;
mod lan;
mod leak;
mod pccs;
mod power_cut;
mod restart;
pub mod runner;
mod scenarios;
mod schema;
mod trace;
mod vaults;
mod vsock;

pub use artifacts::{Artifacts, KernelSeries};
pub use boot::{Boot, BootResult};
pub use disk::{DataDisk, RootDisk};
pub use scenarios::TestContext;
pub use vaults::Vaults;

/// Why a scenario failed: what was expected and what was seen.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Adds to an error what was being done.
pub trait Context<T> {
    /// Converts the error to a failure that starts with `what`.
    ///
    /// # Errors
    /// The failure.
    fn context(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
