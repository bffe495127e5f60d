//! A LUKS2 header in memory, as libcryptsetup works on it: opens the disk, changes keyslots, stores the token.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use libcryptsetup_rs::consts::flags::CryptActivate;
use libcryptsetup_rs::consts::vals::EncryptionFormat;
use libcryptsetup_rs::{CryptDevice, CryptInit, CryptParamsLuks2Ref, Either, LibcryptErr, TokenInput};
use ondisk::blank;
use ondisk::luks2::{DATA_OFFSET, Kdf, Slot};
use quorum::Dek;
use serde_json::Value;

use super::new_header::pbkdf;
use super::{Error, Journal, Mapped, library_error, refusal};
use crate::phase::data::memory;
use crate::watchdog;

/// In bytes.
const PIECE: usize = 64 << 10;

/// A header in anonymous memory, with a path that only this process can open.
pub(in crate::phase::data) struct HeaderFile {
    file: File,
    /// The keyslots to try a key on, those with a cheap key derivation first.
    slots: Vec<Slot>,
}

impl HeaderFile {
    /// Copies `image`, the whole header area, which has these keyslots.
    pub(in crate::phase::data) fn new(image: &[u8], slots: &[Slot]) -> Result<Self, Error> {
        let file = linux::memfd::anonymous_file("luks2-header").map_err(Error::Copy)?;
        file.set_len(u64::try_from(image.len()).unwrap_or(u64::MAX)).map_err(Error::Copy)?;
        // Zeros are left as holes.
        for (number, piece) in image.chunks(PIECE).enumerate().filter(|(_, piece)| !blank::is_blank(piece)) {
            file.write_all_at(piece, u64::try_from(number * PIECE).unwrap_or(u64::MAX)).map_err(Error::Copy)?;
        }
        let (mut slots, slow): (Vec<_>, Vec<_>) = slots.iter().cloned().partition(|slot| slot.kdf == Kdf::Pbkdf2);
        slots.extend(slow);
        Ok(Self { file, slots })
    }

    /// The whole header area.
    pub(in crate::phase::data) fn image(&self) -> Result<Vec<u8>, Error> {
        let mut image = vec![0; usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut image, 0).map_err(Error::Copy)?;
        Ok(image)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// A context with the metadata in this file and the data on `disk`.
    pub(super) fn context(&self, disk: &Path) -> Result<CryptDevice, Error> {
        let mut device =
            CryptInit::init_with_data_device(Either::Right((self.path().as_path(), disk))).map_err(library_error("init"))?;
        // No other process can open the file.
        device.settings_handle().metadata_locking(false).map_err(library_error("locking"))?;
        device.settings_handle().set_pbkdf_type(&pbkdf()).map_err(library_error("pbkdf"))?;
        Ok(device)
    }

    fn load(&self, disk: &Path) -> Result<CryptDevice, Error> {
        let mut device = self.context(disk)?;
        let load = device.context_handle().load::<CryptParamsLuks2Ref<'_>>(Some(EncryptionFormat::Luks2), None);
        load.map_err(library_error("load"))?;
        Ok(device)
    }

    /// The keyslot that `dek` opens, if there is one.
    pub(in crate::phase::data) fn slot_of(&self, dek: &Dek, disk: &Path) -> Result<Option<u32>, Error> {
        self.find_slot(None, dek, disk)
    }

    /// The first keyslot that `dek` opens. Given a name and a journal mode, it also opens the disk.
    ///
    /// Each keyslot is tried on its own: libcryptsetup would try all of them, also those for which the memory does not suffice.
    fn find_slot(&self, mapping: Option<(&str, Journal)>, dek: &Dek, disk: &Path) -> Result<Option<u32>, Error> {
        let mut device = self.load(disk)?;
        for slot in &self.slots {
            memory::check(slot)?;
            watchdog::keepalive(); // each may be a slow key derivation
            if try_slot(&mut device, mapping, slot.id, dek)? {
                return Ok(Some(slot.id));
            }
        }
        Ok(None)
    }

    /// Opens the disk under `name`, with dm-integrity's journal or without.
    pub(in crate::phase::data) fn activate(&self, name: &str, dek: &Dek, disk: &Path, journal: Journal) -> Result<Mapped, Error> {
        let mut open = || self.find_slot(Some((name, journal)), dek, disk);
        refusal::retry_if_refused(&mut open, &|| refusal::check_readable(disk))?.ok_or(Error::Key)?;
        Mapped::named(name)
    }

    /// Adds a keyslot for `new`; `old` opens the volume key.
    pub(in crate::phase::data) fn add_keyslot(&self, old: &Dek, new: &Dek, disk: &Path) -> Result<(), Error> {
        // libcryptsetup tries `old` on all of them.
        self.slots.iter().try_for_each(memory::check)?;
        let mut device = self.load(disk)?;
        let (old, new) = (old.expose_passphrase(), new.expose_passphrase());
        let added = device.keyslot_handle().add_by_passphrase(None, old.as_slice(), new.as_slice());
        added.map(drop).map_err(library_error("keyslot"))
    }

    /// Removes a keyslot and overwrites its key material in this copy.
    pub(in crate::phase::data) fn remove_keyslot(&self, slot: u32, disk: &Path) -> Result<(), Error> {
        self.load(disk)?.keyslot_handle().destroy(slot).map_err(library_error("destroy keyslot"))
    }

    /// Stores `token` in the place of the one named, or in a free one.
    pub(in crate::phase::data) fn set_token(&self, place: Option<u32>, token: &Value, disk: &Path) -> Result<(), Error> {
        let input = place.map_or(TokenInput::AddToken(token), |place| TokenInput::ReplaceToken(place, token));
        self.load(disk)?.token_handle().json_set(input).map(drop).map_err(library_error("token"))
    }
}

/// Tries the key on one keyslot; `false` when it does not open it. Without a name nothing is activated.
fn try_slot(device: &mut CryptDevice, mapping: Option<(&str, Journal)>, slot: u32, dek: &Dek) -> Result<bool, Error> {
    let passphrase = dek.expose_passphrase();
    let name = mapping.map(|(name, _)| name);
    let flags = if let Some((_, Journal::Off)) = mapping { CryptActivate::NO_JOURNAL } else { CryptActivate::empty() };
    match device.activate_handle().activate_by_passphrase(name, Some(slot), passphrase.as_slice(), flags) {
        Ok(_) => Ok(true),
        Err(LibcryptErr::IOError(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(library_error("activate")(error)),
    }
}
