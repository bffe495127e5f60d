//! A running node: its socket, its threads, and the handle that tests hold.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::Value;
use sim_dcap::{Key, Pki, Platform};

use crate::store::{Store, StoredKey};
use crate::{Error, Issuer, Misbehaviour, Policy, clock, connection, tls};

/// What a node is.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The root its quotes and those of its guests are under.
    pub pki: Arc<Pki>,
    /// The machine it runs on.
    pub platform: Platform,
    /// The enclave it says it is.
    pub mrenclave: [u8; 32],
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it does wrong, to begin with.
    pub misbehaviour: Misbehaviour,
    /// Whose grants and bearers it takes.
    pub issuer: Issuer,
    /// Where it keeps its keys between runs; absent: nowhere.
    pub state: Option<PathBuf>,
    /// How far its clock is off, in seconds.
    pub clock_offset: i64,
    /// Whether it staples collateral to its evidence.
    pub staple: bool,
    /// The public key of the chip whose SEV-SNP guests it believes, if any.
    pub snp_chip: Option<Vec<u8>>,
}

impl NodeConfig {
    /// An honest node on a free port of the loopback, on the machine `name`, that forgets its keys.
    pub fn honest(pki: Arc<Pki>, name: &str, mrenclave: [u8; 32], issuer: Issuer) -> Result<Self, Error> {
        Ok(Self {
            platform: pki.platform(name)?,
            pki,
            mrenclave,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            misbehaviour: Misbehaviour::None,
            issuer,
            state: None,
            clock_offset: 0,
            staple: true,
            snp_chip: None,
        })
    }
}

/// What a node was asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections accepted.
    pub connections: u64,
    /// Evidence given.
    pub challenges: u64,
    /// Client evidence received, good or bad.
    pub presents: u64,
    /// Exports asked for.
    pub exports: u64,
    /// Shares given out.
    pub released: u64,
}

/// What the threads of one node share.
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) key: Key,
    pub(crate) tls: Arc<ServerConfig>,
    state: Mutex<State>,
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
    /// Live connections, so that stopping ends them too.
    open: BTreeMap<u64, TcpStream>,
}

/// A node's own code does not panic while it holds a lock; if it did, its last state is as good as any for a test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn misbehaviour(&self) -> Misbehaviour {
        lock(&self.state).misbehaviour
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

    /// The first report data this node ever made; `this` one, if there was none.
    pub(crate) fn first_report_data(&self, this: [u8; 64]) -> [u8; 64] {
        *lock(&self.state).first_report_data.get_or_insert(this)
    }

    /// Waits for `delay`, or until the node stops; then true.
    pub(crate) fn stopped_within(&self, delay: Duration) -> bool {
        let stopped = self.stopping.wait_timeout_while(lock(&self.stopped), delay, |stopped| !*stopped);
        *stopped.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Starts nodes.
pub struct Node;

impl Node {
    /// Binds the socket and serves from a thread until the handle is dropped.
    pub fn start(config: NodeConfig) -> Result<NodeHandle, Error> {
        let listener = TcpListener::bind(config.listen).map_err(Error::Listen)?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        let key = Key::generate()?;
        let state = State { misbehaviour: config.misbehaviour, ..State::default() };
        let shared = Arc::new(Shared {
            tls: tls::server(&key)?,
            store: Mutex::new(Store::open(config.state.as_deref())?),
            config,
            key,
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
            // The copy kept for stopping would hold the connection open.
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

/// A running node. Dropping it stops it: the port closes, connections end, threads are joined.
pub struct NodeHandle {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl NodeHandle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked so far.
    #[must_use]
    pub fn served(&self) -> Served {
        lock(&self.shared.state).served
    }

    /// Why it refused what it refused, and why connections broke, oldest first.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        lock(&self.shared.state).refusals.clone()
    }

    /// Every quote guests presented, oldest first.
    #[must_use]
    pub fn guest_quotes(&self) -> Vec<Vec<u8>> {
        self.shared.guest_quotes()
    }

    /// Gives it a guest's quote to reflect, captured elsewhere.
    pub fn give_guest_quote(&self, quote: &[u8]) {
        self.shared.keep_guest_quote(quote);
    }

    /// Makes it misbehave in another way, from the next connection on.
    pub fn set_misbehaviour(&self, misbehaviour: Misbehaviour) {
        lock(&self.shared.state).misbehaviour = misbehaviour;
    }

    /// Stores a key as if it had been created by the rules. Replaces one of the same handle.
    pub fn put_key(&self, handle: &str, material: Vec<u8>, policy: Value) -> Result<(), Error> {
        let now = clock::now(self.shared.config.clock_offset);
        let key = StoredKey::new(material, Policy::parse(policy)?, now);
        let mut store = self.shared.store();
        store.keys.insert(handle.to_owned(), key);
        store.save()
    }

    /// Forgets a key.
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
        // Wakes the accepting thread, which then sees that it shall stop.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
    }
}
