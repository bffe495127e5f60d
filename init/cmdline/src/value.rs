//! Values that are not keywords.

use super::{Phase, TcbStatus};
use encoding::{hex, text};
use std::time::Duration;
use uuid::Uuid;

/// The longest path, in bytes; the command line is shorter than `PATH_MAX`.
const MOST_PATH: usize = 255;

/// The root hash of dm-verity: SHA-256 over the salted top block of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootHash(pub [u8; 32]);

impl RootHash {
    pub(super) fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// The partition UUIDs of the root and of its hash tree: the first and the last 128 bits of the hash.
    ///
    /// Source: UAPI.2 Discoverable Partitions Specification, "Partition UUIDs of verity partitions".
    #[must_use]
    pub fn partitions(&self) -> [Uuid; 2] {
        let (mut first, mut last) = ([0; 16], [0; 16]);
        first.iter_mut().zip(&self.0).for_each(|(to, from)| *to = *from);
        last.iter_mut().zip(self.0.iter().skip(16)).for_each(|(to, from)| *to = *from);
        [Uuid::from_bytes(first), Uuid::from_bytes(last)]
    }
}

/// The serial number of a disk: 1 to 64 of `A-Z a-z 0-9 . _ : -`. virtio-blk carries 20 bytes: there the first 20 of a longer
/// one are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(String);

/// The label of a partition: 1 to 36 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartLabel(String);

/// The name of a key at the vaults: 1 to 256 of `A-Z a-z 0-9 . _ / -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle(String);

/// Where the data disk is mounted: absolute, without `.`, `..`, empty parts or a last `/`; never the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mountpoint(String);

/// The real init: absolute, without `.`, `..`, empty parts or a last `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitPath(String);

macro_rules! texts {
    ($($name:ident: $text:ident => $holds:expr;)*) => { $(
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub(super) fn parse($text: &str) -> Option<Self> {
                $holds.then(|| Self($text.to_owned()))
            }
        }
    )* };
}

texts! {
    Serial: text => text::is_name(text, 64, "._:-");
    PartLabel: text => (1..=36).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    Handle: text => text::is_name(text, 256, "._/-");
    Mountpoint: text => is_path(text);
    InitPath: text => is_path(text);
}

/// Folders over which the running system mounts file systems of its own, so that data would be written to memory, or whose
/// content it needs to start.
const OF_THE_SYSTEM: [&str; 13] =
    ["var", "tmp", "run", "dev", "proc", "sys", "usr", "etc", "bin", "sbin", "lib", "lib32", "lib64"];

impl Mountpoint {
    /// `/NAME`, of a name that is part of a path.
    pub(super) fn below_root(name: &str) -> Self {
        Self(format!("/{name}"))
    }

    /// Whether two are equal, or one is inside of the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (short, long) = if self.0.len() <= other.0.len() { (&self.0, &other.0) } else { (&other.0, &self.0) };
        long.strip_prefix(short.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The folder of the system that this is or is in; `None`: a mount here stays visible and hides nothing.
    pub(super) fn system_folder(&self) -> Option<&'static str> {
        let first = self.0.split('/').nth(1)?;
        OF_THE_SYSTEM.into_iter().find(|folder| *folder == first)
    }
}

/// How a disk or a partition is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSelector {
    /// `serial=`: the whole disk with this serial number.
    Serial(Serial),
    /// `PARTUUID=`: the partition with this identifier.
    PartUuid(Uuid),
    /// `PARTLABEL=`: the partition with this label.
    PartLabel(PartLabel),
}

impl DiskSelector {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.split_once('=')? {
            ("serial", value) => Serial::parse(value).map(Self::Serial),
            ("PARTUUID", value) => text::uuid(value).map(Self::PartUuid),
            ("PARTLABEL", value) => PartLabel::parse(value).map(Self::PartLabel),
            _ => None,
        }
    }
}

/// As the command line writes it.
impl std::fmt::Display for DiskSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial(serial) => write!(f, "serial={}", serial.as_str()),
            Self::PartUuid(uuid) => write!(f, "PARTUUID={uuid}"),
            Self::PartLabel(label) => write!(f, "PARTLABEL={}", label.as_str()),
        }
    }
}

