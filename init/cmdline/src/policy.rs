//! The values of one command line, and the rules between them.

use super::disks::disks;
use super::scratch;
use super::value::{list, patience, watchdog};
use super::words::Words;
use super::{
    Check, Conflict, DataCipher, DataDisk, DebugFlags, DiskSelector, Distinct, Error, FailureAction, FileSystem, Format,
    FsOption, Handle, InitPath, Key, KeyCommitment, LogLevel, Measure, Measured, Net, NetMode, OnCorruption, OnError, OpenMode,
    Pccs, RootHash, RootSelector, Scratch, Seal, TcbPolicy, Threshold, VaultAddress, Wipe,
};
use crate::time;
use encoding::{hex, text};
use std::time::Duration;

/// Vaults on one line; a quorum of more has no use.
const MOST_VAULTS: usize = 16;

/// Builds that are vaults: a rolling update needs two.
const MOST_MRENCLAVES: usize = 8;

/// Machines that may run a vault: twice as many as there are vaults, for a fleet that is moved.
const MOST_PLATFORMS: usize = 32;

/// Default of `cvm.vault.patience`.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Everything that this boot may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The root.
    pub root: Root,
    /// The data disk; `None`: the boot goes on without.
    pub data: Option<Data>,
    /// Disks whose content lasts for one boot: at most 4.
    pub scratch: Vec<Scratch>,
    /// Which platforms are good enough to run a vault.
    pub tcb: TcbPolicy,
    /// A cache of collateral, not trusted.
    pub pccs: Option<Pccs>,
    /// The network.
    pub net: Net,
    /// Where events are measured.
    pub measure: Measure,
    /// Whether this line must be in the firmware's log.
    pub measured: Measured,
    /// How long the watchdog waits for progress, 10 seconds to 1 hour; `None`: no watchdog.
    pub watchdog: Option<Duration>,
    /// The real init.
    pub init: InitPath,
    /// What happens after a failure; `None`: it depends on the failure.
    pub fail: Option<FailureAction>,
    /// How much is logged.
    pub log: LogLevel,
    /// What helps to debug.
    pub debug: DebugFlags,
    words: Words,
}

/// The root: read-only, under dm-verity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The hash that decides everything.
    pub hash: RootHash,
    /// What a bad block does.
    pub on_corruption: OnCorruption,
    /// Where the root is.
    pub selector: RootSelector,
}

/// The data disks: encrypted and authenticated under a key that the vaults hold, or keys derived of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The disks: 1 to 8, with different names, places and mount points.
    pub disks: Vec<DataDisk>,
    /// Whether a blank one is formatted.
    pub format: Format,
    /// What first format makes.
    pub fs: FileSystem,
    /// How it is encrypted.
    pub cipher: DataCipher,
    /// Whether its header must be sealed. By default it must be where we may have formatted it ourselves.
    pub seal: Seal,
    /// What first format wipes.
    pub wipe: Wipe,
    /// Until when a blank disk is formatted, in Unix seconds, by the time that the vaults agree on; `None`: without limit.
    pub format_until: Option<u64>,
    /// Whether it is mounted.
    pub open: OpenMode,
    /// Whether its file system is checked before the mount.
    pub check: Check,
    /// What a file system error does.
    pub on_error: OnError,
    /// Whether the file system grows when the disk has become larger.
    pub grow: bool,
    /// Options of the mount: sorted, without repeats.
    pub options: Vec<FsOption>,
    /// Who holds the key.
    pub vaults: Vaults,
}

