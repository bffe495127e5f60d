//! One vault, one thread: dial, verify, wait to be asked, present, fetch; and again for as long as there is patience.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use attest::{Anchor, VerifiedNode};
use cmdline::VaultAddress;
use linux::tsm::Tsm;
use quorum::{Backoff, Command, Generation, RedialReason, Share};
use ratls::{Challenged, Expectation, Handshaken, Identity, NodeCa, QuoteTime};
use vault::{ShareError, ShareMaterial};

use super::collateral::Sources;
use super::quote;
use crate::phase::net::{Distrusted, Reach, ReachError, Wire};

/// The longest that connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest that a vault may take for its evidence, and for ours: it serves one request at a time, and others wait for its attestation
/// server.
const STEP: Duration = Duration::from_secs(30);
/// The longest that a vault may take to give its share: its attestation server judges our quote meanwhile, one guest after the other.
const EXPORT: Duration = Duration::from_secs(40);
/// How long a connection is kept on which the vault waits to be asked: the nodes' proxies drop one after 300 s, and our quote may take 70 s.
const IDLE: Duration = Duration::from_secs(200);
/// The longest that our own quote may take: the kernel gives the host's quoting service 30 s, and it may need a second try.
const QUOTE: Duration = Duration::from_secs(70);
/// The ceiling of the first pause before dialling again, and of the longest: with full jitter in between.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What all vaults' threads share.
pub(super) struct Dialer {
    pub(super) identity: Identity,
    pub(super) node_ca: NodeCa,
    pub(super) anchor: Anchor,
    pub(super) nodes: attest::Policy,
    pub(super) clock: ratls::Clock,
    pub(super) collateral: Sources,
    pub(super) handle: String,
    /// Quotes are made one at a time, as the kernel does.
    pub(super) tsm: Mutex<Tsm>,
    pub(super) reach: Reach,
    pub(super) deadline: Instant,
}

/// What a thread tells.
pub(super) enum Event {
    /// The vault at this place proved itself and waits to be asked.
    Ready(usize, Box<Ready>),
    /// It has our quote and owes an answer.
    Presented(usize),
    /// It took our quote, which it does only if it knows what time it is, and gave its share, with the key's expiry in Unix seconds. The thread waits to be told what next; its channel's end means: stop.
    Served(usize, Share, u64),
    /// It cannot be used now; whether it is tried again.
    Lost(usize, Error, bool),
}

/// A command with the number of the connection that it is for: one that comes late is not applied to the next connection.
pub(super) type Message = (u32, Command);

/// A node that proved itself.
pub(super) struct Ready {
    /// The number of the connection, of all that its thread made.
    pub(super) connection: u32,
    pub(super) node: VerifiedNode,
    /// SHA-256 of its public key.
    pub(super) key: [u8; 32],
    /// Its clock, and when it said so.
    pub(super) time: QuoteTime,
    pub(super) at: Instant,
}

/// Why a vault is lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Vault(#[from] vault::Error),
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error("random numbers")]
    Random(#[source] linux::Error),
    #[error("the same node as another vault")]
    SameNode,
    #[error("collateral is not valid at the vaults' time")]
    Stale,
    #[error("not asked for {} s, and its connection would be dropped", IDLE.as_secs())]
    Idle,
    /// The collector wants no more.
    #[error("stopped")]
    Stopped,
}

impl From<ratls::Error> for Error {
    fn from(error: ratls::Error) -> Self {
        Self::Vault(error.into())
    }
}

impl Error {
    /// Whether the address is dialled again: after anything that was answered there, or not answered. The host leads it to whom it
    /// likes, so that another may be the next to answer.
    pub(super) const fn is_transient(&self) -> bool {
        !matches!(self, Self::Random(_) | Self::Stopped)
    }
}

impl Dialer {
    /// Serves the vault at `index` until the shell hangs up or the time is over.
    pub(super) fn serve(&self, index: usize, address: &VaultAddress, inbox: &Receiver<Message>, events: &Sender<Event>) {
        let mut inbox = Inbox { messages: inbox, connection: 0 };
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut distrusted = Distrusted::default();
        loop {
            inbox.connection += 1;
            match self.attempt(index, address, &mut distrusted, &inbox, events) {
                Ok(()) => {}                   // it served, and its address is dialled again
                Err(Error::Stopped) => return, // the time is up, or no more is wanted: that says nothing of the vault
                Err(error) => {
                    let is_transient = error.is_transient();
                    if events.send(Event::Lost(index, error, is_transient)).is_err() || !is_transient {
                        return;
                    }
                }
            }
            // Guests that start together must not dial together.
            let pause = backoff.pause(random());
            let left = self.deadline.saturating_duration_since(Instant::now());
            // Waited out even if nothing follows: a try that begins at the deadline would only overwrite what is known of the vault.
            if !inbox.pause(pause.min(left)) || pause >= left {
                return;
            }
        }
    }

