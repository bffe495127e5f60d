//! The validated header of a disk: verifies its authentication, and writes a changed header.

use std::path::Path;

use cmdline::Data;
use linux::block::{Access, Device};
use ondisk::intent::{self, Intent};
use ondisk::luks2::{self, AcceptedLayout, AuthToken, DATA_OFFSET, Expect, FormatState, Header, auth_message};
use quorum::{Dek, Purpose};

use super::Error;
use super::luks::{self, HeaderFile};

/// A header that satisfies every rule of the policy, with the bytes that it was parsed from.
pub(super) struct ValidatedHeader {
    /// The whole header area, 16 MiB. A copy that a power cut damaged is repaired here, so libcryptsetup reads exactly the bytes
    /// that were validated.
    image: Vec<u8>,
    /// The bytes on the disk, where they differ.
    torn: Option<Vec<u8>>,
    header: Header,
    layout: AcceptedLayout,
}

impl ValidatedHeader {
    /// Validates the header area of a disk against the policy.
    pub(super) fn validate(found: Vec<u8>, wanted: &Data) -> Result<Self, Error> {
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
        let layout = luks2::check(&header, &expected).map_err(Error::Violation)?;
        Ok(Self { image, torn, header, layout })
    }

    pub(super) fn layout(&self) -> &AcceptedLayout {
        &self.layout
    }

    /// The state of the first format, from the token if there is one; its MAC is not verified.
    pub(super) fn state(&self) -> Option<FormatState> {
        self.layout.auth_token().map(|token| token.state)
    }

    /// Whether the header has a token whose MAC verifies under `dek`. This takes microseconds and no key derivation that the host
    /// chose.
    pub(super) fn is_authenticated_by(&self, dek: &Dek) -> bool {
        self.layout.auth_token().is_some_and(|token| {
            let message = auth_message(&self.header, &self.layout, &self.image, token.state);
            let authenticator = dek.authenticator(Purpose::HeaderAuthentication, &self.header.uuid().to_string());
            message.is_some_and(|message| authenticator.verifies(&message, &token.mac))
        })
    }

    /// A copy in memory for libcryptsetup.
    pub(super) fn file(&self) -> Result<HeaderFile, luks::Error> {
        HeaderFile::new(&self.image, self.layout.slots())
    }

    /// Whether `dek` is the disk's key: verified by the token where there is one, else by opening a keyslot. Nothing is
    /// activated.
    pub(super) fn verify_key(&self, dek: &Dek, disk: &Path) -> Result<bool, luks::Error> {
        if self.layout.auth_token().is_some() {
            return Ok(self.is_authenticated_by(dek));
        }
        Ok(self.file()?.slot_of(dek, disk)?.is_some())
    }

    /// Whether the disk still contains the bytes that were read before the unlock.
    pub(super) fn is_still_on(&self, disk: &Path) -> Result<bool, Error> {
        let now = read(&Device::open(disk, Access::Read).map_err(Error::Read)?)?;
        Ok(now == *self.torn.as_ref().unwrap_or(&self.image))
    }

    /// Whether the disk must be changed before it is used: see [`ValidatedHeader::recover`].
    pub(super) fn needs_recovery(&self) -> bool {
        let record = usize::try_from(intent::OFFSET).ok().and_then(|at| self.image.get(at..at + intent::BLOCK));
        self.torn.is_some() || record.and_then(Intent::parse).is_some()
    }

    /// Writes the validated state to the disk: repairs a damaged copy and erases a left-over intent record. Call this only after
    /// the key was verified.
    pub(super) fn recover(self, disk: &Path, wanted: &Data) -> Result<Self, Error> {
        if !self.needs_recovery() {
            return Ok(self);
        }
        let mut image = self.image.clone();
        if let Some(block) = intent_block(&mut image).filter(|block| Intent::parse(block).is_some()) {
            block.fill(0);
        }
        self.replace(image, disk, wanted)
    }

    /// Replaces the header area on the disk by `image`, in an order that survives a power cut, and validates it.
    pub(super) fn replace(self, image: Vec<u8>, disk: &Path, wanted: &Data) -> Result<Self, Error> {
        write(self.torn.as_ref().unwrap_or(&self.image), image, disk, wanted)
    }
}

/// Changes the header area of `disk` from `before` to `after` and reads back what was written.
pub(super) fn write(before: &[u8], after: Vec<u8>, disk: &Path, wanted: &Data) -> Result<ValidatedHeader, Error> {
    let next = ValidatedHeader::validate(after, wanted)?;
    let device = Device::open(disk, Access::ReadWrite).map_err(Error::Write)?;
    let groups = luks2::writes(before, &next.image, next.header.size(), &next.layout);
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

/// Reads the header area, 16 MiB, past the cache.
pub(super) fn read(device: &Device) -> Result<Vec<u8>, Error> {
    device.read(0, usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)).map_err(Error::Read)
}

/// The block of the intent record in an image of the header area.
pub(super) fn intent_block(image: &mut [u8]) -> Option<&mut [u8]> {
    let start = usize::try_from(intent::OFFSET).ok()?;
    image.get_mut(start..start + intent::BLOCK)
}

/// Puts a token with the MAC under `dek` into the header in `file`, and returns the whole area as it must be on the disk: bytes
/// that belong neither to header nor to keyslots are zero.
pub(super) fn authenticate(
    file: &HeaderFile,
    state: FormatState,
    dek: &Dek,
    disk: &Path,
    wanted: &Data,
) -> Result<Vec<u8>, Error> {
    let ValidatedHeader { header, layout, image, .. } = ValidatedHeader::validate(file.image().map_err(Error::Open)?, wanted)?;
    let message = auth_message(&header, &layout, &image, state).ok_or(Error::ReadBack)?;
    let mac = dek.authenticator(Purpose::HeaderAuthentication, &header.uuid().to_string()).mac(&message);
    let place = layout.auth_token().map(|token| token.id);
    file.set_token(place, &AuthToken::json(state, &mac), disk).map_err(Error::Open)?;
    let mut authenticated = ValidatedHeader::validate(file.image().map_err(Error::Open)?, wanted)?;
    if !authenticated.is_authenticated_by(dek) {
        return Err(Error::ReadBack);
    }
    luks2::clear_unused(&mut authenticated.image, authenticated.header.size(), &authenticated.layout);
    Ok(authenticated.image)
}
