//! The values of one command line, and the constraints between them.

use super::disks::disks;
use super::parameters::Parameters;
use super::scratch;
use super::value::{in_order, list, timeout, watchdog};
use super::{
    Check, Conflict, DataCipher, DataDisk, DebugFlags, DiskSelector, Distinct, Error, FailureAction, FileSystem, Format,
    FsOption, Handle, HeaderAuth, InitPath, Key, KeyCommitment, LogLevel, Measure, MountMode, Net, NetMode, OnCorruption,
    OnError, Pccs, RootHash, RootSelector, Scratch, TcbPolicy, Threshold, VaultAddress, Wipe,
};
use crate::time;
use encoding::{hex, text};
use std::time::Duration;

/// Vaults of one key: more are of no use.
const MOST_VAULTS: usize = 16;

/// Enclave measurements of vaults: a rolling update needs two.
const MOST_MRENCLAVES: usize = 8;

/// Machines that may run a vault: twice the number of vaults, for a fleet that is moved.
const MOST_PLATFORMS: usize = 32;

/// The configuration of this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The root.
    pub root: Root,
    /// The data disk; `None`: the boot goes on without.
    pub data: Option<Data>,
    /// Disks whose content lasts for one boot: at most 4.
    pub scratch: Vec<Scratch>,
    /// Which TCB status the platform of a vault may have.
    pub tcb: TcbPolicy,
    /// A cache of collateral, not trusted.
    pub pccs: Option<Pccs>,
    /// The network.
    pub net: Net,
    /// Where events are measured.
    pub measure: Measure,
    /// Whether the boot ends unless the firmware's event log proves that this command line was measured.
    pub require_cmdline: bool,
    /// How long the watchdog waits for progress, 10 seconds to 1 hour; `None`: no watchdog.
    pub watchdog: Option<Duration>,
    /// The real init.
    pub init: InitPath,
    /// What happens after a failure; `None`: it depends on the failure.
    pub fail: Option<FailureAction>,
    /// How much is logged.
    pub log: LogLevel,
    /// Which debugging aids are on.
    pub debug: DebugFlags,
    parameters: Parameters,
}

/// The root: read-only, under dm-verity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The root hash of dm-verity.
    pub hash: RootHash,
    /// What a bad block does.
    pub on_corruption: OnCorruption,
    /// Where the root is.
    pub selector: RootSelector,
}

/// The data disks: encrypted and authenticated under a key that the vaults hold, or keys derived from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The disks: 1 to 8, with different names, selectors and mount points.
    pub disks: Vec<DataDisk>,
    /// Whether a blank disk is formatted.
    pub format: Format,
    /// The file system that the first format makes and that is mounted.
    pub fstype: FileSystem,
    /// The cipher that the first format uses.
    pub format_cipher: DataCipher,
    /// The cipher that an existing disk must have; `None`: any allowed one.
    pub cipher: Option<DataCipher>,
    /// Whether its header must be authenticated.
    pub header_auth: HeaderAuth,
    /// Whether the first format writes every sector.
    pub wipe: Wipe,
    /// Until when a blank disk is formatted, in Unix seconds, by the time that the vaults agree on; `None`: without limit.
    pub format_until: Option<u64>,
    /// Whether it is mounted.
    pub open: MountMode,
    /// Whether its file system is checked before the mount.
    pub check: Check,
    /// What a file system error does.
    pub on_error: OnError,
    /// Whether the file system grows when the disk has become larger.
    pub grow: bool,
    /// Options of the mount: sorted, without repeats.
    pub options: Vec<FsOption>,
    /// The vaults that hold the key.
    pub vaults: Vaults,
}

/// The vaults and the key at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vaults {
    /// Where to look for them: 1 to 16, no repeats. Hints, not trusted.
    pub addresses: Vec<VaultAddress>,
    /// The enclave measurements that a vault may have: 1 to 8, no repeats.
    pub mrenclaves: Vec<[u8; 32]>,
    /// The name of the key.
    pub handle: Handle,
    /// What the key must match: the measurement of a vault identifies its build, not its owner.
    pub commitment: KeyCommitment,
    /// The previous key, from which disks are rotated.
    pub previous: Option<PreviousKey>,
    /// PPIDs or platform instance ids of the machines that may run a vault, without repeats; empty: any machine.
    pub platforms: Vec<[u8; 16]>,
    /// The application identifier of this guest: a UUID in the order of its text.
    pub app: [u8; 16],
    /// How many shares are combined into the key.
    pub threshold: Threshold,
    /// Which property distinguishes two vaults.
    pub distinct: Distinct,
    /// How long network configuration and key retrieval may take together, 1 second to 24 hours.
    pub timeout: Duration,
}

