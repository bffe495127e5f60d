//! Collateral that no node stapled: a cache on the network, then what the initrd brought along.

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

use crate::phase::net::{Reach, ReachError, Wire};

/// Where the packer puts collateral, as JSON of dcap-qvl's form or as a PCS's answers by name.
const BUNDLE: &str = "/etc/cvm-init/collateral";
/// The most files that are looked at in it.
const FILES_MAX: usize = 64;
/// The largest of them, in bytes.
const FILE_MAX: u64 = 256 << 10;
/// The longest that a cache may take over all of its answers.
const CACHE: Duration = Duration::from_secs(8);

/// How long a failure of the cache stands before it is asked again: nodes without collateral are dialled again and again.
const FAILURE: Duration = Duration::from_secs(15);
/// How long an answer stands: one that does not verify must not be the last.
const SUCCESS: Duration = Duration::from_secs(60);
/// For how many types of platforms answers are kept at once: a fleet has a few.
const PLATFORMS_MAX: usize = 16;

/// When the cache was asked, and what it gave.
type Said = (Instant, Option<Arc<Collateral>>);

/// The policy's cache and the way to it.
struct Cache {
    pccs: Pccs,
    /// Its name or address alone.
    name: String,
    place: cmdline::Pccs,
    reach: Reach,
}

impl Cache {
    fn fetch(&self, claimed: ClaimedPlatform, deadline: Instant) -> Result<Collateral, PccsError> {
        // One look at the name for all parts; why it failed is said here, since the parts only know that there was no stream.
        let places = self.reach.places(&self.place.host, self.place.port, deadline);
        if let Err(error) = &places {
            log::warn!("unlock: collateral cache: {error}");
        }
        let connect = |deadline| match places.as_ref().map(|places| places.connect(deadline)) {
            Ok(Ok(wire)) if self.place.is_tls => {
                Ok(CacheStream::Tls(Box::new(UnverifiedTls::connect(wire, &self.name, deadline)?)))
            }
            Ok(Ok(wire)) => Ok(CacheStream::Plain(wire)),
            Ok(Err(ReachError::Connect(kind))) => Err(kind.into()),
            Ok(Err(ReachError::NoLink | ReachError::Name(_))) | Err(_) => Err(std::io::ErrorKind::HostUnreachable.into()),
        };
        self.pccs.fetch(&claimed, connect, deadline)
    }
}

/// A connection to a cache.
enum CacheStream {
    Plain(Wire),
    Tls(Box<UnverifiedTls<Wire>>),
}

impl CacheStream {
    fn transport(&mut self) -> &mut dyn Transport {
        match self {
            Self::Plain(wire) => wire,
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

/// Where collateral comes from besides the nodes.
pub(super) struct Sources {
    cache: Option<Cache>,
    /// What the cache said and when, for all vaults of this boot: what it gave is not asked for twice, and a dead cache costs its
    /// time once for all of them.
    fetched: Mutex<HashMap<ClaimedPlatform, Arc<Mutex<Option<Said>>>>>,
    bundle: Vec<Arc<Collateral>>,
}

impl Sources {
    /// The measured policy's cache, if it names one, and the bundle of this initrd, if it has one.
    pub(super) fn new(cache: Option<&cmdline::Pccs>, reach: &Reach) -> Self {
        let cache = cache.map(|place| {
            let (name, host) = match &place.host {
                Host::V4(ip) => (ip.to_string(), ip.to_string()),
                Host::V6(ip) => (ip.to_string(), format!("[{ip}]")),
                Host::Name(name) => (name.clone(), name.clone()),
            };
            let pccs = Pccs::at(format!("{host}:{}", place.port));
            Cache { pccs, name, place: place.clone(), reach: reach.clone() }
        });
        let files = read(Path::new(BUNDLE)).unwrap_or_else(|error| {
            log::warn!("unlock: collateral in the initrd: {error}");
            Vec::new()
        });
        let bundle = Collateral::from_files(&files).into_iter().map(Arc::new).collect();
        Self { cache, fetched: Mutex::new(HashMap::new()), bundle }
    }
}

impl CollateralSource for Sources {
    fn find(&self, quote: &[u8], deadline: Instant) -> Vec<Arc<Collateral>> {
        let claimed = ClaimedPlatform::of(quote);
        let cached = self.cache.as_ref().zip(claimed).and_then(|(cache, claimed)| {
            let entry = self.entry(claimed)?;
            // Held while it is asked: whoever comes second for the same platform finds the answer.
            let mut said = entry.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = said.as_ref().filter(|(at, said)| at.elapsed() < if said.is_some() { SUCCESS } else { FAILURE });
            if let Some((_, said)) = fresh {
                return said.clone();
            }
            let latest = Instant::now() + CACHE;
            let found = match cache.fetch(claimed, deadline.min(latest)) {
                Ok(collateral) => Some(Arc::new(collateral)),
                Err(error) => {
                    log::warn!("unlock: collateral cache: {error}");
                    // It was not given its time: that says nothing to other vaults.
                    if deadline < latest {
                        return None;
                    }
                    None
                }
            };
            *said = Some((Instant::now(), found.clone()));
            found
        });
        cached.into_iter().chain(self.bundle.iter().cloned()).collect()
    }
}

impl Sources {
    /// What is known for a platform type. Quotes that are not verified yet name these, so there is an end to how many are kept; none
    /// beyond it.
    fn entry(&self, claimed: ClaimedPlatform) -> Option<Arc<Mutex<Option<Said>>>> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.len() >= PLATFORMS_MAX && !fetched.contains_key(&claimed) {
            fetched.retain(|_, entry| Arc::strong_count(entry) > 1); // what nobody is waiting for
            if fetched.len() >= PLATFORMS_MAX {
                return None;
            }
        }
        Some(Arc::clone(fetched.entry(claimed).or_default()))
    }
}

/// The files of a folder by name, bounded; none when there is no such folder.
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
