//! The header as it was judged, whether it is sealed, and how a changed one gets to the disk.

use std::path::Path;

use cmdline::Data;
use linux::block::{Access, Device};
use ondisk::intent::{self, Intent};
use ondisk::luks2::{self, Checked, DATA_OFFSET, Expect, Header, SealState, SealToken, seal_message};
use quorum::{Dek, Purpose};

use super::Error;
use super::luks::{self, HeaderFile};

/// A header on which every rule of the policy holds, with the bytes that it was read from.
pub(super) struct Judged {
    /// The whole header area, 16 MiB; a copy that a power cut tore is mended: what libcryptsetup reads is what was judged.
    image: Vec<u8>,
    /// What the disk has, where it is not the same.
    torn: Option<Vec<u8>>,
    header: Header,
    checked: Checked,
}

impl Judged {
    /// Holds the header area of a disk against the policy.
    pub(super) fn judge(found: Vec<u8>, wanted: &Data) -> Result<Self, Error> {
        let magic = |error: &luks2::Error| matches!(error, luks2::Error::Magic(_));
        let (image, torn, header) = if let Ok(header) = Header::parse(&found) {
            (found, None, header)
        } else {
            let mut image = found.clone();
            luks2::repair(&mut image).map_err(|error| if magic(&error) { Error::Foreign } else { Error::Header(error) })?;
            let header = Header::parse(&image).map_err(Error::Header)?;
            (image, Some(found), header)
        };
        let rotation = wanted.vaults.previous.is_some();
        let expected = Expect { cipher: wanted.cipher, data_offset: DATA_OFFSET, rotation };
        let checked = luks2::check(&header, &expected).map_err(Error::Violation)?;
        Ok(Self { image, torn, header, checked })
    }

    pub(super) fn checked(&self) -> &Checked {
        &self.checked
    }

    /// What the seal says of the first format, if there is a seal; it is not verified.
    pub(super) fn state(&self) -> Option<SealState> {
        self.checked.seal().map(|seal| seal.state)
    }

    /// Whether the header has a seal and it was made with `dek`: microseconds, and no key derivation of the host's choosing.
    pub(super) fn is_sealed_by(&self, dek: &Dek) -> bool {
        self.checked.seal().is_some_and(|seal| {
            let message = seal_message(&self.header, &self.checked, &self.image, seal.state);
            let authenticator = dek.authenticator(Purpose::HeaderSeal, &self.header.uuid().to_string());
            message.is_some_and(|message| authenticator.verifies(&message, &seal.mac))
        })
    }

    /// A copy for libcryptsetup.
    pub(super) fn file(&self) -> Result<HeaderFile, luks::Error> {
        HeaderFile::new(&self.image, self.checked.slots())
    }

    /// Whether `dek` is the disk's key: by the seal where there is one, else by a keyslot. Nothing is activated.
    pub(super) fn answers(&self, dek: &Dek, disk: &Path) -> Result<bool, luks::Error> {
        if self.checked.seal().is_some() {
            return Ok(self.is_sealed_by(dek));
        }
        Ok(self.file()?.slot_of(dek, disk)?.is_some())
    }

    /// Whether the disk still has what was read from it before the unlock.
    pub(super) fn is_still_on(&self, disk: &Path) -> Result<bool, Error> {
        let now = read(&Device::open(disk, Access::Read).map_err(Error::Read)?)?;
        Ok(now == *self.torn.as_ref().unwrap_or(&self.image))
    }

    /// Whether something of it is to be written before the disk is used: see [`Judged::settle`].
    pub(super) fn is_unsettled(&self) -> bool {
        let record = usize::try_from(intent::OFFSET).ok().and_then(|at| self.image.get(at..at + intent::BLOCK));
        self.torn.is_some() || record.and_then(Intent::parse).is_some()
    }

    /// Brings what is on the disk in line with what was judged: a torn copy is mended, a record that a format was begun is
    /// erased. Only for a key that the header answered to.
    pub(super) fn settle(self, disk: &Path, wanted: &Data) -> Result<Self, Error> {
        if !self.is_unsettled() {
            return Ok(self);
        }
        let mut image = self.image.clone();
        if let Some(block) = intent_block(&mut image).filter(|block| Intent::parse(block).is_some()) {
            block.fill(0);
        }
        self.replace(image, disk, wanted)
    }

    /// Makes `image` of what is on the disk, in an order that survives a power cut, and judges what reads back.
    pub(super) fn replace(self, image: Vec<u8>, disk: &Path, wanted: &Data) -> Result<Self, Error> {
        write(self.torn.as_ref().unwrap_or(&self.image), image, disk, wanted)
    }
}

/// Makes `after` of the header area of `disk`, which holds `before`; what was written must read back.
pub(super) fn write(before: &[u8], after: Vec<u8>, disk: &Path, wanted: &Data) -> Result<Judged, Error> {
    let next = Judged::judge(after, wanted)?;
    let device = Device::open(disk, Access::ReadWrite).map_err(Error::Write)?;
    let groups = luks2::writes(before, &next.image, next.header.size(), &next.checked);
    let new = |area: &luks2::Area| next.image.get(area.clone()).unwrap_or_default();
    let offset = |area: &luks2::Area| u64::try_from(area.start).unwrap_or(u64::MAX);
    for group in groups.iter().filter(|group| !group.is_empty()) {
        group.iter().try_for_each(|area| device.write(offset(area), new(area))).map_err(Error::Write)?;
        device.flush().map_err(Error::Write)?;
    }
    for area in groups.iter().flatten() {
        if device.read(offset(area), area.len()).map_err(Error::Read)? != new(area) {
            return Err(Error::ReadBack);
        }
    }
    Ok(next)
}

/// The header area: 16 MiB, read past the cache.
pub(super) fn read(device: &Device) -> Result<Vec<u8>, Error> {
    device.read(0, usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)).map_err(Error::Read)
}

/// Where the record of a begun format is in an image of the header area.
pub(super) fn intent_block(image: &mut [u8]) -> Option<&mut [u8]> {
    let start = usize::try_from(intent::OFFSET).ok()?;
    image.get_mut(start..start + intent::BLOCK)
}

/// Seals the header in `file` with `dek`, and returns the whole area as it must be on the disk: what neither header nor
/// keyslots need is zero.
pub(super) fn seal(file: &HeaderFile, state: SealState, dek: &Dek, disk: &Path, wanted: &Data) -> Result<Vec<u8>, Error> {
    let Judged { header, checked, image, .. } = Judged::judge(file.image().map_err(Error::Open)?, wanted)?;
    let message = seal_message(&header, &checked, &image, state).ok_or(Error::ReadBack)?;
    let mac = dek.authenticator(Purpose::HeaderSeal, &header.uuid().to_string()).mac(&message);
    let place = checked.seal().map(|seal| seal.id);
    file.set_token(place, &SealToken::json(state, &mac), disk).map_err(Error::Open)?;
    let mut sealed = Judged::judge(file.image().map_err(Error::Open)?, wanted)?;
    if !sealed.is_sealed_by(dek) {
        return Err(Error::ReadBack);
    }
    luks2::clear_unused(&mut sealed.image, sealed.header.size(), &sealed.checked);
    Ok(sealed.image)
}
