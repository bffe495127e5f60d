//! Measurement logs and the registers that they replay to.
//!
//! `ccel` reads the firmware's log (CCEL of a TD, or a TPM's), `cel` writes and reads the guest's own log in CEL-JSON, `pe` computes the
//! Authenticode digest of a PE image, and `register` extends registers. Nothing here opens a file or asks a clock; each parser is total,
//! strict and bounded.

pub mod ccel;
pub mod cel;
pub mod pe;
pub mod register;
