//! A running node: its socket, its threads, and the handle for tests.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::Value;

use crate::leaf::Leaves;
use crate::policy::Policy;
use crate::store::{Store, StoredKey};
use crate::{Error, Misbehaviour, NodeConfig, clock, connection};

/// Counters of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Accepted connections.
    pub connections: u64,
    /// Evidence sent.
    pub challenges: u64,
    /// Client evidence received, valid or not.
    pub presents: u64,
    /// Requests for export.
    pub exports: u64,
    /// Exported shares.
    pub released: u64,
    /// Calls to attestation servers.
    pub attestation_calls: u64,
}

/// State that the threads of one node share.
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    leaves: Mutex<Leaves>,
    state: Mutex<State>,
    /// Held while a request is served.
    serving: Mutex<()>,
    store: Mutex<Store>,
    stopped: Mutex<bool>,
    stopping: Condvar,
}

#[derive(Default)]
struct State {
    misbehaviour: Misbehaviour,
    served: Served,
    refusals: Vec<String>,
    guest_quotes: Vec<Vec<u8>>,
    first_report_data: Option<[u8; 64]>,
    /// How far the clock was moved, in seconds.
    moved: i64,
    /// Open connections, so that stopping the node ends them.
    open: BTreeMap<u64, TcpStream>,
}

