//! A DHCPv4 client that obtains one lease: DHCPDISCOVER, DHCPREQUEST, retransmission.
//!
//! The caller has the clock, the socket and the random numbers: it sends the frame that [`Client::due`] returns, sleeps until
//! [`Client::wake`], and passes every received frame to [`Client::take`].
//!
//! Source: RFC 2131.

mod message;
mod options;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub use message::Lease;
use message::{Answer, Offer, Transaction};

/// The first retransmission delay; each later one is twice as long, and each is randomised by up to a second either way (section 4.1).
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// The pause after a DHCPNAK; each later one is twice as long, for a server that always answers with DHCPNAK.
const FIRST_NAK_DELAY: Duration = Duration::from_secs(1);
/// How many requests are sent for one offer. Then the client starts again, since another server may answer.
const REQUESTS_MAX: u32 = 3;

/// The meaning of a received frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Not a message of this transaction.
    Ignored,
    /// DHCPOFFER of this address; the request is due.
    Offer(Ipv4Addr),
    /// DHCPNAK: the server withdrew its offer; the client starts again after a pause.
    Nak,
    /// DHCPACK: the lease.
    Ack(Box<Lease>),
}

/// The state of a client on one link.
#[derive(Debug)]
pub struct Client {
    transaction: Transaction,
    started: Instant,
    /// The address of an earlier lease.
    wanted: Option<Ipv4Addr>,
    state: State,
    /// The next retransmission delay, without randomisation.
    wait: Duration,
    /// The next pause after a DHCPNAK, without randomisation.
    nak_delay: Duration,
    /// When the next message is due.
    due: Instant,
    sent: u32,
}

#[derive(Debug)]
enum State {
    Selecting,
    Requesting { offer: Offer, sent: u32 },
    Bound,
}

impl Client {
    /// Starts at `now` with a random transaction ID. `wanted` is the address of an earlier lease.
    #[must_use]
    pub fn new(mac: [u8; 6], wanted: Option<Ipv4Addr>, now: Instant, random: u32) -> Self {
        let transaction = Transaction { mac, xid: random };
        Self {
            transaction,
            started: now,
            wanted,
            state: State::Selecting,
            wait: FIRST_WAIT,
            nak_delay: FIRST_NAK_DELAY,
            due: now,
            sent: 0,
        }
    }

    /// Returns when [`Client::due`] has the next frame; `None` once the client has a lease.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        (!matches!(self.state, State::Bound)).then_some(self.due)
    }

    /// Returns how many messages were sent.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Returns the frame to send at `now`, if one is due. `random` randomises the time of the next one.
    pub fn due(&mut self, now: Instant, random: u32) -> Option<Vec<u8>> {
        if now < self.due || matches!(self.state, State::Bound) {
            return None;
        }
        let seconds = now.saturating_duration_since(self.started).as_secs();
        let seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
        if let State::Requesting { sent: REQUESTS_MAX, .. } = self.state {
            (self.state, self.wait) = (State::Selecting, FIRST_WAIT);
            self.transaction.xid = random;
        }
        let frame = match &mut self.state {
            State::Requesting { offer, sent } => {
                *sent += 1;
                self.transaction.request(offer, seconds)
            }
            State::Selecting | State::Bound => self.transaction.discover(self.wanted, seconds),
        };
        self.sent += 1;
        self.due = now + jittered(self.wait, random);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        frame
    }

    /// Handles a frame that was received on the link.
    pub fn take(&mut self, frame: &[u8], now: Instant, random: u32) -> Received {
        match &self.state {
            State::Selecting => {
                let Some(offer) = self.transaction.read_offer(frame) else { return Received::Ignored };
                let address = offer.address;
                self.state = State::Requesting { offer, sent: 0 };
                (self.due, self.wait) = (now, FIRST_WAIT);
                Received::Offer(address)
            }
            State::Requesting { offer, .. } => match self.transaction.read_answer(frame, offer.server) {
                Some(Answer::Leased(lease)) => {
                    self.state = State::Bound;
                    Received::Ack(lease)
                }
                Some(Answer::Refused) => {
                    self.state = State::Selecting;
                    self.transaction.xid = random;
                    self.wanted = None;
                    self.due = now + jittered(self.nak_delay, random);
                    (self.wait, self.nak_delay) = (FIRST_WAIT, (self.nak_delay * 2).min(LONGEST_WAIT));
                    Received::Nak
                }
                None => Received::Ignored,
            },
            State::Bound => Received::Ignored,
        }
    }
}

