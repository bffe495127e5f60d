//! One rtnetlink conversation: a request, its acknowledgement or its answers.

use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

use crate::Error;
use crate::uevent::readable;

/// The kernel answers at once; this only bounds a kernel that does not.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket, subscribed to `groups` (RTNLGRP numbers) as well.
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

    /// Asks the kernel to make or replace something and waits for its word.
    pub(crate) fn change(&mut self, call: &'static str, message: RouteNetlinkMessage) -> Result<(), Error> {
        self.send(call, message, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)?;
        self.answers(call).map(drop)
    }

    /// Asks for a list.
    pub(crate) fn dump(&mut self, call: &'static str, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Error> {
        self.send(call, message, NLM_F_REQUEST | NLM_F_DUMP)?;
        self.answers(call)
    }

    /// Waits for an announcement of the groups; `false` when `deadline` passed.
    pub(crate) fn announced(&mut self, deadline: Instant) -> Result<bool, Error> {
        if !readable(&self.socket, deadline).map_err(|e| Error::new("poll", "rtnetlink", e))? {
            return Ok(false);
        }
        while self.socket.recv_from_full().is_ok() {}
        Ok(true)
    }

    fn send(&mut self, call: &'static str, message: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(drop).map_err(|e| Error::io(call, "rtnetlink", &e))
    }

    /// Takes messages until the acknowledgement or the end of the list of this request.
    fn answers(&mut self, call: &'static str) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let failed = |errno| Error::new(call, "rtnetlink", errno);
        let deadline = Instant::now() + ANSWER_DEADLINE;
        let mut found = Vec::new();
        while readable(&self.socket, deadline).map_err(failed)? {
            let (datagram, from) = self.socket.recv_from_full().map_err(|e| Error::io(call, "rtnetlink", &e))?;
            if from.port_number() != 0 {
                continue; // only the kernel is port 0
            }
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|_| failed(Errno::BADMSG))?;
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
                rest = rest.get(length.max(16)..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(found),
                            Some(code) => Err(failed(Errno::from_raw_os_error(code.get().saturating_neg()))),
                        };
                    }
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    _ => {}
                }
            }
        }
        Err(failed(Errno::TIMEDOUT))
    }
}