/// A key that disks may still be under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousKey {
    /// Its name.
    pub handle: Handle,
    /// SHA-256 commitment to it.
    pub commitment: [u8; 32],
    /// Where to look for its vaults; those of the current key unless others are given.
    pub addresses: Vec<VaultAddress>,
    /// The enclave measurements that a vault of it may have.
    pub mrenclaves: Vec<[u8; 32]>,
    /// How many shares are combined into it.
    pub threshold: Threshold,
}

impl Policy {
    /// The keys that were given, in the order of [`Key::ALL`].
    pub fn given(&self) -> impl Iterator<Item = Key> {
        self.parameters.keys()
    }

    /// Whether the network is configured: not where all vaults are on vsock, unless a key about the network is given.
    #[must_use]
    pub fn needs_link(&self) -> bool {
        let asked_for = self.pccs.is_some() || self.net.keep || self.given().any(|key| key == Key::Net);
        let vaults = self.data.as_ref().is_some_and(|data| data.vaults.need_network());
        self.net.mode != NetMode::None && (vaults || asked_for)
    }

    /// The parameters of this init as text for a digest: sorted by bytes, separated by one space, values as they were given.
    ///
    /// The order of parameters, and those of the kernel among them, do not change the text.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.parameters.canonical()
    }
}

/// Parses every value, then checks the constraints between them.
pub(super) fn build(parameters: Parameters) -> Result<Policy, Error> {
    let net = Net { keep: parameters.value(Key::NetKeep, yes_or_no)?, ..parameters.value(Key::Net, Net::parse)? };
    let data = data(&parameters)?;
    let pccs = parameters.optional(Key::Pccs, Pccs::parse)?;
    let needs_network = pccs.is_some() || data.as_ref().is_some_and(|data| data.vaults.need_network());
    if net.mode == NetMode::None && needs_network {
        return Err(Conflict::NoNetwork.into());
    }
    let root = root(&parameters)?;
    let scratch = parameters.optional(Key::Scratch, scratch::parse)?.unwrap_or_default();
    scratch::check(&scratch, &root, data.as_ref())?;
    Ok(Policy {
        root,
        data,
        scratch,
        tcb: parameters.value(Key::Tcb, TcbPolicy::parse)?,
        pccs,
        net,
        measure: parameters.value(Key::Measure, Measure::parse)?,
        require_cmdline: parameters.value(Key::MeasureRequireCmdline, yes_or_no)?,
        watchdog: parameters.optional(Key::Watchdog, watchdog)?,
        init: parameters.value(Key::Init, InitPath::parse)?,
        fail: parameters.optional(Key::Fail, FailureAction::parse)?,
        log: parameters.value(Key::Log, LogLevel::parse)?,
        debug: parameters.optional(Key::Debug, DebugFlags::parse)?.unwrap_or_default(),
        parameters,
    })
}

fn root(parameters: &Parameters) -> Result<Root, Error> {
    let selector = parameters.optional(Key::Root, DiskSelector::parse)?;
    Ok(Root {
        hash: parameters.value(Key::RootHash, RootHash::parse)?,
        on_corruption: parameters.value(Key::VerityOnCorruption, OnCorruption::parse)?,
        selector: selector.map_or(RootSelector::Discoverable, RootSelector::Named),
    })
}

fn data(parameters: &Parameters) -> Result<Option<Data>, Error> {
    let Some(disks) = disks(parameters)? else {
        let stray = parameters.keys().find(|key| key.needs_data_disk());
        return stray.map_or(Ok(None), |key| Err(Conflict::WithoutData(key).into()));
    };
    let format = parameters.value(Key::DataFormat, Format::parse)?;
    let options = parameters.optional(Key::DataOptions, |text| list(text, FsOption::ALL.len(), FsOption::parse))?;
    // A disk that this init may have formatted has an authenticated header.
    let header_auth = match format {
        Format::Never => HeaderAuth::Auto,
        Format::IfBlank => HeaderAuth::Require,
    };
    let format_cipher = parameters.value(Key::DataCipher, DataCipher::parse)?;
    let data = Data {
        disks,
        format,
        fstype: parameters.value(Key::DataFstype, FileSystem::parse)?,
        format_cipher,
        cipher: parameters.is_given(Key::DataCipher).then_some(format_cipher),
        header_auth: parameters.optional(Key::DataHeaderAuth, HeaderAuth::parse)?.unwrap_or(header_auth),
        wipe: parameters.value(Key::DataWipe, Wipe::parse)?,
        format_until: parameters.optional(Key::DataFormatUntil, time::parse_utc)?,
        open: parameters.value(Key::DataOpen, MountMode::parse)?,
        check: parameters.value(Key::DataCheck, Check::parse)?,
        on_error: parameters.value(Key::DataOnError, OnError::parse)?,
        grow: parameters.value(Key::DataGrow, yes_or_no)?,
        options: in_order(FsOption::ALL, &options.unwrap_or_default()),
        vaults: vaults(parameters, format)?,
    };
    data.check_together(parameters)?;
    Ok(Some(data))
}

