//! The tool against simulated nodes, and a guest that fetches its key afterwards.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

mod command;
mod deal;
mod promote;
mod scripted;
mod undo;
mod world;
