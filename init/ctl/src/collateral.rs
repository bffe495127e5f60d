//! Sources of collateral: directories and files of the operator, and caches (PCCS) on the network.
//!
//! Intel signs collateral, so its source need not be trusted: a cache may use plain HTTP, or HTTPS with a self-signed certificate.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use attest::{ClaimedPlatform, Collateral, CollateralError};
use pccs::{Pccs, PccsError, UnverifiedTls};
use ratls::CollateralSource;

use crate::dial;

/// Timeout of a cache, for all of its answers together.
pub const CACHE_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest file of collateral, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// The path at the end of `pccs_url` in Intel's sgx_default_qcnl.conf. It is cut off, since `fetch` adds its own paths.
const QCNL_PATH: &str = "/sgx/certification/v4";

/// All sources, in the order of the command line.
#[derive(Default)]
pub struct Sources {
    stored: Vec<Arc<Collateral>>,
    caches: Vec<Cache>,
}

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is not collateral.
    #[error("{path}")]
    Collateral {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: CollateralError,
    },
    /// The directory contains no collateral.
    #[error("{0} contains no collateral: expected answers of a PCS by their usual names, or JSON in dcap-qvl's format")]
    Nothing(PathBuf),
    /// The URL is not the address of a cache.
    #[error("{0}: expected the address of a cache, http://HOST:PORT or https://HOST:PORT")]
    Url(String),
}

/// A PCCS, with its result for each platform type that was requested.
struct Cache {
    url: String,
    is_tls: bool,
    /// Name or address, without a port.
    host: String,
    /// `host:port`.
    address: String,
    fetched: Mutex<HashMap<ClaimedPlatform, Result<Arc<Collateral>, String>>>,
}

impl Sources {
    /// Reads stored collateral and parses the addresses of caches, which are contacted only when a quote needs it.
    ///
    /// # Errors
    /// [`SourceError`] of the first unusable source.
    pub fn open(from: &[String]) -> Result<Self, SourceError> {
        let mut sources = Self::default();
        for from in from {
            if from.contains("://") {
                sources.caches.push(Cache::parse(from).ok_or_else(|| SourceError::Url(from.clone()))?);
            } else {
                sources.stored.extend(stored(Path::new(from))?.into_iter().map(Arc::new));
            }
        }
        Ok(sources)
    }

    /// A source of collateral in memory.
    #[must_use]
    pub fn of(collateral: Vec<Collateral>) -> Self {
        Self { stored: collateral.into_iter().map(Arc::new).collect(), caches: Vec::new() }
    }

    /// The time that all caches may add to a verification.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        CACHE_TIMEOUT * u32::try_from(self.caches.len()).unwrap_or(u32::MAX)
    }

    /// The errors of caches. They contain no text that a cache sent.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let of = |cache: &Cache| {
            let fetched = cache.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            let mut problems: Vec<_> = fetched.values().filter_map(|result| result.as_ref().err()).cloned().collect();
            problems.sort();
            problems.dedup();
            problems
        };
        self.caches.iter().flat_map(of).collect()
    }
}

impl CollateralSource for Sources {
    fn find(&self, quote: &[u8], deadline: Instant) -> Vec<Arc<Collateral>> {
        let claimed = ClaimedPlatform::of(quote);
        let fetched = self.caches.iter().filter_map(|cache| cache.fetch_once(claimed?, deadline));
        self.stored.iter().cloned().chain(fetched).collect()
    }
}

impl Cache {
    fn parse(url: &str) -> Option<Self> {
        let (is_tls, rest) = match url.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let authority = rest.trim_end_matches('/');
        let authority = authority.strip_suffix(QCNL_PATH).unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':')?;
        let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        let is_good = !name.is_empty() && name.bytes().all(is_host) && port.parse::<u16>().is_ok_and(|port| port != 0);
        is_good.then(|| Self {
            url: format!("{}://{authority}", if is_tls { "https" } else { "http" }),
            is_tls,
            host: name.to_owned(),
            address: authority.to_owned(),
            fetched: Mutex::default(),
        })
    }

    /// Fetches collateral once for each platform type, so that a cache that does not answer costs its timeout only once.
    fn fetch_once(&self, claimed: ClaimedPlatform, deadline: Instant) -> Option<Arc<Collateral>> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let result = fetched.entry(claimed).or_insert_with(|| {
            let until = deadline.min(Instant::now() + CACHE_TIMEOUT);
            self.fetch(claimed, until).map(Arc::new).map_err(|error| format!("{}: {}", self.url, failure::chain(&error)))
        });
        result.as_ref().ok().cloned()
    }

    fn fetch(&self, claimed: ClaimedPlatform, until: Instant) -> Result<Collateral, PccsError> {
        let pccs = Pccs::at(&self.address);
        let tcp = |deadline| dial::connect(&self.address, deadline).map_err(io::Error::from);
        if self.is_tls {
            pccs.fetch(&claimed, |deadline| UnverifiedTls::connect(tcp(deadline)?, &self.host, deadline), until)
        } else {
            pccs.fetch(&claimed, tcp, until)
        }
    }
}

/// Reads all sets of collateral in a directory, or the one in a JSON file.
fn stored(path: &Path) -> Result<Vec<Collateral>, SourceError> {
    let failed = |source| SourceError::File { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        if metadata.len() > FILE_MAX {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let json = fs::read(path).map_err(failed)?;
        let collateral = Collateral::from_json(&json);
        return Ok(vec![collateral.map_err(|source| SourceError::Collateral { path: path.to_owned(), source })?]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        if metadata.is_file() && metadata.len() <= FILE_MAX {
            files.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).map_err(failed)?));
        }
    }
    files.sort();
    let found = Collateral::from_files(&files);
    if found.is_empty() { Err(SourceError::Nothing(path.to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_caches_are_parsed_strictly() {
        let read = |url: &str| Cache::parse(url).map(|cache| (cache.is_tls, cache.host, cache.address));
        let is = |tls: bool, host: &str, address: &str| Some((tls, host.to_owned(), address.to_owned()));
        let cases = [
            ("http://127.0.0.1:8081", is(false, "127.0.0.1", "127.0.0.1:8081")),
            ("https://pccs.example:8081/", is(true, "pccs.example", "pccs.example:8081")),
            ("https://[::1]:8081", is(true, "::1", "[::1]:8081")),
            ("https://localhost:8081/sgx/certification/v4/", is(true, "localhost", "localhost:8081")),
            ("https://localhost", None),
            ("https://localhost:0", None),
            ("https://localhost:8081/other", None),
            ("ftp://localhost:1", None),
            ("http://user@host:1", None),
            ("http://a b:1", None),
            ("http://:1", None),
            ("http://h\r\nX: y:1", None),
        ];
        for (url, want) in cases {
            assert_eq!(read(url), want, "{url}");
        }
    }
}
