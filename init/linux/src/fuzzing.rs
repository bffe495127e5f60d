//! Entry points of `tests/fuzz` to the parsers of rtnetlink messages. Built for cargo-fuzz only.

use crate::rtnetlink;

/// Parses a datagram of rtnetlink messages.
pub fn rtnetlink(datagram: &[u8]) {
    let mut rest = datagram;
    while let Some(answer) = rtnetlink::take(&mut rest) {
        drop((rtnetlink::link(answer.body), rtnetlink::address(answer.body), rtnetlink::errno(answer.body)));
    }
}