/// How the root is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSelector {
    /// By the partition UUIDs that [`RootHash::partitions`] gives.
    Discoverable,
    /// As the command line says.
    Named(DiskSelector),
}

/// What the key must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCommitment {
    /// 64 hexadecimal digits: SHA-256 over a label and the key.
    Sha256([u8; 32]),
    /// `none`: any key that opens the disk. No disk is formatted or rotated.
    None,
}

impl KeyCommitment {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "none" { Some(Self::None) } else { hex::decode(text).map(Self::Sha256) }
    }
}

/// How many shares are combined into a key: 2 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold(u8);

impl Threshold {
    /// A threshold of at least 2.
    #[must_use]
    pub const fn new(shares: u8) -> Option<Self> {
        if shares >= 2 { Some(Self(shares)) } else { None }
    }

    /// The number of shares.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::new(text::decimal(text)?)
    }
}

/// Which TCB status the platform of a vault may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcbPolicy {
    /// The collateral must give one of these: sorted, without repeats, `UpToDate` always among them.
    Collateral(Vec<TcbStatus>),
    /// Signatures only: without collateral, neither TCB status nor revocation is checked.
    Signature,
}

impl TcbPolicy {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "signature" {
            return Some(Self::Signature);
        }
        let mut accepted = list(text, TcbStatus::ALL.len(), |item| match item {
            "uptodate" => Some(TcbStatus::UpToDate),
            other => TcbStatus::parse(other),
        })?;
        if !accepted.contains(&TcbStatus::UpToDate) {
            accepted.push(TcbStatus::UpToDate);
        }
        Some(Self::Collateral(in_order(TcbStatus::ALL, &accepted)))
    }
}

/// Debugging aids. The boot report names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugFlags {
    /// Phases at which the boot pauses, in the order of the boot.
    pub pauses: Vec<Phase>,
    /// Whether a timeline is printed.
    pub timeline: bool,
}

impl DebugFlags {
    pub(super) fn parse(text: &str) -> Option<Self> {
        // `None` is the timeline, so that one list refuses repeats of both.
        let items = list(text, 1 + Phase::ALL.len(), |item| match item.split_once(':') {
            Some(("pause", phase)) => Phase::parse(phase).map(Some),
            None if item == "timeline" => Some(None),
            _ => None,
        })?;
        let pauses: Vec<_> = items.iter().copied().flatten().collect();
        Some(Self { pauses: in_order(Phase::ALL, &pauses), timeline: items.contains(&None) })
    }
}

/// Reads a comma list of 1 to `most` items, each once.
pub(super) fn list<T: PartialEq>(text: &str, most: usize, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let mut items = Vec::new();
    for item in text.split(',') {
        let item = read(item)?;
        if items.len() == most || items.contains(&item) {
            return None;
        }
        items.push(item);
    }
    Some(items)
}

/// Those of `all` that are in `given`, in the order of `all`. A sort would add 3 KB to PID 1.
pub(super) fn in_order<T: Copy + PartialEq>(all: &[T], given: &[T]) -> Vec<T> {
    all.iter().copied().filter(|item| given.contains(item)).collect()
}

/// Reads `30s`, `5m` or `1h`: 1 second to 24 hours.
pub(super) fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return None,
    };
    seconds_within(text::decimal::<u32>(number)?.checked_mul(seconds)?, 1, 24 * 60 * 60)
}

/// Reads the watchdog's timeout: 10 to 3,600 seconds, since some steps report progress every five seconds only.
pub(super) fn watchdog(text: &str) -> Option<Duration> {
    seconds_within(text::decimal(text)?, 10, 60 * 60)
}

fn seconds_within(seconds: u32, least: u32, most: u32) -> Option<Duration> {
    (least..=most).contains(&seconds).then(|| Duration::from_secs(seconds.into()))
}

fn is_path(text: &str) -> bool {
    text.len() <= MOST_PATH
        && text.strip_prefix('/').is_some_and(|parts| {
            parts.split('/').all(|part| text::is_name(part, MOST_PATH, "._@+-") && part != "." && part != "..")
        })
}
