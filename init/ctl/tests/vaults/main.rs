//! The tool against nodes that speak the wire, and a guest that then wants its key.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects by unwrapping")]

mod command;
mod deal;
mod promote;
mod scripted;
mod undo;
mod world;
