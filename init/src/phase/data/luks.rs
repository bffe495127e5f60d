//! libcryptsetup, given a header in private memory and a disk for the data only: it never reads a header from the disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use libcryptsetup_rs::consts::flags::{CryptActivate, CryptDeactivate, CryptPbkdf, CryptVolumeKey};
use libcryptsetup_rs::consts::vals::{CryptKdf, CryptRng, EncryptionFormat};
use libcryptsetup_rs::{CryptDevice, CryptInit, CryptParamsLuks2, CryptParamsLuks2Ref, CryptPbkdfType, Either, LibcryptErr};
use ondisk::luks2::{Checked, DATA_OFFSET};
use quorum::Dek;

/// Sectors of 4,096 bytes: fewer tags, less written twice.
pub(super) const SECTOR_BYTES: u32 = 4096;
/// xts with two 256-bit keys, then the 256-bit key of hmac(sha256).
const VOLUME_KEY_BYTES: usize = 64 + 32;
/// The least that LUKS2 takes: the passphrase is 256 random bits, which no number of iterations makes harder to guess.
const PBKDF2_ITERATIONS: u32 = 1000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("header copy")]
    Copy(#[source] std::io::Error),
    #[error("{0}: {1}")]
    Library(&'static str, String),
    #[error("no device node of {0}")]
    Node(String),
    #[error("key does not open the keyslot")]
    Key,
}

/// A judged header in memory that has no name in any filesystem.
pub(crate) struct HeaderCopy {
    file: HeaderFile,
    checked: Checked,
}

/// Anonymous memory with a path that only this process has.
struct HeaderFile(File);

impl HeaderFile {
    fn new(image: &[u8]) -> Result<Self, Error> {
        let mut file = Self(kernel::memory::anonymous_file("luks2-header").map_err(Error::Copy)?);
        file.0.write_all(image).map_err(Error::Copy)?;
        Ok(file)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// A context whose metadata is here and whose data is on `disk`.
    fn context(&self, disk: &Path) -> Result<CryptDevice, Error> {
        let mut device =
            CryptInit::init_with_data_device(Either::Right((self.path().as_path(), disk))).map_err(library("init"))?;
        // The memory is ours alone: there is nobody to lock out.
        device.settings_handle().metadata_locking(false).map_err(library("locking"))?;
        Ok(device)
    }
}

fn library(call: &'static str) -> impl Fn(LibcryptErr) -> Error {
    move |error| Error::Library(call, error.to_string())
}

impl HeaderCopy {
    pub(super) fn new(image: &[u8], checked: Checked) -> Result<Self, Error> {
        Ok(Self { file: HeaderFile::new(image)?, checked })
    }

    pub(super) fn checked(&self) -> &Checked {
        &self.checked
    }

    fn loaded(&self, disk: &Path) -> Result<CryptDevice, Error> {
        let mut device = self.file.context(disk)?;
        let load = device.context_handle().load::<CryptParamsLuks2Ref<'_>>(Some(EncryptionFormat::Luks2), None);
        load.map_err(library("load"))?;
        Ok(device)
    }

    /// Whether `dek` opens a keyslot.
    pub(super) fn opens(&self, dek: &Dek, disk: &Path) -> Result<bool, Error> {
        let mut device = self.loaded(disk)?;
        unlock(&mut device, None, dek)
    }

    /// Opens the disk under `name`.
    pub(super) fn activate(&self, name: &str, dek: &Dek, disk: &Path) -> Result<Mapped, Error> {
        let mut device = self.loaded(disk)?;
        if !unlock(&mut device, Some(name), dek)? {
            return Err(Error::Key);
        }
        Mapped::named(name)
    }
}

/// Tries the key: `false` when it opens no keyslot, which is not an error of the disk.
fn unlock(device: &mut CryptDevice, name: Option<&str>, dek: &Dek) -> Result<bool, Error> {
    let passphrase = dek.expose_passphrase();
    let tried = device.activate_handle().activate_by_passphrase(name, None, passphrase.as_slice(), CryptActivate::empty());
    match tried {
        Ok(_) => Ok(true),
        Err(LibcryptErr::IOError(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(library("activate")(error)),
    }
}

/// A header made for a new disk, in memory, with one keyslot for `dek`; the integrity area of the disk is made as well.
pub(super) struct NewHeader(HeaderFile);

impl NewHeader {
    /// Formats: aes-xts-plain64 with hmac-sha256, PBKDF2 at the minimum, data from 16 MiB on.
    pub(super) fn make(dek: &Dek, disk: &Path) -> Result<Self, Error> {
        let length = usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX);
        let file = HeaderFile::new(&vec![0; length])?;
        let mut device = file.context(disk)?;
        device.set_data_offset(DATA_OFFSET / 512).map_err(library("data offset"))?;
        device.settings_handle().set_rng_type(CryptRng::Urandom);
        device.settings_handle().set_pbkdf_type(&pbkdf()).map_err(library("pbkdf"))?;
        let params = CryptParamsLuks2 {
            pbkdf: Some(pbkdf()),
            integrity: Some("hmac(sha256)".to_owned()),
            integrity_params: None,
            data_alignment: 0,
            data_device: None,
            sector_size: SECTOR_BYTES,
            label: None,
            subsystem: None,
        };
        let mut params: CryptParamsLuks2Ref<'_> = (&params).try_into().map_err(library("parameters"))?;
        let cipher = ("aes", "xts-plain64");
        let key = Either::Right(VOLUME_KEY_BYTES);
        device
            .context_handle()
            .format(EncryptionFormat::Luks2, cipher, None, key, Some(&mut params))
            .map_err(library("format"))?;
        let passphrase = dek.expose_passphrase();
        device
            .keyslot_handle()
            .add_by_key(None, None, passphrase.as_slice(), CryptVolumeKey::empty())
            .map_err(library("keyslot"))?;
        Ok(Self(file))
    }

    /// The bytes that belong at the start of the disk: 16 MiB.
    pub(super) fn image(&mut self) -> Result<Vec<u8>, Error> {
        let mut image = Vec::new();
        self.0.0.seek(SeekFrom::Start(0)).map_err(Error::Copy)?;
        Read::by_ref(&mut self.0.0).take(DATA_OFFSET).read_to_end(&mut image).map_err(Error::Copy)?;
        Ok(image)
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
pub(super) struct Mapped {
    name: String,
    path: String,
    kernel_name: String,
}

impl Mapped {
    fn named(name: &str) -> Result<Self, Error> {
        let path = format!("/dev/mapper/{name}");
        let minor = kernel::block::minor(Path::new(&path)).map_err(|_| Error::Node(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), kernel_name: format!("dm-{minor}"), path })
    }

    /// Its node under `/dev/mapper`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn set_read_ahead(&self, kib: u32) -> Result<(), kernel::Error> {
        kernel::block::set_read_ahead(&self.kernel_name, kib)
    }

    /// Closes it again.
    pub(super) fn close(self) -> Result<(), Error> {
        let mut device = CryptInit::init_by_name_and_header(&self.name, None).map_err(library("init by name"))?;
        device.activate_handle().deactivate(&self.name, CryptDeactivate::empty()).map_err(library("deactivate"))
    }
}
