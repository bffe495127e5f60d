//! Collateral for nodes that send none with their quote: from a cache on the network, then from the initrd.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use attest::{ClaimedPlatform, Collateral};
use cmdline::Host;
use pccs::{Pccs, PccsError, UnverifiedTls};
use ratls::{CollateralSource, Transport};

use crate::phase::net::{ConnectError, Connector, PeerStream};

/// Collateral files of the initrd, as dcap-qvl's JSON or as the answers of a PCS by name.
const BUNDLE: &str = "/etc/cvm-init/collateral";
/// The most files that are read.
const FILES_MAX: usize = 64;
/// The size limit of one file, in bytes.
const FILE_MAX: u64 = 256 << 10;
/// How long a cache may take for all of its answers.
const CACHE: Duration = Duration::from_secs(8);

/// How long a failure of the cache is remembered, since nodes without collateral are dialled again and again.
const FAILURE: Duration = Duration::from_secs(15);
/// How long an answer is remembered: collateral that does not verify must be fetched again.
const SUCCESS: Duration = Duration::from_secs(60);
/// The most platform types whose answers are kept: a fleet has a few.
const PLATFORMS_MAX: usize = 16;

/// When the cache was asked, and its answer.
type CacheEntry = (Instant, Option<Arc<Collateral>>);

/// The cache that policy names.
struct Cache {
    pccs: Pccs,
    /// Its host name or address, without the port.
    name: String,
    place: cmdline::Pccs,
    connector: Connector,
}

impl Cache {
    fn fetch(&self, claimed: ClaimedPlatform, deadline: Instant) -> Result<Collateral, PccsError> {
        // Resolves the name once for all parts. The reason of a failure is logged here: the parts only see that there was no
        // connection.
        let resolved = self.connector.resolve(&self.place.host, self.place.port, deadline);
        if let Err(error) = &resolved {
            log::warn!("unlock: collateral cache: {error}");
        }
        let connect = |deadline| match resolved.as_ref().map(|resolved| resolved.connect(deadline)) {
            Ok(Ok(stream)) if self.place.is_tls => {
                Ok(CacheStream::Tls(Box::new(UnverifiedTls::connect(stream, &self.name, deadline)?)))
            }
            Ok(Ok(stream)) => Ok(CacheStream::Plain(stream)),
            Ok(Err(ConnectError::Connect(kind))) => Err(kind.into()),
            Ok(Err(ConnectError::NoLink | ConnectError::Name(_))) | Err(_) => Err(std::io::ErrorKind::HostUnreachable.into()),
        };
        self.pccs.fetch(&claimed, connect, deadline)
    }
}

/// A connection to a cache.
enum CacheStream {
    Plain(PeerStream),
    Tls(Box<UnverifiedTls<PeerStream>>),
}

impl CacheStream {
    fn transport(&mut self) -> &mut dyn Transport {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &mut **tls,
        }
    }
}

impl io::Read for CacheStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transport().read(buffer)
    }
}

impl io::Write for CacheStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.transport().write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.transport().flush()
    }
}

impl Transport for CacheStream {
    fn bound(&mut self, left: Duration) -> io::Result<()> {
        self.transport().bound(left)
    }
}

/// The sources of collateral besides the nodes.
pub(super) struct CollateralSources {
    cache: Option<Cache>,
    /// Answers of the cache, shared by all vaults of this boot: nothing is fetched twice, and a dead cache delays the boot once.
    fetched: Mutex<HashMap<ClaimedPlatform, Arc<Mutex<Option<CacheEntry>>>>>,
    bundle: Vec<Arc<Collateral>>,
}

impl CollateralSources {
    /// The cache of the measured policy and the files of the initrd, as far as there are any.
    pub(super) fn new(cache: Option<&cmdline::Pccs>, connector: &Connector) -> Self {
        let cache = cache.map(|place| {
            let (name, host) = match &place.host {
                Host::V4(ip) => (ip.to_string(), ip.to_string()),
                Host::V6(ip) => (ip.to_string(), format!("[{ip}]")),
                Host::Name(name) => (name.clone(), name.clone()),
            };
            let pccs = Pccs::at(format!("{host}:{}", place.port));
            Cache { pccs, name, place: place.clone(), connector: connector.clone() }
        });
        let files = read(Path::new(BUNDLE)).unwrap_or_else(|error| {
            log::warn!("unlock: collateral files of the initrd cannot be read: {error}");
            Vec::new()
        });
        let bundle = Collateral::from_files(&files).into_iter().map(Arc::new).collect();
        Self { cache, fetched: Mutex::new(HashMap::new()), bundle }
    }
}

impl CollateralSource for CollateralSources {
    fn find(&self, quote: &[u8], deadline: Instant) -> Vec<Arc<Collateral>> {
        let claimed = ClaimedPlatform::of(quote);
        let cached = self.cache.as_ref().zip(claimed).and_then(|(cache, claimed)| {
            let entry = self.entry(claimed)?;
            // Locked while the cache is asked: a second thread with the same platform type waits for the answer.
            let mut cached_answer = entry.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh =
                cached_answer.as_ref().filter(|(at, answer)| at.elapsed() < if answer.is_some() { SUCCESS } else { FAILURE });
            if let Some((_, answer)) = fresh {
                return answer.clone();
            }
            let latest = Instant::now() + CACHE;
            let found = match cache.fetch(claimed, deadline.min(latest)) {
                Ok(collateral) => Some(Arc::new(collateral)),
                Err(error) => {
                    log::warn!("unlock: collateral cache: {error}");
                    // The deadline cut the request short, so nothing is remembered for other vaults.
                    if deadline < latest {
                        return None;
                    }
                    None
                }
            };
            *cached_answer = Some((Instant::now(), found.clone()));
            found
        });
        cached.into_iter().chain(self.bundle.iter().cloned()).collect()
    }
}

impl CollateralSources {
    /// The entry of a platform type; none beyond the limit, since unverified quotes name the types.
    fn entry(&self, claimed: ClaimedPlatform) -> Option<Arc<Mutex<Option<CacheEntry>>>> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.len() >= PLATFORMS_MAX && !fetched.contains_key(&claimed) {
            fetched.retain(|_, entry| Arc::strong_count(entry) > 1); // entries that no thread uses
            if fetched.len() >= PLATFORMS_MAX {
                return None;
            }
        }
        Some(Arc::clone(fetched.entry(claimed).or_default()))
    }
}

/// The files of a folder by name, bounded; empty when there is no such folder.
fn read(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries.take(FILES_MAX) {
        let entry = entry?;
        if entry.metadata()?.len() > FILE_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let place = files.partition_point(|(before, _): &(String, _)| *before < name);
        files.insert(place, (name, fs::read(entry.path())?));
    }
    Ok(files)
}
