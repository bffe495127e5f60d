//! The keys a node holds, in memory and, if asked, in a file that outlives it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::KeyInfo;
use crate::{Error, Policy};

/// How long a key lives when its policy does not say: 30 days.
const DEFAULT_TTL: u64 = 30 * sim_dcap::DAY;
/// How long a key lives at most: 90 days.
const MAX_TTL: u64 = 90 * sim_dcap::DAY;

pub(crate) struct StoredKey {
    pub(crate) material: Vec<u8>,
    pub(crate) policy: Policy,
    pub(crate) policy_version: u64,
    pub(crate) exportable: bool,
    pub(crate) created_at: u64,
    pub(crate) expires_at: u64,
}

/// The form of a key in the state file.
#[derive(Serialize, Deserialize)]
struct Saved {
    material: String,
    policy: Value,
    policy_version: u64,
    exportable: bool,
    created_at: u64,
    expires_at: u64,
}

impl StoredKey {
    pub(crate) fn new(material: Vec<u8>, policy: Policy, now: u64) -> Self {
        let ttl = policy.ttl_seconds().unwrap_or(DEFAULT_TTL).min(MAX_TTL);
        let expires_at = now.saturating_add(ttl);
        Self { material, policy, policy_version: 1, exportable: true, created_at: now, expires_at }
    }

    pub(crate) fn info(&self, handle: &str) -> KeyInfo {
        KeyInfo {
            handle: handle.to_owned(),
            key_type: "RawShare",
            exportable: self.exportable,
            created_at: self.created_at,
            expires_at: self.expires_at,
            policy_version: self.policy_version,
            public_key: None,
        }
    }

    fn save(&self) -> Saved {
        Saved {
            material: hex::encode(&self.material),
            policy: self.policy.json.clone(),
            policy_version: self.policy_version,
            exportable: self.exportable,
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }

    fn load(saved: Saved) -> Result<Self, Error> {
        Ok(Self {
            material: hex::decode(&saved.material).map_err(|error| Error::Policy(error.to_string()))?,
            policy: Policy::parse(saved.policy)?,
            policy_version: saved.policy_version,
            exportable: saved.exportable,
            created_at: saved.created_at,
            expires_at: saved.expires_at,
        })
    }
}

/// Keys by handle.
pub(crate) struct Store {
    pub(crate) keys: BTreeMap<String, StoredKey>,
    file: Option<PathBuf>,
}

impl Store {
    /// An empty store, or what `dir` holds from an earlier run.
    pub(crate) fn open(dir: Option<&Path>) -> Result<Self, Error> {
        let Some(dir) = dir else {
            return Ok(Self { keys: BTreeMap::new(), file: None });
        };
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let file = dir.join("keys.json");
        let mut keys = BTreeMap::new();
        if file.exists() {
            let saved: BTreeMap<String, Saved> = serde_json::from_slice(&fs::read(&file).map_err(Error::file(&file))?)?;
            for (handle, key) in saved {
                keys.insert(handle, StoredKey::load(key)?);
            }
        }
        Ok(Self { keys, file: Some(file) })
    }

    /// Writes the file anew, if there is one. Renamed into place: a killed node leaves the old one.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let all: BTreeMap<&String, Saved> = self.keys.iter().map(|(handle, key)| (handle, key.save())).collect();
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&all)?).map_err(Error::file(&new))?;
        fs::rename(&new, file).map_err(Error::file(file))
    }
}
