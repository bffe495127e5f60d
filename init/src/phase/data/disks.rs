//! The data disks of one machine: inspected before the key is recovered, then opened one after the other, each with its own key.

use std::path::Path;

use cmdline::{DataCipher, DataDisk, Format};
use quorum::Dek;

use super::content::{self, Content};
use super::driver;
use super::in_use::JournalDigest;
use super::{DiskKeys, Error, Keys, Opened};
use crate::boot_log::step;
use crate::phase::block_lookup::{self, BlockDevice, DeviceQuery};
use crate::phase::early::{self, EarlyMounts};
use crate::phase::root::Root;
use crate::watchdog;

/// A data disk as it was found.
pub(super) struct Disk {
    pub(super) which: DataDisk,
    pub(super) place: BlockDevice,
    pub(super) content: Content,
    /// The digest of dm-integrity's journal; none when the disk is not formatted yet.
    pub(super) journal: Option<JournalDigest>,
    /// The policy for this disk.
    pub(super) wanted: cmdline::Data,
}

/// The data disks as they were found, at least one. Only [`inspect`] makes them.
pub(crate) struct Disks(Vec<Disk>);

/// Finds the disks and reads the header area of each once into private memory; all later steps use that copy.
///
/// A blank disk is an error unless policy permits to format it. A disk that is neither blank nor valid is always an error.
pub(crate) fn inspect(early: EarlyMounts, wanted: &cmdline::Data) -> Result<Disks, Error> {
    let mut disks: Vec<Disk> = Vec::with_capacity(wanted.disks.len());
    for which in &wanted.disks {
        let disk = inspect_disk(which, wanted).map_err(|error| error.of(which))?;
        if disks.iter().any(|other| other.place.path == disk.place.path) {
            return Err(Error::SameDisk.of(which));
        }
        disks.push(disk);
    }
    for cipher in DataCipher::ALL.iter().filter(|cipher| disks.iter().any(|disk| disk.cipher() == **cipher)) {
        early::load(early, cipher.as_str())?;
    }
    Ok(Disks(disks))
}

fn inspect_disk(which: &DataDisk, wanted: &cmdline::Data) -> Result<Disk, Error> {
    let mut wanted = wanted.clone();
    if which.uuid.is_some() {
        // A format would give the disk another UUID than policy requires.
        wanted.format = Format::Never;
    }
    let place = block_lookup::locate(&DeviceQuery::from(&which.disk), block_lookup::deadline())?;
    let content = content::classify(&place, &wanted)?;
    let journal = matches!(content, Content::Luks(_)).then(|| JournalDigest::read(&place.path)).transpose()?;
    step("data: header read");
    if let (Some(expected), Content::Luks(validated)) = (which.uuid, &content)
        && validated.layout().uuid() != expected
    {
        return Err(Error::OtherUuid(validated.layout().uuid(), expected));
    }
    Ok(Disk { which: which.clone(), place, content, journal, wanted })
}

impl Disk {
    /// The device mapper's name of the open disk, `NAME-crypt`; `data-crypt` for the disk without a name.
    pub(super) fn mapping(&self) -> String {
        format!("{}-crypt", self.which.name.as_ref().map_or("data", |name| name.as_str()))
    }

    /// Checks, before anything is written, that the file system can be mounted: mount point and driver.
    fn prepare(&self, root: &Root) -> Result<(), Error> {
        if self.wanted.open == cmdline::MountMode::Mount {
            let folder = Path::new(self.which.mount.as_str());
            linux::mount::directory_without_symlinks(root.path(), folder).map_err(Error::NoMountpoint)?;
        }
        Ok(driver::load(root, self.wanted.fstype)?)
    }

    /// The cipher of its header, or the one that a first format will use.
    fn cipher(&self) -> DataCipher {
        match &self.content {
            Content::Luks(validated) => validated.layout().cipher(),
            Content::Blank | Content::Interrupted(_) => self.wanted.format_cipher,
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        matches!(self.content, Content::Blank)
    }

    pub(super) fn is_formatted(&self) -> bool {
        matches!(self.content, Content::Luks(_))
    }

    /// The disk's own key: the DEK for a disk without a name, else a key that is derived from it and stored in `derived`.
    fn key<'a>(&self, dek: &'a Dek, derived: &'a mut Option<Dek>) -> &'a Dek {
        match &self.which.name {
            None => dek,
            Some(name) => derived.insert(dek.of_disk(name.as_str())),
        }
    }

    /// Whether `dek`, the disk's own key, is right: verified by token or record where there is one, else by opening a keyslot of
    /// the header copy. Nothing is activated. An error says nothing about the key.
    pub(super) fn verify_own_key(&self, dek: &Dek) -> Result<bool, Error> {
        self.content.verify_key(dek, &self.place.path).map_err(|error| error.of(&self.which))
    }

    /// The same with the key that the vaults hold.
    fn verify_vault_key(&self, dek: &Dek) -> Result<bool, Error> {
        self.verify_own_key(self.key(dek, &mut None))
    }
}

impl Disks {
    /// Whether any disk has a keyslot, which a rotation can change.
    pub(crate) fn are_formatted(&self) -> bool {
        self.0.iter().any(Disk::is_formatted)
    }

    /// Whether `dek` is the key of at least one disk.
    pub(crate) fn verify_key_on_any(&self, dek: &Dek) -> Result<bool, Error> {
        for disk in &self.0 {
            watchdog::keepalive(); // a header may demand a slow key derivation
            if disk.verify_vault_key(dek)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether `dek` is the key of every formatted disk, so that none must be rotated.
    pub(crate) fn verify_key_on_all(&self, dek: &Dek) -> Result<bool, Error> {
        for disk in self.0.iter().filter(|disk| disk.is_formatted()) {
            watchdog::keepalive();
            if !disk.verify_vault_key(dek)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Opens the disks in the order of the policy, each with its own key, and mounts them inside of `root`. The keys are wiped before
/// any file system is read.
pub(crate) fn open(root: &Root, disks: Disks, keys: Keys) -> Result<Vec<Opened>, Error> {
    for disk in &disks.0 {
        disk.prepare(root).map_err(|error| error.of(&disk.which))?;
    }
    let mut open = Vec::with_capacity(disks.0.len());
    for disk in disks.0 {
        let (which, wanted) = (disk.which.clone(), disk.wanted.clone());
        let mapped = open_disk(root, disk, &keys).map_err(|error| error.of(&which))?;
        open.push((which, wanted, mapped));
    }
    drop(keys);
    step("data: open");
    let mount = |(which, wanted, mapped): (DataDisk, cmdline::Data, super::OpenDisk)| {
        super::mount(root, mapped, (&which, &wanted)).map_err(|error| error.of(&which))
    };
    open.into_iter().map(mount).collect()
}

fn open_disk(root: &Root, disk: Disk, keys: &Keys) -> Result<super::OpenDisk, Error> {
    if let Some(journal) = &disk.journal
        && *journal != JournalDigest::read(&disk.place.path)?
    {
        return Err(Error::InUse);
    }
    let (mut derived, mut before) = (None, None);
    let current = disk.key(&keys.current, &mut derived);
    let previous = keys.previous.as_ref().map(|previous| disk.key(previous, &mut before));
    // An interrupted boot may have rotated some of the disks.
    let previous = match previous {
        Some(_) if disk.is_formatted() && disk.verify_own_key(current)? => None,
        other => other,
    };
    super::open_mapped(root, disk, &DiskKeys { current, previous, time: keys.time })
}
