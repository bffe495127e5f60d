//! The machine a confidential VM image runs on here: QEMU, and a host that plays the parts of TDX which QEMU cannot.
//!
//! For tests and for looking at a boot; no product crate depends on it. What it simulates, and what that never shows:
//! measurements are computed by the host and believed (a real TD's are not), quotes are signed by whoever the caller brings,
//! and no memory is encrypted.

pub mod accel;
pub mod command;
pub mod console;
pub mod firmware;
pub mod measurement;
mod monitor;
pub mod qgs;
pub mod quoting;
pub mod spec;
pub mod vm;

pub use accel::Accel;
pub use command::Qemu;
pub use console::{Console, Line, Missing};
pub use firmware::{Firmware, Tpm};
pub use measurement::{DirectBoot, Register, TdInfo};
pub use quoting::{Habits, QuoteAnswer, QuoteSource, QuotingService, Relay};
pub use spec::{Bus, Disk, DiskFormat, GuestForward, HostForward, Keyboard, Machine, Network};
pub use vm::{Exit, Vm};
