//! The phases, in boot order. Each exports one verb and one proof; a later phase asks for the proof in its signature.

pub(crate) mod api;
mod block_lookup;
pub(crate) mod data;
pub(crate) mod handoff;
pub(crate) mod measure;
pub(crate) mod net;
pub(crate) mod policy;
pub(crate) mod quiesce;
pub(crate) mod root;
pub(crate) mod scratch;
pub(crate) mod unlock;