/// The node does not panic while it holds a lock; if it did, its last state would do for a test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn misbehaviour(&self) -> Misbehaviour {
        lock(&self.state).misbehaviour
    }

    /// The node's clock without misbehaviour: collateral is made and quotes are appraised by it.
    pub(crate) fn true_time(&self) -> u64 {
        clock::now(self.config.clock_offset.saturating_add(lock(&self.state).moved))
    }

    /// The clock of a node with this misbehaviour.
    pub(crate) fn time(&self, misbehaviour: Misbehaviour) -> u64 {
        let off = if let Misbehaviour::WrongClock(seconds) = misbehaviour { seconds } else { 0 };
        self.true_time().saturating_add_signed(off)
    }

    /// The TLS configuration of the next connection.
    pub(crate) fn serving_config(&self) -> Result<Arc<ServerConfig>, Error> {
        lock(&self.leaves).serving(self.true_time())
    }

    /// The SubjectPublicKeyInfo with this hash, if a challenge may name it now.
    pub(crate) fn leaf(&self, hash: &[u8]) -> Option<Vec<u8>> {
        lock(&self.leaves).find(hash, self.true_time())
    }

    /// The lock for serving a request, which one connection holds at a time.
    pub(crate) fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        lock(&self.serving)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Served)) {
        change(&mut lock(&self.state).served);
    }

    pub(crate) fn refused(&self, why: &str) {
        lock(&self.state).refusals.push(why.to_owned());
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(crate) fn guest_quotes(&self) -> Vec<Vec<u8>> {
        lock(&self.state).guest_quotes.clone()
    }

    pub(crate) fn keep_guest_quote(&self, quote: &[u8]) {
        lock(&self.state).guest_quotes.push(quote.to_vec());
    }

    /// The first report data of this node; `this`, if there was none.
    pub(crate) fn first_report_data(&self, this: [u8; 64]) -> [u8; 64] {
        *lock(&self.state).first_report_data.get_or_insert(this)
    }

    /// Waits for `delay` or until the node stops; returns whether it stops.
    pub(crate) fn stopped_within(&self, delay: Duration) -> bool {
        let stopped = self.stopping.wait_timeout_while(lock(&self.stopped), delay, |stopped| !*stopped);
        *stopped.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Starts nodes.
pub struct Node;

impl Node {
    /// Listens, and serves from a thread until the handle is dropped.
    pub fn start(config: NodeConfig) -> Result<NodeHandle, Error> {
        let listener = TcpListener::bind(config.listen).map_err(Error::Listen)?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        let leaves = Leaves::make(clock::now(config.clock_offset), config.workload_oid)?;
        let state = State { misbehaviour: config.misbehaviour, ..State::default() };
        let shared = Arc::new(Shared {
            leaves: Mutex::new(leaves),
            serving: Mutex::new(()),
            store: Mutex::new(Store::open(config.state.as_deref())?),
            config,
            state: Mutex::new(state),
            stopped: Mutex::new(false),
            stopping: Condvar::new(),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || accept(&shared, &listener)
        });
        Ok(NodeHandle { shared, address, accepting: Some(accepting) })
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut serving: Vec<JoinHandle<()>> = Vec::new();
    for (id, stream) in (0..).zip(listener.incoming()) {
        if *lock(&shared.stopped) {
            break;
        }
        let Ok(stream) = stream else { continue };
        shared.count(|served| served.connections += 1);
        if let Ok(copy) = stream.try_clone() {
            lock(&shared.state).open.insert(id, copy);
        }
        serving.retain(|thread| !thread.is_finished());
        let node = shared.clone();
        serving.push(thread::spawn(move || {
            if let Err(error) = connection::serve(&node, stream) {
                node.refused(&format!("connection: {error}"));
            }
            // The copy for stopping would keep the connection open.
            if let Some(copy) = lock(&node.state).open.remove(&id) {
                copy.shutdown(Shutdown::Both).ok();
            }
        }));
    }
    for stream in lock(&shared.state).open.values() {
        stream.shutdown(Shutdown::Both).ok();
    }
    for thread in serving {
        thread.join().ok();
    }
}

/// A running node. Dropping it stops it: it closes the port and the connections, and joins its threads.
pub struct NodeHandle {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl NodeHandle {
    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Its counters.
    #[must_use]
    pub fn served(&self) -> Served {
        lock(&self.shared.state).served
    }

    /// The reasons of its refusals and of broken connections, oldest first.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        lock(&self.shared.state).refusals.clone()
    }

    /// Every quote that guests presented, oldest first.
    #[must_use]
    pub fn guest_quotes(&self) -> Vec<Vec<u8>> {
        self.shared.guest_quotes()
    }

    /// Adds a guest's quote for [`Misbehaviour::Reflection`].
    pub fn give_guest_quote(&self, quote: &[u8]) {
        self.shared.keep_guest_quote(quote);
    }

    /// Changes its misbehaviour, from the next connection on.
    pub fn set_misbehaviour(&self, misbehaviour: Misbehaviour) {
        lock(&self.shared.state).misbehaviour = misbehaviour;
    }

    /// Moves its clock ahead, and with it everything that depends on the time.
    pub fn advance_clock(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let mut state = lock(&self.shared.state);
        state.moved = state.moved.saturating_add(seconds);
    }

    /// Replaces its leaf now, as it does every 24 hours. Challenges may name the previous leaf for 15 minutes more.
    pub fn rotate_leaf(&self) -> Result<(), Error> {
        let now = self.shared.true_time();
        lock(&self.shared.leaves).rotate(now)
    }

    /// DER of its CA certificate.
    #[must_use]
    pub fn ca_der(&self) -> Vec<u8> {
        lock(&self.shared.leaves).ca_der().to_vec()
    }

    /// Stores a key without the checks of CreateKey. Replaces one of the same handle.
    pub fn put_key(&self, handle: &str, material: Vec<u8>, policy: Value) -> Result<(), Error> {
        let now = self.shared.time(self.shared.misbehaviour());
        let key = StoredKey::new(material, Policy::read(policy, &self.shared.config.extensions)?, now);
        let mut store = self.shared.store();
        store.keys.insert(handle.to_owned(), key);
        store.save()
    }

    /// Deletes a key.
    pub fn drop_key(&self, handle: &str) -> Result<(), Error> {
        let mut store = self.shared.store();
        store.keys.remove(handle);
        store.save()
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        *lock(&self.shared.stopped) = true;
        self.shared.stopping.notify_all();
        // Wakes the accepting thread, which then stops.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
    }
}