impl Data {
    fn check_together(&self, parameters: &Parameters) -> Result<(), Conflict> {
        if self.format_until.is_some() && self.format == Format::Never {
            return Err(Conflict::NeverFormats);
        }
        if self.format == Format::IfBlank && self.disks.iter().all(|disk| disk.uuid.is_some()) {
            return Err(Conflict::FormatsAnother);
        }
        if self.fstype == FileSystem::Btrfs && self.options.contains(&FsOption::ProjectQuota) {
            return Err(Conflict::NoProjectQuota);
        }
        if (self.fstype, self.on_error) == (FileSystem::Btrfs, OnError::Panic) {
            return Err(Conflict::NoPanic);
        }
        let about_the_mount = [Key::DataMount, Key::DataCheck, Key::DataOnError, Key::DataGrow, Key::DataOptions];
        match parameters.keys().find(|key| about_the_mount.contains(key)) {
            Some(key) if self.open == MountMode::NoMount => Err(Conflict::NotMounted(key)),
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

fn vaults(parameters: &Parameters, format: Format) -> Result<Vaults, Error> {
    let mut vaults = Vaults {
        addresses: parameters.value(Key::Vault, addresses)?,
        mrenclaves: parameters.value(Key::VaultMrenclave, mrenclaves)?,
        handle: parameters.value(Key::VaultHandle, Handle::parse)?,
        commitment: parameters.value(Key::VaultKeyCommitment, KeyCommitment::parse)?,
        previous: None,
        platforms: parameters.optional(Key::VaultPlatforms, |text| list(text, MOST_PLATFORMS, hex::decode))?.unwrap_or_default(),
        app: parameters.value(Key::VaultApp, |text| text::uuid(text).map(|guid| *guid.as_bytes()))?,
        threshold: parameters.value(Key::VaultThreshold, Threshold::parse)?,
        distinct: parameters.value(Key::VaultDistinct, Distinct::parse)?,
        timeout: parameters.value(Key::VaultTimeout, timeout)?,
    };
    vaults.previous = previous(parameters, &vaults)?;
    vaults.check(format)?;
    Ok(vaults)
}

/// The previous key: at the vaults of the current key, unless others are given.
fn previous(parameters: &Parameters, current: &Vaults) -> Result<Option<PreviousKey>, Error> {
    let handle = parameters.optional(Key::VaultPrevious, Handle::parse)?;
    let commitment = parameters.optional(Key::VaultPreviousKeyCommitment, hex::decode)?;
    let own_addresses = parameters.optional(Key::VaultPreviousVaults, addresses)?;
    let own_mrenclaves = parameters.optional(Key::VaultPreviousMrenclave, mrenclaves)?;
    let own_threshold = parameters.optional(Key::VaultPreviousThreshold, Threshold::parse)?;
    let Some(handle) = handle else {
        let stray = parameters.keys().find(|key| key.as_str().starts_with(Key::VaultPrevious.as_str()));
        return stray.map_or(Ok(None), |key| Err(Conflict::NoPrevious(key).into()));
    };
    Ok(Some(PreviousKey {
        handle,
        commitment: commitment.ok_or(Error::Missing(Key::VaultPreviousKeyCommitment))?,
        addresses: own_addresses.unwrap_or_else(|| current.addresses.clone()),
        mrenclaves: own_mrenclaves.unwrap_or_else(|| current.mrenclaves.clone()),
        threshold: own_threshold.unwrap_or(current.threshold),
    }))
}

impl Vaults {
    /// The vaults of the previous key, if any, with that key.
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
        // A key that no commitment proves may open a disk, and must not become the key of a disk.
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

fn yes_or_no(text: &str) -> Option<bool> {
    (text == "yes" || text == "no").then(|| text == "yes")
}

#[cfg(test)]
impl Policy {
    /// The values alone, to compare command lines that give them in other ways.
    pub(super) fn without_parameters(self) -> Self {
        Self { parameters: Parameters::default(), ..self }
    }

    pub(super) fn without_required_cipher(mut self) -> Self {
        self.data.iter_mut().for_each(|data| data.cipher = None);
        self
    }
}
