//! The thread of one vault: dials, verifies the node, waits to be asked, presents evidence and fetches the share; then dials
//! again until the deadline.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use attest::{Anchor, VerifiedNode};
use cmdline::VaultAddress;
use linux::tsm::Tsm;
use quorum::{Backoff, Command, RedialReason, Share, ShareSetId};
use ratls::{Challenged, Expectation, Handshaken, Identity, NodeCa, QuoteTime};
use vault::{ShareError, ShareMaterial};

use super::collateral::CollateralSources;
use super::quote;
use crate::phase::net::{ConnectError, Connector, Deprioritized, PeerStream};

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a vault may take for its evidence, and for reading the guest's: it serves one request at a time, and others wait for its
/// attestation server.
const STEP: Duration = Duration::from_secs(30);
/// How long a vault may take to give its share: its attestation server verifies this machine's quote meanwhile, one guest after
/// the other.
const EXPORT: Duration = Duration::from_secs(40);
/// How long a connection waits until the vault is asked: the nodes' proxies drop one after 300 s, and this machine's quote may
/// take 70 s.
const IDLE: Duration = Duration::from_secs(200);
/// How long this machine's quote may take: the kernel gives the host's quoting service 30 s, and a second try may be needed.
const QUOTE: Duration = Duration::from_secs(70);
/// The limits of the first and of the longest pause before dialling again, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Dials the vaults; shared by all their threads.
pub(super) struct VaultClient {
    pub(super) identity: Identity,
    pub(super) node_ca: NodeCa,
    pub(super) anchor: Anchor,
    pub(super) nodes: attest::Policy,
    pub(super) clock: ratls::Clock,
    pub(super) collateral: CollateralSources,
    pub(super) handle: String,
    /// Locked while a quote is made, as the kernel makes one at a time.
    pub(super) tsm: Mutex<Tsm>,
    pub(super) connector: Connector,
    pub(super) deadline: Instant,
}

/// What a thread reports.
pub(super) enum Event {
    /// The node at this vault's address proved itself and waits to be asked.
    Ready(usize, Box<Ready>),
    /// The vault has this machine's quote and has not answered yet.
    Presented(usize),
    /// The vault accepted the quote, which it does only with a trusted clock, and gave its share, with the key's expiry in Unix
    /// seconds. The thread waits for a command; when the channel closes it ends.
    Served(usize, Share, u64),
    /// The vault cannot be used now; whether its address is dialled again.
    Lost(usize, Error, bool),
}

/// A command and the number of the connection that it is for: a late command is not applied to the next connection.
pub(super) type Message = (u32, Command);

/// A node that proved itself.
pub(super) struct Ready {
    /// The number of the connection, counted by its thread.
    pub(super) connection: u32,
    pub(super) node: VerifiedNode,
    /// SHA-256 of the node's public key.
    pub(super) key: [u8; 32],
    /// The node's clock, and when it was read.
    pub(super) time: QuoteTime,
    pub(super) at: Instant,
}

/// Why a connection to a vault ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Vault(#[from] vault::Error),
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error("random numbers")]
    Random(#[source] linux::Error),
    #[error("it is the same node as another vault")]
    SameNode,
    #[error("its evidence is not valid at the vaults' time")]
    Stale,
    #[error("not asked for {} s, reconnecting before the node drops the connection", IDLE.as_secs())]
    Idle,
    /// No more shares are needed, or the time is up.
    #[error("stopped")]
    Stopped,
}

impl From<ratls::Error> for Error {
    fn from(error: ratls::Error) -> Self {
        Self::Vault(error.into())
    }
}

impl Error {
    /// Whether the address is dialled again: after every answer, and after none, since the host may lead the next connection to
    /// another node.
    pub(super) const fn is_transient(&self) -> bool {
        !matches!(self, Self::Random(_) | Self::Stopped)
    }
}

impl VaultClient {
    /// Runs until the command channel closes or the deadline has passed.
    pub(super) fn run(&self, index: usize, address: &VaultAddress, inbox: &Receiver<Message>, events: &Sender<Event>) {
        let mut inbox = Inbox { messages: inbox, connection: 0 };
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut deprioritized = Deprioritized::default();
        loop {
            inbox.connection += 1;
            match self.attempt(index, address, &mut deprioritized, &inbox, events) {
                Ok(()) => {}                   // it served, and its address is dialled again
                Err(Error::Stopped) => return, // no fault of the vault
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
            // Waits also when no attempt follows: one that begins at the deadline would only overwrite the vault's status.
            if !inbox.pause(pause.min(left)) || pause >= left {
                return;
            }
        }
    }

    /// Makes one connection and keeps it until the vault is to be dialled again.
    fn attempt(
        &self,
        index: usize,
        address: &VaultAddress,
        deprioritized: &mut Deprioritized,
        inbox: &Inbox<'_>,
        events: &Sender<Event>,
    ) -> Result<(), Error> {
        let stream = self.connector.vault(address, deprioritized, self.within(CONNECT))?;
        let peer = stream.peer();
        let end = self.attempt_over(stream, index, inbox, events);
        // The share of this peer was not used, so another address of the name is tried first next time.
        if let Some(peer) = peer {
            deprioritized.add(peer);
        }
        end
    }

    /// The same over an open stream.
    fn attempt_over(&self, stream: PeerStream, index: usize, inbox: &Inbox<'_>, events: &Sender<Event>) -> Result<(), Error> {
        let challenged = self.verify_node(stream)?;
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

    /// Waits for the command to ask the vault.
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

    /// Verifies the node.
    fn verify_node(&self, stream: PeerStream) -> Result<Challenged<PeerStream>, Error> {
        let mut context = [0; 32];
        linux::clock::random(&mut context).map_err(Error::Random)?;
        let expected = Expectation { anchor: &self.anchor, policy: &self.nodes, clock: self.clock, collateral: &self.collateral };
        let handshaken = Handshaken::connect_within(&self.node_ca, stream, &self.identity, self.within(CONNECT))?;
        Ok(handshaken.challenge(&context, &expected, self.within(STEP))?)
    }

    /// Presents this machine's quote and fetches the share.
    fn fetch(&self, index: usize, challenged: Challenged<PeerStream>, events: &Sender<Event>) -> Result<(Share, u64), Error> {
        let until = self.deadline.min(Instant::now() + QUOTE);
        let own = |report_data: &[u8; 64]| {
            let own = quote::own(&self.tsm, report_data, until, self.connector.stop())
                .map_err(|e| ratls::Error::OwnQuote(e.to_string()))?;
            drop(events.send(Event::Presented(index)));
            Ok(own)
        };
        let mut session = challenged.present(own, STEP)?;
        let key = vault::export_key(&mut session, &self.handle, self.within(EXPORT))?;
        let share = ShareMaterial::parse(&key.material)?;
        Ok((Share::new(ShareSetId(*share.set_id), share.x, share.data), key.expires_at))
    }

    fn within(&self, longest: Duration) -> Instant {
        self.deadline.min(Instant::now() + longest)
    }
}

/// The commands for one thread.
struct Inbox<'a> {
    messages: &'a Receiver<Message>,
    /// The number of the present connection.
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

    /// Waits for `pause` and drops commands for the connection that has ended; `false` when the sender is gone.
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

/// A random number for pauses; the largest one when the kernel has no random numbers.
pub(super) fn random() -> u32 {
    let mut bytes = [0; 4];
    linux::clock::random(&mut bytes).map_or(u32::MAX, |()| u32::from_ne_bytes(bytes))
}
