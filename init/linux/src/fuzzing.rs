//! The parsers of what the kernel's netlink says, for `tests/fuzz`. Not built otherwise.

use crate::rtnetlink;

/// A datagram of rtnetlink messages.
pub fn rtnetlink(datagram: &[u8]) {
    let mut rest = datagram;
    while let Some(answer) = rtnetlink::take(&mut rest) {
        drop((rtnetlink::link(answer.body), rtnetlink::address(answer.body), rtnetlink::errno(answer.body)));
    }
}
