//! The boot report, `/run/cvm-init/boot-report.json`: what this boot did, for the running system. It contains names, hashes and
//! times, and never a value of a key or a share.

use std::fs;
use std::path::Path;

use cmdline::Key;
use encoding::hex;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::boot_log::BootLog;
use crate::phase::data::Opened;
use crate::phase::measure::{Facts, MeasureReport};
use crate::phase::policy::MeasuredConfig;
use crate::phase::root::Root;
use crate::phase::scratch::Scratch;
use crate::phase::unlock::{TimeSource, UnlockReport, Unlocked};

/// The version of the schema (`init/boot-report.schema.json`); raise it when a field changes its meaning or is removed.
const SCHEMA: u32 = 6;
const FOLDER: &str = "/run/cvm-init";

#[derive(Serialize)]
pub(crate) struct BootReport {
    schema: u32,
    /// The version of cvm-init.
    version: &'static str,
    /// SHA-256 of the policy's canonical text, hex.
    policy_sha256: String,
    /// The measured root hash, hex.
    root_hash: Option<String>,
    /// The kernel's name of the link that was in use when the key was proved; none when only vsock was used.
    link: Option<String>,
    unlock: Option<UnlockReport>,
    /// The same for the previous key, in a boot that rotated away from it.
    unlock_previous: Option<UnlockReport>,
    /// The first data disk of the policy.
    data: Option<Data>,
    /// The other data disks, in the order of the policy.
    more_data: Vec<Data>,
    /// The scratch disks, in the order of the policy.
    scratch: Vec<Scratch>,
    /// Registers, and whether firmware measured the command line.
    measurement: Option<MeasureReport>,
    /// The measured debug arguments; empty on a production machine.
    debug: Vec<String>,
    time: Time,
    /// Each phase with its milliseconds, in the order in which they ended.
    phases: Vec<Phase>,
}

#[derive(Serialize)]
struct Data {
    /// Its name in the policy; none when it has no name, so that it is opened with the DEK itself.
    name: Option<String>,
    luks_uuid: String,
    open_mode: &'static str,
    /// Whether the header has an authentication token whose MAC verified; if not, only the policy's allow-list checked the
    /// header.
    header_authenticated: bool,
    cipher: &'static str,
    file_system: &'static str,
    sector_bytes: u32,
    /// Where it is mounted; none when policy leaves the mount to the running system.
    mount: Option<String>,
    /// The result of the file system check before the mount: `not_run`, `clean` or `repaired`.
    check: &'static str,
    /// Bytes of inode tables that this boot wrote before the mount, because mkfs had left them unwritten.
    initialised_bytes: u64,
    /// The size of the open device.
    mapped_bytes: u64,
    /// The size of the file system before it grew; none when it did not grow.
    grown_from_bytes: Option<u64>,
    /// How many authentication errors the kernel has logged in this boot.
    authentication_errors: usize,
}

/// The time when the key was proved, and its source.
#[derive(Serialize)]
struct Time {
    unix_seconds: u64,
    source: TimeSource,
    /// By how many seconds the host's clock was ahead of every vault's clock; 0 when it was between two.
    host_ahead_seconds: i64,
    /// Whether PID 1 set the machine's clock.
    clock_set: bool,
    /// The kernel's clock source; in a trust domain `tsc`.
    clocksource: Option<String>,
}

#[derive(Serialize)]
struct Phase {
    name: &'static str,
    milliseconds: u64,
}

impl BootReport {
    /// Starts a report for `policy`.
    pub(crate) fn new(measured: &MeasuredConfig) -> Self {
        let policy = &measured.line;
        let log = policy.given().any(|key| key == Key::Log).then(|| format!("log:{}", policy.log.as_str()));
        let (host, built) = (linux::clock::host_unix_seconds(), measured.floors.built);
        let pauses = policy.debug.pauses.iter().map(|phase| format!("pause:{}", phase.as_str()));
        let timeline = policy.debug.timeline.then(|| "timeline".to_owned());
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            policy_sha256: hex::encode(digest(&SHA256, policy.canonical().as_bytes()).as_ref()),
            root_hash: None,
            link: None,
            unlock: None,
            unlock_previous: None,
            data: None,
            more_data: Vec::new(),
            scratch: Vec::new(),
            measurement: None,
            debug: pauses.chain(timeline).chain(log).collect(),
            time: Time {
                unix_seconds: host.max(built),
                source: if host < built { TimeSource::Build } else { TimeSource::Host },
                host_ahead_seconds: 0,
                clock_set: false,
                clocksource: linux::clock::source(),
            },
            phases: Vec::new(),
        }
    }

    /// Records the verified root.
    pub(crate) fn root(&mut self, root: &Root) {
        self.root_hash = Some(hex::encode(&root.hash().0));
    }

    /// Records what each vault did, and over which link.
    pub(crate) fn unlocked(&mut self, unlocked: &Unlocked) {
        self.link.clone_from(&unlocked.link);
        let Unlocked { report, previous, time, .. } = unlocked;
        self.unlock = Some(report.clone());
        self.unlock_previous.clone_from(previous);
        self.time.unix_seconds = time.unix_seconds;
        self.time.source = time.source;
        self.time.host_ahead_seconds = time.host_ahead;
        self.time.clock_set = time.clock_set;
    }

    /// Records the open data disks.
    pub(crate) fn data(&mut self, opened: &[Opened]) {
        let mut disks = opened.iter().map(|opened| Data {
            name: opened.name.clone(),
            luks_uuid: opened.uuid.to_string(),
            open_mode: opened.open_mode.as_str(),
            header_authenticated: opened.header_authenticated,
            cipher: opened.cipher.as_str(),
            file_system: opened.file_system.as_str(),
            sector_bytes: opened.sector_bytes,
            mount: opened.mount.clone(),
            check: opened.check_result.as_str(),
            initialised_bytes: opened.initialised,
            mapped_bytes: opened.mapped_bytes,
            grown_from_bytes: opened.grown_from,
            authentication_errors: opened.authentication_errors,
        });
        self.data = disks.next();
        self.more_data = disks.collect();
    }

    /// Records the scratch disks.
    pub(crate) fn scratch(&mut self, made: Vec<Scratch>) {
        self.scratch = made;
    }

    /// Records the measurements.
    pub(crate) fn measured(&mut self, measured: MeasureReport) {
        self.measurement = Some(measured);
    }

    /// The facts that go into the registers.
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

    /// Writes the report to `/run`, where the running system finds it.
    pub(crate) fn write(mut self, boot_log: &BootLog) -> std::io::Result<()> {
        let phases = boot_log.phases().into_iter();
        self.phases = phases.map(|(name, took)| Phase { name, milliseconds: u64::try_from(took).unwrap_or(u64::MAX) }).collect();
        let folder = Path::new(FOLDER);
        fs::create_dir_all(folder)?;
        let mut text = serde_json::to_vec_pretty(&self)?;
        text.push(b'\n');
        fs::write(folder.join("boot-report.json"), text)
    }
}