    /// One connection, up to its share and to the word that the address is dialled again.
    fn attempt(
        &self,
        index: usize,
        address: &VaultAddress,
        distrusted: &mut Distrusted,
        inbox: &Inbox<'_>,
        events: &Sender<Event>,
    ) -> Result<(), Error> {
        let stream = self.reach.vault(address, distrusted, self.within(CONNECT))?;
        let peer = stream.peer();
        let end = self.serve_over(stream, index, inbox, events);
        // This peer did not provide a share that was used, so another address of the name is tried first next time.
        if let Some(peer) = peer {
            distrusted.add(peer);
        }
        end
    }

    /// The same over a stream.
    fn serve_over(&self, stream: Wire, index: usize, inbox: &Inbox<'_>, events: &Sender<Event>) -> Result<(), Error> {
        let challenged = self.prove(stream)?;
        let ready = Ready {
            connection: inbox.connection,
            node: challenged.node().clone(),
            key: *challenged.node_key(),
            time: challenged.quote_time(),
            at: Instant::now(),
        };
        events.send(Event::Ready(index, Box::new(ready))).map_err(|_| Error::Stopped)?;
        match self.asked(inbox)? {
            Command::Ask => {}
            Command::Redial(RedialReason::Stale) => return Err(Error::Stale),
            Command::Redial(RedialReason::SameNode | RedialReason::Unfit) => return Err(Error::SameNode),
        }
        let (share, expires_at) = self.fetch(index, challenged, events)?;
        events.send(Event::Served(index, share, expires_at)).map_err(|_| Error::Stopped)?;
        inbox.receive(self.left()).map(drop).map_err(|_| Error::Stopped)
    }

    /// Waits to be told that the vault is asked.
    fn asked(&self, inbox: &Inbox<'_>) -> Result<Command, Error> {
        let left = self.left();
        match inbox.receive(left.min(IDLE)) {
            Err(RecvTimeoutError::Timeout) if left > IDLE => Err(Error::Idle),
            command => command.map_err(|_| Error::Stopped),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Has the node prove itself.
    fn prove(&self, stream: Wire) -> Result<Challenged<Wire>, Error> {
        let mut context = [0; 32];
        linux::clock::random(&mut context).map_err(Error::Random)?;
        let expected = Expectation { anchor: &self.anchor, policy: &self.nodes, clock: self.clock, collateral: &self.collateral };
        let handshaken = Handshaken::connect_within(&self.node_ca, stream, &self.identity, self.within(CONNECT))?;
        Ok(handshaken.challenge(&context, &expected, self.within(STEP))?)
    }

    /// Shows our quote and fetches the share.
    fn fetch(&self, index: usize, challenged: Challenged<Wire>, events: &Sender<Event>) -> Result<(Share, u64), Error> {
        let until = self.deadline.min(Instant::now() + QUOTE);
        let own = |report_data: &[u8; 64]| {
            let own = quote::own(&self.tsm, report_data, until, self.reach.stop())
                .map_err(|e| ratls::Error::OwnQuote(e.to_string()))?;
            drop(events.send(Event::Presented(index)));
            Ok(own)
        };
        let mut session = challenged.present(own, STEP)?;
        let key = vault::export_key(&mut session, &self.handle, self.within(EXPORT))?;
        let share = ShareMaterial::parse(&key.material)?;
        Ok((Share::new(Generation(*share.set_id), share.x, share.data), key.expires_at))
    }

    fn within(&self, longest: Duration) -> Instant {
        self.deadline.min(Instant::now() + longest)
    }
}

/// The commands for one thread.
struct Inbox<'a> {
    messages: &'a Receiver<Message>,
    /// The connection that the thread has.
    connection: u32,
}

impl Inbox<'_> {
    /// Waits at most `longest` for the next command for this connection.
    fn receive(&self, longest: Duration) -> Result<Command, RecvTimeoutError> {
        let end = Instant::now() + longest;
        loop {
            let (connection, command) = self.messages.recv_timeout(end.saturating_duration_since(Instant::now()))?;
            if connection == self.connection {
                return Ok(command);
            }
        }
    }

    /// Waits out a pause and drops commands for the connection that has ended; `false` when the sender is gone.
    fn pause(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(end) => return end == RecvTimeoutError::Timeout,
            }
        }
    }
}

/// What jitters a pause. Without random numbers all pauses are as long as they can be, and no harm is done.
pub(super) fn random() -> u32 {
    let mut bytes = [0; 4];
    linux::clock::random(&mut bytes).map_or(u32::MAX, |()| u32::from_ne_bytes(bytes))
}