/// The vaults and the key at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vaults {
    /// Where they may be: 1 to 16, no repeats. Hints, not trusted.
    pub addresses: Vec<VaultAddress>,
    /// The enclave measurements that are vaults: 1 to 8, no repeats.
    pub mrenclaves: Vec<[u8; 32]>,
    /// The name of the key.
    pub handle: Handle,
    /// What the key must be: the measurement of a vault says which build it is, and not whose.
    pub commitment: KeyCommitment,
    /// The key that is rotated away from.
    pub previous: Option<PreviousKey>,
    /// PPIDs or platform instance ids of the machines that may run a vault, without repeats; empty: any machine.
    pub platforms: Vec<[u8; 16]>,
    /// Who we are to the vaults: a UUID in the order of its text.
    pub app: [u8; 16],
    /// How many shares it takes.
    pub threshold: Threshold,
    /// What makes two nodes two.
    pub distinct: Distinct,
    /// How long to try before the verdict, 1 second to 24 hours.
    pub patience: Duration,
}

/// A key that disks may still be under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousKey {
    /// Its name.
    pub handle: Handle,
    /// SHA-256 commitment to it.
    pub commitment: [u8; 32],
    /// Where its vaults may be; those of the current key unless it has its own.
    pub addresses: Vec<VaultAddress>,
    /// The enclave measurements that are vaults of it.
    pub mrenclaves: Vec<[u8; 32]>,
    /// How many shares it takes.
    pub threshold: Threshold,
}

impl Policy {
    /// The keys that were given, in the order of [`Key::ALL`]: whoever does not honour one of them must stop.
    pub fn given(&self) -> impl Iterator<Item = Key> {
        self.words.keys()
    }

    /// Whether a link must come up before vaults can be asked: not where all of them are behind vsock, unless the line has words
    /// that are about a link.
    #[must_use]
    pub fn needs_link(&self) -> bool {
        let asked_for = self.pccs.is_some() || self.net.keep || self.given().any(|key| key == Key::Net);
        let vaults = self.data.as_ref().is_some_and(|data| data.vaults.need_network());
        self.net.mode != NetMode::None && (vaults || asked_for)
    }

    /// The words of ours as text for a digest: sorted by bytes, one space between two, values as they were given.
    ///
    /// Two lines with the same words in another order, or among other words of the kernel's, have the same text.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.words.canonical()
    }
}

/// Reads every value, then holds them against each other.
pub(super) fn build(words: Words) -> Result<Policy, Error> {
    let net = Net {
        keep: words.optional(Key::NetKeep, |text| switch(text, "yes", "no"))?.unwrap_or(false),
        ..words.optional(Key::Net, Net::parse)?.unwrap_or_default()
    };
    let data = data(&words)?;
    let pccs = words.optional(Key::Pccs, Pccs::parse)?;
    let needs_network = pccs.is_some() || data.as_ref().is_some_and(|data| data.vaults.need_network());
    if net.mode == NetMode::None && needs_network {
        return Err(Conflict::NoNetwork.into());
    }
    let root = root(&words)?;
    let scratch = words.optional(Key::Scratch, scratch::parse)?.unwrap_or_default();
    scratch::check(&scratch, &root, data.as_ref())?;
    Ok(Policy {
        root,
        data,
        scratch,
        tcb: words.optional(Key::Tcb, TcbPolicy::parse)?.unwrap_or_default(),
        pccs,
        net,
        measure: words.optional(Key::Measure, Measure::parse)?.unwrap_or(Measure::Auto),
        measured: words.optional(Key::Measured, Measured::parse)?.unwrap_or(Measured::Auto),
        watchdog: words.optional(Key::Watchdog, watchdog)?,
        init: words.optional(Key::Init, InitPath::parse)?.unwrap_or_default(),
        fail: words.optional(Key::Fail, FailureAction::parse)?,
        log: words.optional(Key::Log, LogLevel::parse)?.unwrap_or(LogLevel::Info),
        debug: words.optional(Key::Debug, DebugFlags::parse)?.unwrap_or_default(),
        words,
    })
}

fn root(words: &Words) -> Result<Root, Error> {
    let selector = words.optional(Key::Root, DiskSelector::parse)?;
    Ok(Root {
        hash: words.required(Key::RootHash, RootHash::parse)?,
        on_corruption: words.optional(Key::VerityOnCorruption, OnCorruption::parse)?.unwrap_or(OnCorruption::Panic),
        selector: selector.map_or(RootSelector::Discoverable, RootSelector::Named),
    })
}

