//! How a boot of cvm-init fails: the table of error codes, what the machine does next, and how a chain of causes is printed.
//!
//! `table.rs` has one row per code. PID 1 takes numbers and actions from it; `cvmctl explain` and `init/docs/error-codes.md` also
//! take the texts. A number and a text come from separate functions, so that the linker leaves the texts out of PID 1.

mod action;
mod chain;
mod code;
mod table;

pub use action::FailureAction;
pub use chain::chain;
pub use code::{Phase, RANGES, RETIRED, Range};
pub use table::ErrorCode;
