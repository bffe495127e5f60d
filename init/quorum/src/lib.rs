//! Shares of the DEK, and the collector that recovers the key from them. It has no clock, socket or thread.
//!
//! Threat model: fewer than t vaults behave arbitrarily. A share carries no authentication, so a candidate key is accepted only
//! after it was verified against something that neither the host nor those vaults can choose, and a vault whose share does not
//! fit is named. Secrets have no `Debug` and no `Clone`, and leave this crate only through `expose` functions.

mod authenticator;
mod backoff;
mod collection;
mod collector;
mod combinations;
mod dek;
mod share;
mod time;

pub use authenticator::{Authenticator, Purpose};
pub use backoff::Backoff;
pub use collection::{Command, Event, Node, RedialReason, ShareCollection, Step};
pub use collector::{Action, Collector, KeyProof, RecoveredKey, ShareStatus};
pub use dek::{Commitment, Dek};
pub use share::{Share, ShareSetId, Threshold, split};
pub use time::{AgreedTime, TimeSource};