/// Randomises `wait` by up to a second either way.
fn jittered(wait: Duration, random: u32) -> Duration {
    (wait + Duration::from_millis((random % 2001).into())).saturating_sub(Duration::from_secs(1))
}

/// Parses a server's frame as both states do, for a client with this hardware address and transaction ID.
#[cfg(fuzzing)]
pub(crate) fn read(mac: [u8; 6], xid: u32, frame: &[u8]) -> Option<Lease> {
    let transaction = Transaction { mac, xid };
    drop(transaction.read_offer(frame));
    match transaction.read_answer(frame, Ipv4Addr::new(10, 0, 2, 2))? {
        Answer::Leased(lease) => Some(*lease),
        Answer::Refused => None,
    }
}

#[cfg(test)]
mod tests {
    use super::options::tests::reply;
    use super::*;
    use crate::frame;

    const DISCOVER: u8 = 1;
    const OFFER: u8 = 2;
    const REQUEST: u8 = 3;
    const ACK: u8 = 5;
    const NAK: u8 = 6;
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    /// No randomisation: the middle of the range.
    const MIDDLE: u32 = 1000;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Message type and transaction ID of a client's frame.
    fn sent(frame: &[u8]) -> (u8, u32) {
        let message = &frame[42..];
        (message[242], u32::from_be_bytes(message[4..8].try_into().unwrap()))
    }

    fn server(kind: u8, xid: u32) -> Vec<u8> {
        let kind = [kind];
        frame::tests::from_server(&reply(
            MAC,
            xid,
            [10, 0, 2, 15],
            &[(options::MESSAGE_TYPE, &kind), (options::SERVER, &[10, 0, 2, 2])],
        ))
    }

    #[test]
    fn discover_is_repeated_after_4_8_16_32_64_and_64_seconds() {
        let start = Instant::now();
        let mut client = Client::new(MAC, None, start, 7);
        let mut at = Vec::new();
        for _ in 0..7 {
            let now = client.wake().unwrap();
            assert_eq!(sent(&client.due(now, MIDDLE).unwrap()), (DISCOVER, 7));
            assert_eq!(client.due(now, MIDDLE), None, "once");
            at.push(now.duration_since(start).as_secs());
        }
        assert_eq!(at, [0, 4, 12, 28, 60, 124, 188]);
    }

    #[test]
    fn jitter_is_a_second_either_way() {
        assert_eq!((jittered(FIRST_WAIT, 0), jittered(FIRST_WAIT, 2000)), (seconds(3), seconds(5)));
    }

    #[test]
    fn offer_is_requested_at_once_and_its_acknowledgement_is_the_lease() {
        let start = Instant::now();
        let mut client = Client::new(MAC, None, start, 7);
        client.due(start, MIDDLE).unwrap();
        let late = start + seconds(3);
        assert_eq!(client.take(&server(OFFER, 7), late, 9), Received::Offer(Ipv4Addr::new(10, 0, 2, 15)));
        assert_eq!(sent(&client.due(late, MIDDLE).unwrap()), (REQUEST, 7));
        assert!(matches!(client.take(&server(ACK, 7), late, 9), Received::Ack(_)));
        assert_eq!((client.wake(), client.due(late + seconds(99), 0)), (None, None));
    }

    #[test]
    fn nak_starts_again_after_a_pause_with_another_transaction_id() {
        let mut now = Instant::now();
        let mut client = Client::new(MAC, None, now, 7);
        let (mut xid, mut pauses) = (7, Vec::new());
        for _ in 0..8 {
            assert_eq!(sent(&client.due(now, MIDDLE).unwrap()), (DISCOVER, xid));
            client.take(&server(OFFER, xid), now, MIDDLE);
            client.due(now, MIDDLE).unwrap();
            assert_eq!(client.take(&server(NAK, xid), now, MIDDLE), Received::Nak);
            let wake = client.wake().unwrap();
            pauses.push(wake.duration_since(now).as_secs());
            (now, xid) = (wake, MIDDLE);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn server_that_does_not_answer_requests_is_dropped_after_three() {
        let mut client = Client::new(MAC, None, Instant::now(), 7);
        let start = client.wake().unwrap();
        let mut messages = Vec::new();
        for _ in 0..5 {
            let now = client.wake().unwrap();
            messages.push((sent(&client.due(now, MIDDLE).unwrap()).0, now.duration_since(start).as_secs()));
            client.take(&server(OFFER, 7), now, MIDDLE);
        }
        assert_eq!(messages, [(DISCOVER, 0), (REQUEST, 0), (REQUEST, 4), (REQUEST, 12), (DISCOVER, 28)]);
    }
}
