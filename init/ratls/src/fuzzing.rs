//! The parsers of what peers send, for `tests/fuzz`. Not built otherwise.

use crate::{Step, http, message};

/// Parses a node's answer to a challenge.
pub fn evidence(bytes: &[u8]) {
    drop(message::evidence(bytes));
}

/// Parses an HTTP answer of at most 1 KiB.
pub fn reply(bytes: &[u8]) {
    if let Ok(reply) = http::read_reply(&mut &*bytes, Step::Request, 1 << 10) {
        assert!(reply.body.len() <= 1 << 10, "a body longer than its bound");
    }
}
