//! The phases, in boot order. Each exports one function and one proof type; later phases take the proof as a parameter.

mod block_lookup;
pub(crate) mod data;
pub(crate) mod early;
pub(crate) mod handoff;
pub(crate) mod measure;
pub(crate) mod net;
pub(crate) mod policy;
pub(crate) mod quiesce;
pub(crate) mod root;
pub(crate) mod scratch;
pub(crate) mod unlock;
