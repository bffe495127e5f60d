//! An rtnetlink socket: requests with their acknowledgements or dumps, and multicast notifications.

use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

use crate::Error;
use crate::poll::readable;
use crate::rtnetlink::{self, DONE, ERROR, INTERRUPTED, Request};
use crate::uevent::DRAIN_MAX;

/// How long the kernel may take to answer: it usually answers at once.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket and subscribes it to the multicast `groups` (`RTNLGRP_*`).
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

    /// Sends a request and passes kind and body of each answer to `take`, up to the acknowledgement or the end of the dump. `EAGAIN`
    /// when the list changed during the dump.
    pub(crate) fn request(
        &mut self,
        call: &'static str,
        request: &Request,
        mut take: impl FnMut(u16, &[u8]),
    ) -> Result<(), Error> {
        let failed = |errno| Error::new(call, "rtnetlink", errno);
        let io = |e: std::io::Error| Error::io(call, "rtnetlink", &e);
        self.sequence += 1;
        self.socket.send_to(&request.bytes(self.sequence), &SocketAddr::new(0, 0), 0).map_err(io)?;
        let deadline = Instant::now() + ANSWER_DEADLINE;
        let mut interrupted = false;
        while readable(&self.socket, deadline).map_err(failed)? {
            let (datagram, from) = self.socket.recv_from_full().map_err(io)?;
            let mut rest = datagram.as_slice();
            // Port 0 is the kernel; messages of other senders are skipped.
            while let Some(answer) = rtnetlink::take(&mut rest).filter(|_| from.port_number() == 0) {
                interrupted |= answer.sequence == self.sequence && answer.flags & INTERRUPTED != 0;
                match answer.kind {
                    _ if answer.sequence != self.sequence => {}
                    // An interrupted dump is read to its end: until then the kernel accepts no other dump request.
                    DONE if interrupted || answer.flags & INTERRUPTED != 0 => return Err(failed(Errno::AGAIN)),
                    // NLMSG_DONE may contain an errno as well.
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

    /// Discards the queued notifications.
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
