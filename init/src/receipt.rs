//! What this boot did, for whoever comes after: `/run/cvm-init/receipt.json`. Names, hashes and times; never a value.

use std::fs;
use std::path::Path;

use cmdline::Key;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::journal::Journal;
use crate::phase::data::Opened;
use crate::phase::measure::{self, Facts};
use crate::phase::policy::Measured;
use crate::phase::root::Root;
use crate::phase::scratch::Scratch;
use crate::phase::unlock::{Outcome, TimeSource, Unlocked};

/// The version of the form; it grows when a field changes its meaning or goes.
const SCHEMA: u32 = 5;
const FOLDER: &str = "/run/cvm-init";

/// The receipt of one boot.
#[derive(Serialize)]
pub(crate) struct Receipt {
    schema: u32,
    /// cvm-init's own version.
    version: &'static str,
    /// SHA-256 of the policy's canonical text, hex.
    policy_sha256: String,
    /// The measured root hash, hex.
    root_hash: Option<String>,
    /// The link that was in use when the key was proved, as the kernel named it then; none over vsock alone.
    link: Option<String>,
    unlock: Option<Outcome>,
    /// The same for the key that was rotated away from, in a boot that did so.
    unlock_previous: Option<Outcome>,
    /// The first data disk of the policy.
    data: Option<Data>,
    /// The others, in the order of the policy.
    more_data: Vec<Data>,
    /// In the order of the policy; empty without scratch disks.
    scratch: Vec<Scratch>,
    /// Registers, and whether the command line was measured.
    measured: Option<measure::Outcome>,
    /// The measured debug words that were given; empty on a production machine.
    debug: Vec<String>,
    time: Time,
    /// Each phase with its milliseconds, in the order in which they ended.
    phases: Vec<Phase>,
}

#[derive(Serialize)]
struct Data {
    /// Its name in the policy; none: it has none, and the vaults' key is its own.
    name: Option<String>,
    luks_uuid: String,
    /// `opened`, `rotated` or `formatted`.
    what: &'static str,
    /// `sealed`, or `unsealed`: no seal of our own vouches for the header; the policy's allow-list does.
    header: &'static str,
    cipher: &'static str,
    file_system: &'static str,
    sector_bytes: u32,
    /// Where it is mounted; none: the running system does that.
    mount: Option<String>,
    /// `not_run`, `clean` or `repaired`: what the check before the mount came to.
    check: &'static str,
    /// Bytes of inode tables that were written before the mount, since an earlier version had not.
    initialised_bytes: u64,
    /// What the open disk has room for.
    mapped_bytes: u64,
    /// The size that the file system had before it grew; none: it did not grow.
    grown_from_bytes: Option<u64>,
    /// How often the kernel logged, up to here, that a sector is not what was written.
    authentication_errors: usize,
}

/// What time it was when the key was proved, and where that came from.
#[derive(Serialize)]
struct Time {
    unix_seconds: u64,
    source: TimeSource,
    /// By how many seconds the host's clock was ahead of every vault's; 0 between two.
    host_ahead_seconds: i64,
    /// Whether the machine's clock was set.
    stepped: bool,
    /// What intervals are counted by; in a trust domain `tsc`.
    clocksource: Option<String>,
}

#[derive(Serialize)]
struct Phase {
    name: &'static str,
    milliseconds: u64,
}

impl Receipt {
    /// Starts a receipt for `policy`.
    pub(crate) fn new(measured: &Measured) -> Self {
        let policy = &measured.line;
        let log = policy.given().any(|key| key == Key::Log).then(|| format!("log:{}", policy.log.as_str()));
        let (host, built) = (linux::clock::host_unix_seconds(), measured.floors.built);
        let pauses = policy.debug.pauses.iter().map(|phase| format!("pause:{}", phase.as_str()));
        let timeline = policy.debug.timeline.then(|| "timeline".to_owned());
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            policy_sha256: hex(digest(&SHA256, policy.canonical().as_bytes()).as_ref()),
            root_hash: None,
            link: None,
            unlock: None,
            unlock_previous: None,
            data: None,
            more_data: Vec::new(),
            scratch: Vec::new(),
            measured: None,
            debug: pauses.chain(timeline).chain(log).collect(),
            time: Time {
                unix_seconds: host.max(built),
                source: if host < built { TimeSource::Build } else { TimeSource::Host },
                host_ahead_seconds: 0,
                stepped: false,
                clocksource: linux::clock::source(),
            },
            phases: Vec::new(),
        }
    }

    /// Notes the verified root.
    pub(crate) fn root(&mut self, root: &Root) {
        self.root_hash = Some(hex(&root.hash().0));
    }

    /// Notes what each vault did, and over which link.
    pub(crate) fn unlocked(&mut self, unlocked: &Unlocked) {
        self.link.clone_from(&unlocked.link);
        let Unlocked { outcome, previous, time, .. } = unlocked;
        self.unlock = Some(outcome.clone());
        self.unlock_previous.clone_from(previous);
        self.time.unix_seconds = time.unix_seconds;
        self.time.source = time.source;
        self.time.host_ahead_seconds = time.host_ahead;
        self.time.stepped = time.stepped;
    }

    /// Notes the open disks.
    pub(crate) fn data(&mut self, opened: &[Opened]) {
        let mut disks = opened.iter().map(|opened| Data {
            name: opened.name.clone(),
            luks_uuid: opened.uuid.to_string(),
            what: opened.how.as_str(),
            header: opened.header(),
            cipher: opened.cipher.as_str(),
            file_system: opened.file_system.as_str(),
            sector_bytes: opened.sector_bytes,
            mount: opened.mount.clone(),
            check: opened.checked.as_str(),
            initialised_bytes: opened.initialised,
            mapped_bytes: opened.mapped_bytes,
            grown_from_bytes: opened.grown_from,
            authentication_errors: opened.authentication_errors,
        });
        self.data = disks.next();
        self.more_data = disks.collect();
    }

    /// Notes the scratch disks.
    pub(crate) fn scratch(&mut self, made: Vec<Scratch>) {
        self.scratch = made;
    }

    /// Notes what was measured.
    pub(crate) fn measured(&mut self, measured: measure::Outcome) {
        self.measured = Some(measured);
    }

    /// What of this boot is measured.
    pub(crate) fn facts<'a>(&'a self, opened: &'a [Opened]) -> Facts<'a> {
        Facts {
            policy_sha256: &self.policy_sha256,
            root_hash: self.root_hash.as_deref().unwrap_or_default(),
            unlock: self.unlock.as_ref(),
            previous: self.unlock_previous.as_ref(),
            data: opened,
            scratch: &self.scratch,
            debug: &self.debug,
        }
    }

    /// Writes it where the real system finds it.
    pub(crate) fn leave(mut self, journal: &Journal) -> std::io::Result<()> {
        let phases = journal.phases().into_iter();
        self.phases = phases.map(|(name, took)| Phase { name, milliseconds: u64::try_from(took).unwrap_or(u64::MAX) }).collect();
        let folder = Path::new(FOLDER);
        fs::create_dir_all(folder)?;
        let mut text = serde_json::to_vec_pretty(&self)?;
        text.push(b'\n');
        fs::write(folder.join("receipt.json"), text)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
