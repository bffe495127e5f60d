//! One rtnetlink conversation: a request, its acknowledgement or its answers.

use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

use crate::Error;
use crate::poll::readable;
use crate::rtnetlink::{self, DONE, ERROR, INTERRUPTED, Request};
use crate::uevent::DRAIN_MAX;

/// The kernel answers at once; this only bounds a kernel that does not.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket, subscribed to `groups` (`RTNLGRP_*`) as well.
    pub(crate) fn open(groups: &[u32]) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::io("socket", "rtnetlink", &e);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.set_non_blocking(true).map_err(failed)?;
        for group in groups {
            socket.add_membership(*group).map_err(failed)?;
        }
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes a request and hands the body of each answer, with its kind, to `take` until the kernel says that it is done. `EAGAIN`
    /// when a list changed while it was read.
    pub(crate) fn ask(&mut self, call: &'static str, request: &Request, mut take: impl FnMut(u16, &[u8])) -> Result<(), Error> {
        let failed = |errno| Error::new(call, "rtnetlink", errno);
        let io = |e: std::io::Error| Error::io(call, "rtnetlink", &e);
        self.sequence += 1;
        self.socket.send_to(&request.bytes(self.sequence), &SocketAddr::new(0, 0), 0).map_err(io)?;
        let deadline = Instant::now() + ANSWER_DEADLINE;
        let mut interrupted = false;
        while readable(&self.socket, deadline).map_err(failed)? {
            let (datagram, from) = self.socket.recv_from_full().map_err(io)?;
            let mut rest = datagram.as_slice();
            // Only the kernel is port 0.
            while let Some(answer) = rtnetlink::take(&mut rest).filter(|_| from.port_number() == 0) {
                interrupted |= answer.sequence == self.sequence && answer.flags & INTERRUPTED != 0;
                match answer.kind {
                    _ if answer.sequence != self.sequence => {}
                    // Read to its end all the same: until then the kernel takes no other question for a list.
                    DONE if interrupted || answer.flags & INTERRUPTED != 0 => return Err(failed(Errno::AGAIN)),
                    // A list ends with an errno too.
                    DONE if answer.body.len() < 4 => return Ok(()),
                    DONE | ERROR => {
                        return match rtnetlink::errno(answer.body) {
                            Some(0) => Ok(()),
                            Some(errno) => Err(failed(Errno::from_raw_os_error(errno))),
                            None => Err(failed(Errno::BADMSG)),
                        };
                    }
                    kind => take(kind, answer.body),
                }
            }
        }
        Err(failed(Errno::TIMEDOUT))
    }

    /// Throws away the announcements of the groups that have come.
    pub(crate) fn drain(&mut self) {
        for _ in 0..DRAIN_MAX {
            if self.socket.recv_from_full().is_err() {
                break;
            }
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }
}
