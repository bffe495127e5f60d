//! Measurement logs, and the measurement registers that they replay to.
//!
//! `ccel` parses the firmware's log (CCEL of a TD, or the log of a TPM), `cel` writes and parses the guest's log in CEL-JSON, `pe`
//! computes the Authenticode digest of a PE image, and `register` extends registers. The crate opens no file and reads no clock; each
//! parser is total, strict and bounded.

pub mod ccel;
pub mod cel;
pub mod pe;
pub mod register;
