//! The data disks of one machine: looked at before the key is gathered, opened one after the other with keys of their own.

use std::path::Path;

use cmdline::{DataCipher, DataDisk, Format, OpenMode};
use quorum::Dek;

use super::content::{self, Content};
use super::driver;
use super::in_use::JournalDigest;
use super::{DiskKeys, Error, Keys, Opened};
use crate::journal::step;
use crate::phase::api::{self, Api};
use crate::phase::block_lookup::{self, BlockDevice, DeviceQuery};
use crate::phase::root::Root;
use crate::watchdog;

/// The data disk as it was found.
pub(super) struct Disk {
    pub(super) which: DataDisk,
    pub(super) place: BlockDevice,
    pub(super) content: Content,
    /// What stood in dm-integrity's journal; none of a disk that has no such journal yet.
    pub(super) journal: Option<JournalDigest>,
    /// What policy says of it.
    pub(super) wanted: cmdline::Data,
}

/// The data disks as they were found: one at least. Only [`inspect`] makes them.
pub(crate) struct Disks(Vec<Disk>);

/// Finds the disks and reads the header area of each once, into private memory; everything after works on that copy.
///
/// A blank disk is an error unless policy formats blank disks; anything that is neither blank nor sound is an error always.
pub(crate) fn inspect(api: Api, wanted: &cmdline::Data) -> Result<Disks, Error> {
    let mut disks: Vec<Disk> = Vec::with_capacity(wanted.disks.len());
    for which in &wanted.disks {
        let disk = look(which, wanted).map_err(|error| error.of(which))?;
        if disks.iter().any(|other| other.place.path == disk.place.path) {
            return Err(Error::SameDisk.of(which));
        }
        disks.push(disk);
    }
    for cipher in DataCipher::ALL.iter().filter(|cipher| disks.iter().any(|disk| disk.cipher() == **cipher)) {
        api::load(api, cipher.as_str())?;
    }
    Ok(Disks(disks))
}

fn look(which: &DataDisk, wanted: &cmdline::Data) -> Result<Disk, Error> {
    let mut wanted = wanted.clone();
    if which.uuid.is_some() {
        // A disk that is formatted has another identifier than one that is known before.
        wanted.format = Format::Never;
    }
    let place = block_lookup::locate(&DeviceQuery::from(&which.disk), block_lookup::deadline())?;
    let content = content::look(&place, &wanted)?;
    let journal = matches!(content, Content::Luks(_)).then(|| JournalDigest::read(&place.path)).transpose()?;
    step("data: header read");
    if let (Some(expected), Content::Luks(judged)) = (which.uuid, &content)
        && judged.checked().uuid() != expected
    {
        return Err(Error::OtherUuid(judged.checked().uuid(), expected));
    }
    Ok(Disk { which: which.clone(), place, content, journal, wanted })
}

impl Disk {
    /// The device mapper's name of the open disk; `data-crypt` is what existing systems use.
    pub(super) fn mapping(&self) -> String {
        format!("{}-crypt", self.which.name.as_ref().map_or("data", |name| name.as_str()))
    }

    /// Whether its file system can be mounted at all: asked before anything is written.
    fn prepare(&self, root: &Root) -> Result<(), Error> {
        if self.wanted.open == OpenMode::Mount {
            let folder = Path::new(self.which.mount.as_str());
            linux::mount::folder_without_links(root.path(), folder).map_err(Error::NoMountpoint)?;
        }
        Ok(driver::load(root, self.wanted.fstype)?)
    }

    /// The cipher of its header, or the one that a first format will use.
    fn cipher(&self) -> DataCipher {
        match &self.content {
            Content::Luks(judged) => judged.checked().cipher(),
            Content::Blank | Content::Begun(_) => self.wanted.format_cipher,
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        matches!(self.content, Content::Blank)
    }

    pub(super) fn is_formatted(&self) -> bool {
        matches!(self.content, Content::Luks(_))
    }

    /// Its own key: that of the vaults for a disk without a name, else one that is derived of it and kept in `derived`.
    fn key<'a>(&self, dek: &'a Dek, derived: &'a mut Option<Dek>) -> &'a Dek {
        match &self.which.name {
            None => dek,
            Some(name) => derived.insert(dek.of_disk(name.as_str())),
        }
    }

    /// Whether `dek`, its own key, opens it: by our seal or record where there is one, else by a keyslot of the header copy.
    /// Nothing is activated. An error is the disk's or the kernel's: it says nothing about the key.
    pub(super) fn opens_with(&self, dek: &Dek) -> Result<bool, Error> {
        self.content.answers(dek, &self.place.path).map_err(|error| error.of(&self.which))
    }

    /// The same for the key that the vaults hold.
    fn answers(&self, dek: &Dek) -> Result<bool, Error> {
        self.opens_with(self.key(dek, &mut None))
    }
}

impl Disks {
    /// Whether a keyslot is on one of them, which a rotation can change.
    pub(crate) fn are_formatted(&self) -> bool {
        self.0.iter().any(Disk::is_formatted)
    }

    /// Whether one of them answers to `dek`.
    pub(crate) fn prove(&self, dek: &Dek) -> Result<bool, Error> {
        for disk in &self.0 {
            watchdog::alive(); // a header may ask for a slow key derivation
            if disk.answers(dek)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether each of them that has a keyslot answers to `dek`: none is to be rotated to it.
    pub(crate) fn all_answer(&self, dek: &Dek) -> Result<bool, Error> {
        for disk in self.0.iter().filter(|disk| disk.is_formatted()) {
            watchdog::alive();
            if !disk.answers(dek)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Opens the disks in the order of the policy, each with its own key, and mounts them inside `root`. The keys end before anything of
/// a disk's file system is read.
pub(crate) fn open(root: &Root, disks: Disks, keys: Keys) -> Result<Vec<Opened>, Error> {
    for disk in &disks.0 {
        disk.prepare(root).map_err(|error| error.of(&disk.which))?;
    }
    let mut open = Vec::with_capacity(disks.0.len());
    for disk in disks.0 {
        let (which, wanted) = (disk.which.clone(), disk.wanted.clone());
        let mapped = map(root, disk, &keys).map_err(|error| error.of(&which))?;
        open.push((which, wanted, mapped));
    }
    drop(keys);
    step("data: open");
    let mount = |(which, wanted, mapped): (DataDisk, cmdline::Data, super::Open)| {
        super::mount(root, mapped, (&which, &wanted)).map_err(|error| error.of(&which))
    };
    open.into_iter().map(mount).collect()
}

fn map(root: &Root, disk: Disk, keys: &Keys) -> Result<super::Open, Error> {
    if let Some(journal) = &disk.journal
        && *journal != JournalDigest::read(&disk.place.path)?
    {
        return Err(Error::InUse);
    }
    let (mut derived, mut before) = (None, None);
    let current = disk.key(&keys.current, &mut derived);
    let previous = keys.previous.as_ref().map(|previous| disk.key(previous, &mut before));
    // Some of them may have been rotated by a boot that was cut short.
    let previous = match previous {
        Some(_) if disk.is_formatted() && disk.opens_with(current)? => None,
        other => other,
    };
    super::open_mapped(root, disk, &DiskKeys { current, previous, time: keys.time })
}
