//! libcryptsetup, given a header in private memory and a disk for the data only: it never reads a header from the disk, and
//! never writes one there.

pub(in crate::phase) mod ephemeral;
mod refusal;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cmdline::DataCipher;
use libcryptsetup_rs::consts::flags::{CryptActivate, CryptDeactivate, CryptPbkdf, CryptVolumeKey};
use libcryptsetup_rs::consts::vals::{CryptKdf, CryptRng, EncryptionFormat, KeyslotsSize, MetadataSize};
use libcryptsetup_rs::{
    CryptDevice, CryptInit, CryptParamsLuks2, CryptParamsLuks2Ref, CryptPbkdfType, Either, LibcryptErr, TokenInput,
};
use linux::block::{Access, Device};
use linux::sysctl::AnyAlgorithm;
use ondisk::blank;
use ondisk::luks2::{DATA_OFFSET, Kdf, Slot};
use quorum::Dek;
use serde_json::Value;
use uuid::Uuid;

use super::memory;
use crate::watchdog;

/// Sectors of 4,096 bytes: fewer tags, less written twice.
const SECTOR_BYTES: u32 = 4096;
/// Room for five keyslots; cryptsetup fills it with noise at format, which takes its time.
const KEYSLOTS_BYTES: u64 = 2 << 20;
/// `EIO`, which the standard library has no kind for.
const EIO: i32 = 5;
/// A copy of a header is made in pieces of so many bytes.
const PIECE: usize = 64 << 10;
/// The least that LUKS2 takes: the passphrase is 256 random bits, which no number of iterations makes harder to guess.
const PBKDF2_ITERATIONS: u32 = 1000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("header copy")]
    Copy(#[source] std::io::Error),
    #[error("AF_ALG: {0}")]
    Algorithms(linux::Error),
    #[error("random numbers")]
    Random(#[source] linux::Error),
    #[error("{call}: {text}")]
    Library {
        /// The call of libcryptsetup.
        call: &'static str,
        /// What it says.
        text: String,
        /// Whether that is EIO: the disk did not read or write.
        io: bool,
    },
    #[error("reading dm-integrity's superblock")]
    Superblock(#[source] linux::Error),
    #[error("no device node of {0}")]
    Node(String),
    #[error("key does not open the keyslot")]
    Key,
    #[error(transparent)]
    Memory(#[from] memory::TooLittle),
}

impl Error {
    /// Whether the disk failed to read or write, and not what is on it.
    pub(in crate::phase) const fn is_io(&self) -> bool {
        matches!(self, Self::Library { io: true, .. } | Self::Superblock(_))
    }
}

/// Whether dm-integrity writes each sector to its journal first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    /// It does: a power cut leaves each sector as it was or as it became.
    On,
    /// It does not: only while a format that begins again after a cut fills the disk.
    Off,
}

/// A header in anonymous memory, with a path that only this process has.
pub(super) struct HeaderFile {
    file: File,
    /// The keyslots that a key is tried on, those with a cheap key derivation first.
    slots: Vec<Slot>,
}

fn library(call: &'static str) -> impl Fn(LibcryptErr) -> Error {
    move |error| {
        let io = matches!(&error, LibcryptErr::IOError(error) if error.raw_os_error() == Some(EIO));
        Error::Library { call, text: error.to_string(), io }
    }
}

/// Cipher and mode, integrity, and the size of the volume key in bytes, as cryptsetup names them.
const fn names(cipher: DataCipher) -> ((&'static str, &'static str), &'static str, usize) {
    match cipher {
        // Two 256-bit keys for xts, then the 256-bit key of hmac(sha256).
        DataCipher::XtsHmac => (("aes", "xts-plain64"), "hmac(sha256)", 64 + 32),
        DataCipher::Aegis => (("aegis128", "random"), "aead", 16),
        DataCipher::Gcm => (("aes", "gcm-random"), "aead", 32),
    }
}

impl HeaderFile {
    /// Takes a copy of `image`, the whole header area, which has these keyslots.
    pub(super) fn new(image: &[u8], slots: &[Slot]) -> Result<Self, Error> {
        let file = linux::memory::anonymous_file("luks2-header").map_err(Error::Copy)?;
        file.set_len(u64::try_from(image.len()).unwrap_or(u64::MAX)).map_err(Error::Copy)?;
        // Most of it is zero, and a hole costs nothing.
        for (number, piece) in image.chunks(PIECE).enumerate().filter(|(_, piece)| !blank::is_blank(piece)) {
            file.write_all_at(piece, u64::try_from(number * PIECE).unwrap_or(u64::MAX)).map_err(Error::Copy)?;
        }
        let (mut slots, slow): (Vec<_>, Vec<_>) = slots.iter().cloned().partition(|slot| slot.kdf == Kdf::Pbkdf2);
        slots.extend(slow);
        Ok(Self { file, slots })
    }

    /// A header for a new disk with one keyslot for `dek`, PBKDF2 at the minimum, data from 16 MiB on. The integrity area of
    /// `disk` is made as well: its superblock and its journal are written behind the header area.
    pub(super) fn format(dek: &Dek, disk: &Path, uuid: Uuid, cipher: DataCipher) -> Result<Self, Error> {
        let (file, mut device) = Self::without_keyslot(disk, Some(uuid), cipher, Either::Right(names(cipher).2))?;
        let passphrase = dek.expose_passphrase();
        let added = device.keyslot_handle().add_by_key(None, None, passphrase.as_slice(), CryptVolumeKey::empty());
        added.map_err(library("keyslot"))?;
        drop(device);
        Ok(file)
    }

    /// The same before it has a keyslot, for this volume key or, given a size, for one that libcryptsetup makes up.
    fn without_keyslot(
        disk: &Path,
        uuid: Option<Uuid>,
        cipher: DataCipher,
        key: Either<&[u8], usize>,
    ) -> Result<(Self, CryptDevice), Error> {
        let file = Self::new(&vec![0; usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)], &[])?;
        let mut device = file.context(disk)?;
        let sizes = (MetadataSize::Kb16, KeyslotsSize::try_from(KEYSLOTS_BYTES).map_err(library("keyslots size"))?);
        device.settings_handle().set_metadata_size(sizes.0, sizes.1).map_err(library("metadata size"))?;
        device.set_data_offset(DATA_OFFSET / 512).map_err(library("data offset"))?;
        device.settings_handle().set_rng_type(CryptRng::Urandom);
        let (names, integrity, _) = names(cipher);
        let params = CryptParamsLuks2 {
            pbkdf: Some(pbkdf()),
            integrity: Some(integrity.to_owned()),
            integrity_params: None,
            data_alignment: 0,
            data_device: None,
            sector_size: SECTOR_BYTES,
            label: None,
            subsystem: None,
        };
        let mut params: CryptParamsLuks2Ref<'_> = (&params).try_into().map_err(library("parameters"))?;
        let (kind, uuid) = (EncryptionFormat::Luks2, uuid.map(|uuid| uuid::Uuid::from_bytes(*uuid.as_bytes())));
        // libcryptsetup asks AF_ALG whether the kernel has a cipher of the AEAD kind; those of dm-crypt do not come over it.
        let any = AnyAlgorithm::allow().map_err(Error::Algorithms)?;
        let formatted = device.context_handle().format(kind, names, uuid, key, Some(&mut params));
        drop(any);
        formatted.map_err(library("format"))?;
        Ok((file, device))
    }

    /// The whole header area as it is now.
    pub(super) fn image(&self) -> Result<Vec<u8>, Error> {
        let mut image = vec![0; usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut image, 0).map_err(Error::Copy)?;
        Ok(image)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// A context whose metadata is here and whose data is on `disk`.
    fn context(&self, disk: &Path) -> Result<CryptDevice, Error> {
        let mut device =
            CryptInit::init_with_data_device(Either::Right((self.path().as_path(), disk))).map_err(library("init"))?;
        // The memory is ours alone: there is nobody to lock out.
        device.settings_handle().metadata_locking(false).map_err(library("locking"))?;
        device.settings_handle().set_pbkdf_type(&pbkdf()).map_err(library("pbkdf"))?;
        Ok(device)
    }

    fn loaded(&self, disk: &Path) -> Result<CryptDevice, Error> {
        let mut device = self.context(disk)?;
        let load = device.context_handle().load::<CryptParamsLuks2Ref<'_>>(Some(EncryptionFormat::Luks2), None);
        load.map_err(library("load"))?;
        Ok(device)
    }

    /// The keyslot that `dek` opens, if it opens one.
    pub(super) fn slot_of(&self, dek: &Dek, disk: &Path) -> Result<Option<u32>, Error> {
        self.find_slot(None, dek, disk)
    }

    /// The first keyslot that `dek` opens. With a name, and whether with dm-integrity's journal, the disk is opened as well.
    ///
    /// Each is tried by itself: libcryptsetup would go through all of them, also through those that the memory does not suffice
    /// for.
    fn find_slot(&self, mapping: Option<(&str, Journal)>, dek: &Dek, disk: &Path) -> Result<Option<u32>, Error> {
        let mut device = self.loaded(disk)?;
        for slot in &self.slots {
            memory::check(slot)?;
            watchdog::alive(); // each of them may be a slow key derivation
            if unlock(&mut device, mapping, slot.id, dek)? {
                return Ok(Some(slot.id));
            }
        }
        Ok(None)
    }

    /// Opens the disk under `name`, with dm-integrity's journal or without.
    pub(super) fn activate(&self, name: &str, dek: &Dek, disk: &Path, journal: Journal) -> Result<Mapped, Error> {
        let mut open = || self.find_slot(Some((name, journal)), dek, disk);
        refusal::again_if_refused(&mut open, &|| refusal::reads(disk))?.ok_or(Error::Key)?;
        Mapped::named(name)
    }

    /// Adds a keyslot for `new`, whose volume key is had with `old`.
    pub(super) fn add_keyslot(&self, old: &Dek, new: &Dek, disk: &Path) -> Result<(), Error> {
        // libcryptsetup tries `old` on all of them.
        self.slots.iter().try_for_each(memory::check)?;
        let mut device = self.loaded(disk)?;
        let (old, new) = (old.expose_passphrase(), new.expose_passphrase());
        let added = device.keyslot_handle().add_by_passphrase(None, old.as_slice(), new.as_slice());
        added.map(drop).map_err(library("keyslot"))
    }

    /// Takes a keyslot away, and overwrites its key material here.
    pub(super) fn remove_keyslot(&self, slot: u32, disk: &Path) -> Result<(), Error> {
        self.loaded(disk)?.keyslot_handle().destroy(slot).map_err(library("destroy keyslot"))
    }

    /// Puts `token` in the place of the one named, or in any that is free.
    pub(super) fn set_token(&self, place: Option<u32>, token: &Value, disk: &Path) -> Result<(), Error> {
        let input = place.map_or(TokenInput::AddToken(token), |place| TokenInput::ReplaceToken(place, token));
        self.loaded(disk)?.token_handle().json_set(input).map(drop).map_err(library("token"))
    }
}

/// Tries the key: `false` when it does not open the keyslot, which is not an error of the disk. Without a name nothing is
/// activated.
fn unlock(device: &mut CryptDevice, mapping: Option<(&str, Journal)>, slot: u32, dek: &Dek) -> Result<bool, Error> {
    let passphrase = dek.expose_passphrase();
    let name = mapping.map(|(name, _)| name);
    let flags = if let Some((_, Journal::Off)) = mapping { CryptActivate::NO_JOURNAL } else { CryptActivate::empty() };
    match device.activate_handle().activate_by_passphrase(name, Some(slot), passphrase.as_slice(), flags) {
        Ok(_) => Ok(true),
        Err(LibcryptErr::IOError(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(library("activate")(error)),
    }
}

fn pbkdf() -> CryptPbkdfType {
    CryptPbkdfType {
        type_: CryptKdf::Pbkdf2,
        hash: Some("sha256".to_owned()),
        time_ms: 0,
        iterations: PBKDF2_ITERATIONS,
        max_memory_kb: 0,
        parallel_threads: 0,
        flags: CryptPbkdf::NO_BENCHMARK,
    }
}

/// An open disk.
pub(in crate::phase) struct Mapped {
    name: String,
    path: String,
    kernel_name: String,
}

impl Mapped {
    fn named(name: &str) -> Result<Self, Error> {
        let path = format!("/dev/mapper/{name}");
        let minor = linux::block::minor(Path::new(&path)).map_err(|_| Error::Node(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), kernel_name: format!("dm-{minor}"), path })
    }

    /// Its node under `/dev/mapper`.
    pub(in crate::phase) fn path(&self) -> &str {
        &self.path
    }

    /// Its name in sysfs, as `dm-1`.
    pub(in crate::phase) fn kernel_name(&self) -> &str {
        &self.kernel_name
    }

    /// How many sectors it has read and written since it was opened; changes while there is progress.
    pub(super) fn transferred(&self) -> Option<(u64, u64)> {
        linux::block::sectors_transferred(&self.kernel_name)
    }

    /// Opens the device past the page cache, with its size in bytes. Read-ahead, which would go into sectors that were never written,
    /// is off until it is mounted.
    pub(in crate::phase) fn device(&self) -> Result<(Device, u64), linux::Error> {
        self.set_read_ahead(0)?;
        let device = Device::open(Path::new(&self.path), Access::ReadWrite)?;
        let bytes = device.bytes()?;
        Ok((device, bytes))
    }

    pub(in crate::phase) fn set_read_ahead(&self, kib: u32) -> Result<(), linux::Error> {
        linux::block::set_read_ahead(&self.kernel_name, kib)
    }

    /// Closes it again.
    pub(super) fn close(self) -> Result<(), Error> {
        let mut device = CryptInit::init_by_name_and_header(&self.name, None).map_err(library("init by name"))?;
        device.activate_handle().deactivate(&self.name, CryptDeactivate::empty()).map_err(library("deactivate"))
    }
}