fn data(words: &Words) -> Result<Option<Data>, Error> {
    let Some(disks) = disks(words)? else {
        let stray = words.keys().find(|key| key.is_about_data());
        return stray.map_or(Ok(None), |key| Err(Conflict::WithoutData(key).into()));
    };
    let format = words.optional(Key::DataFormat, Format::parse)?.unwrap_or(Format::Never);
    let mut options = words.optional(Key::DataOptions, |text| list(text, FsOption::ALL.len(), FsOption::parse))?;
    if let Some(options) = &mut options {
        options.sort_unstable();
    }
    let seal = match format {
        Format::Never => Seal::Auto,
        Format::IfBlank => Seal::Require,
    };
    let data = Data {
        disks,
        format,
        fs: words.optional(Key::DataFs, FileSystem::parse)?.unwrap_or(FileSystem::Ext4),
        cipher: words.optional(Key::DataCipher, DataCipher::parse)?.unwrap_or(DataCipher::XtsHmac),
        seal: words.optional(Key::DataSeal, Seal::parse)?.unwrap_or(seal),
        wipe: words.optional(Key::DataWipe, Wipe::parse)?.unwrap_or(Wipe::Lazy),
        format_until: words.optional(Key::DataFormatUntil, time::parse_utc)?,
        open: words.optional(Key::DataOpen, OpenMode::parse)?.unwrap_or(OpenMode::Mount),
        check: words.optional(Key::DataCheck, Check::parse)?.unwrap_or(Check::Auto),
        on_error: words.optional(Key::DataOnError, OnError::parse)?.unwrap_or(OnError::RemountReadOnly),
        grow: words.optional(Key::DataGrow, |text| switch(text, "yes", "no"))?.unwrap_or(false),
        options: options.unwrap_or_default(),
        vaults: vaults(words, format)?,
    };
    data.check_together(words)?;
    Ok(Some(data))
}

impl Data {
    fn check_together(&self, words: &Words) -> Result<(), Conflict> {
        if self.format_until.is_some() && self.format == Format::Never {
            return Err(Conflict::NeverFormats);
        }
        if self.format == Format::IfBlank && self.disks.iter().all(|disk| disk.uuid.is_some()) {
            return Err(Conflict::FormatsAnother);
        }
        if self.fs == FileSystem::Btrfs && self.options.contains(&FsOption::ProjectQuota) {
            return Err(Conflict::NoProjectQuota);
        }
        if (self.fs, self.on_error) == (FileSystem::Btrfs, OnError::Panic) {
            return Err(Conflict::NoPanic);
        }
        let of_a_mount = [Key::DataMount, Key::DataCheck, Key::DataOnError, Key::DataGrow, Key::DataOptions];
        match words.keys().find(|key| of_a_mount.contains(key)) {
            Some(key) if self.open == OpenMode::NoMount => Err(Conflict::NotMounted(key)),
            _ => Ok(()),
        }
    }
}

fn addresses(text: &str) -> Option<Vec<VaultAddress>> {
    list(text, MOST_VAULTS, VaultAddress::parse)
}

fn mrenclaves(text: &str) -> Option<Vec<[u8; 32]>> {
    list(text, MOST_MRENCLAVES, hex::decode)
}

