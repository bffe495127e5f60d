//! Virtual machines for tests: QEMU, and a host that simulates the parts of TDX which QEMU lacks.
//!
//! No product crate depends on this one. Limits of the simulation: the host computes the measurements, and nothing checks them;
//! the caller signs the quotes; memory is not encrypted.

pub mod accel;
mod arguments;
pub mod cc;
pub mod command;
pub mod console;
pub mod disk;
pub mod firmware;
pub mod machine;
pub mod measurement;
mod monitor;
pub mod network;
pub mod qgs;
pub mod quoting;
pub mod vm;

pub use accel::Accel;
pub use cc::{CcDriver, CcRecorder, Measured};
pub use command::Qemu;
pub use console::{Console, Line, Missing};
pub use disk::{Bus, Disk, DiskFormat};
pub use firmware::{Firmware, Tpm};
pub use machine::{Keyboard, Machine};
pub use measurement::{DirectBoot, Register, TdInfo};
pub use network::{GuestForward, HOST_IN_GUEST, HostForward, Network};
pub use quoting::{DriverQuirks, QuoteAnswer, QuoteSource, QuotingService, Relay};
pub use vm::{Exit, Vm};
