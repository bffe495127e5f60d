//! Shares of the data disk's key, and the collector that makes a key of them. No clock, no socket, no thread.
//!
//! Threat model: fewer than t vaults are bad in any way they like. A share carries nothing that authenticates it, so a candidate
//! key is believed only when it is proved against something that the host and the bad vaults cannot choose, and a vault whose
//! share does not fit is named. A secret here has no `Debug`, no `Clone` and no way out but `expose`.

mod authenticator;
mod backoff;
mod collection;
mod collector;
mod dek;
mod share;
mod subsets;
mod time;

pub use authenticator::{Authenticator, Purpose};
pub use backoff::Backoff;
pub use collection::{Command, Event, Node, RedialReason, ShareCollection, Step};
pub use collector::{Collector, Fate, Progress, Quorum, Rule};
pub use dek::{Commitment, Dek};
pub use share::{Generation, Share, Threshold, split};
pub use time::{AgreedTime, TimeSource};
