//! `cvmctl header`, run as a program.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects")]
#![expect(clippy::disallowed_methods, reason = "runs the program under test")]

mod check;
mod cuts;
mod restore;
mod save;
mod world;
