//! The keys of a node, in memory and, if configured, in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::audit::AuditEntry;
use crate::pending::PendingProfile;
use crate::policy::Policy;
use crate::wire::{KeyInfo, KeyListEntry, KeyType};

/// A key and its data; also its form in the state file.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredKey {
    pub(crate) key_type: KeyType,
    pub(crate) material: Vec<u8>,
    pub(crate) policy: Policy,
    pub(crate) policy_version: u32,
    pub(crate) exportable: bool,
    pub(crate) created_at: u64,
    pub(crate) expires_at: u64,
    pub(crate) pending: Vec<PendingProfile>,
    pub(crate) next_pending_id: u32,
    pub(crate) audit: Vec<AuditEntry>,
}

impl StoredKey {
    /// A share that can be exported, created at Unix time `now`.
    pub(crate) fn new(material: Vec<u8>, policy: Policy, now: u64) -> Self {
        Self {
            key_type: KeyType::RawShare,
            material,
            expires_at: now.saturating_add(policy.lifecycle.ttl_seconds),
            policy,
            policy_version: 1,
            exportable: true,
            created_at: now,
            pending: Vec::new(),
            next_pending_id: 0,
            audit: Vec::new(),
        }
    }

    pub(crate) fn is_expired(&self, now: u64) -> bool {
        now > self.expires_at
    }

    pub(crate) fn info(&self, handle: &str) -> KeyInfo {
        KeyInfo {
            handle: handle.to_owned(),
            key_type: self.key_type,
            exportable: self.exportable,
            created_at: self.created_at,
            expires_at: self.expires_at,
            policy_version: self.policy_version,
            public_key: None,
        }
    }

    pub(crate) fn list_entry(&self, handle: &str) -> KeyListEntry {
        KeyListEntry { handle: handle.to_owned(), key_type: self.key_type, expires_at: self.expires_at }
    }
}

/// Keys by handle.
pub(crate) struct Store {
    pub(crate) keys: BTreeMap<String, StoredKey>,
    file: Option<PathBuf>,
}

impl Store {
    /// An empty store, or the one saved in `dir`.
    pub(crate) fn open(dir: Option<&Path>) -> Result<Self, Error> {
        let Some(dir) = dir else {
            return Ok(Self { keys: BTreeMap::new(), file: None });
        };
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let file = dir.join("keys.json");
        let keys =
            if file.exists() { serde_json::from_slice(&fs::read(&file).map_err(Error::file(&file))?)? } else { BTreeMap::new() };
        Ok(Self { keys, file: Some(file) })
    }

    /// Saves the store, if it has a file. The new file is renamed into place, so a killed node leaves the old one.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&self.keys)?).map_err(Error::file(&new))?;
        fs::rename(&new, file).map_err(Error::file(file))
    }
}