fn vaults(words: &Words, format: Format) -> Result<Vaults, Error> {
    let mut vaults = Vaults {
        addresses: words.required(Key::Vault, addresses)?,
        mrenclaves: words.required(Key::VaultMrenclave, mrenclaves)?,
        handle: words.required(Key::VaultHandle, Handle::parse)?,
        commitment: words.required(Key::VaultCommit, KeyCommitment::parse)?,
        previous: None,
        platforms: words.optional(Key::VaultPlatforms, |text| list(text, MOST_PLATFORMS, hex::decode))?.unwrap_or_default(),
        app: words.required(Key::VaultApp, |text| text::uuid(text).map(|guid| *guid.as_bytes()))?,
        threshold: words.optional(Key::VaultThreshold, Threshold::parse)?.unwrap_or_default(),
        distinct: words.optional(Key::VaultDistinct, Distinct::parse)?.unwrap_or(Distinct::Key),
        patience: words.optional(Key::VaultPatience, patience)?.unwrap_or(PATIENCE),
    };
    vaults.previous = previous(words, &vaults)?;
    vaults.check(format)?;
    Ok(vaults)
}

/// The key that is rotated away from: at the same vaults, unless it has its own.
fn previous(words: &Words, current: &Vaults) -> Result<Option<PreviousKey>, Error> {
    let handle = words.optional(Key::VaultPrevious, Handle::parse)?;
    let commitment = words.optional(Key::VaultPreviousCommit, hex::decode)?;
    let own_addresses = words.optional(Key::VaultPreviousVaults, addresses)?;
    let own_mrenclaves = words.optional(Key::VaultPreviousMrenclave, mrenclaves)?;
    let own_threshold = words.optional(Key::VaultPreviousThreshold, Threshold::parse)?;
    let Some(handle) = handle else {
        let stray = words.keys().find(|key| key.as_str().starts_with(Key::VaultPrevious.as_str()));
        return stray.map_or(Ok(None), |key| Err(Conflict::NoPrevious(key).into()));
    };
    Ok(Some(PreviousKey {
        handle,
        commitment: commitment.ok_or(Error::Missing(Key::VaultPreviousCommit))?,
        addresses: own_addresses.unwrap_or_else(|| current.addresses.clone()),
        mrenclaves: own_mrenclaves.unwrap_or_else(|| current.mrenclaves.clone()),
        threshold: own_threshold.unwrap_or(current.threshold),
    }))
}

impl Vaults {
    /// The vaults of the key that is rotated away from, if any, with that key.
    #[must_use]
    pub fn previous_vaults(&self) -> Option<Self> {
        let PreviousKey { handle, commitment, addresses, mrenclaves, threshold } = self.previous.clone()?;
        let commitment = KeyCommitment::Sha256(commitment);
        Some(Self { handle, commitment, addresses, mrenclaves, threshold, previous: None, ..self.clone() })
    }

    fn check(&self, format: Format) -> Result<(), Conflict> {
        let previous = self.previous.iter().map(|previous| (previous.threshold, &previous.addresses));
        for (threshold, addresses) in std::iter::once((self.threshold, &self.addresses)).chain(previous) {
            let (threshold, vaults) = (threshold.get(), addresses.len());
            if usize::from(threshold) > vaults {
                return Err(Conflict::TooFewVaults { threshold, vaults });
            }
        }
        if let Some(previous) = &self.previous {
            if previous.handle == self.handle && previous.addresses == self.addresses {
                return Err(Conflict::SameHandle);
            }
            if self.commitment == KeyCommitment::Sha256(previous.commitment) {
                return Err(Conflict::SameCommitment);
            }
        }
        // A key that nothing proves opens a disk that answers to it, and becomes no disk's key.
        match self.commitment {
            KeyCommitment::None if format == Format::IfBlank => Err(Conflict::Uncommitted(Key::DataFormat)),
            KeyCommitment::None if self.previous.is_some() => Err(Conflict::Uncommitted(Key::VaultPrevious)),
            _ => Ok(()),
        }
    }

    fn need_network(&self) -> bool {
        let previous = self.previous.iter().flat_map(|previous| &previous.addresses);
        self.addresses.iter().chain(previous).any(|address| !matches!(address, VaultAddress::Vsock { .. }))
    }
}

fn switch(text: &str, on: &str, off: &str) -> Option<bool> {
    (text == on || text == off).then(|| text == on)
}
