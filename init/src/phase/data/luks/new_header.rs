//! Makes a LUKS2 header for a new disk, with dm-integrity's superblock and journal on the disk.

use std::path::Path;

use cmdline::DataCipher;
use libcryptsetup_rs::consts::flags::{CryptPbkdf, CryptVolumeKey};
use libcryptsetup_rs::consts::vals::{CryptKdf, CryptRng, EncryptionFormat, KeyslotsSize, MetadataSize};
use libcryptsetup_rs::{CryptDevice, CryptParamsLuks2, CryptParamsLuks2Ref, CryptPbkdfType, Either};
use linux::sysctl::UnrestrictedAfAlg;
use ondisk::luks2::DATA_OFFSET;
use quorum::Dek;
use uuid::Uuid;

use super::{Error, HeaderFile, library_error};

/// 4,096 bytes: fewer tags, and less is written twice.
const SECTOR_BYTES: u32 = 4096;
/// Room for five keyslots; cryptsetup fills it with random bytes at format, which takes time.
const KEYSLOTS_BYTES: u64 = 2 << 20;
/// The minimum of LUKS2: the passphrase has 256 random bits, which iterations cannot make harder to guess.
const PBKDF2_ITERATIONS: u32 = 1000;

/// Cipher and mode, integrity, and the size of the volume key in bytes, in cryptsetup's terms.
pub(super) const fn cipher_parameters(cipher: DataCipher) -> ((&'static str, &'static str), &'static str, usize) {
    match cipher {
        // Two 256-bit keys for xts, then the 256-bit key of hmac(sha256).
        DataCipher::XtsHmac => (("aes", "xts-plain64"), "hmac(sha256)", 64 + 32),
        DataCipher::Aegis => (("aegis128", "random"), "aead", 16),
        DataCipher::Gcm => (("aes", "gcm-random"), "aead", 32),
    }
}

impl HeaderFile {
    /// Makes a header for a new disk with one keyslot for `dek`, minimal PBKDF2 and data from 16 MiB on. Also writes the
    /// integrity area of `disk`, superblock and journal, behind the header area.
    pub(in crate::phase::data) fn format(dek: &Dek, disk: &Path, uuid: Uuid, cipher: DataCipher) -> Result<Self, Error> {
        let (file, mut device) = Self::without_keyslot(disk, Some(uuid), cipher, Either::Right(cipher_parameters(cipher).2))?;
        let passphrase = dek.expose_passphrase();
        let added = device.keyslot_handle().add_by_key(None, None, passphrase.as_slice(), CryptVolumeKey::empty());
        added.map_err(library_error("keyslot"))?;
        drop(device);
        Ok(file)
    }

    /// The same without a keyslot, with this volume key or, given a size, with a random one.
    pub(super) fn without_keyslot(
        disk: &Path,
        uuid: Option<Uuid>,
        cipher: DataCipher,
        key: Either<&[u8], usize>,
    ) -> Result<(Self, CryptDevice), Error> {
        let file = Self::new(&vec![0; usize::try_from(DATA_OFFSET).unwrap_or(usize::MAX)], &[])?;
        let mut device = file.context(disk)?;
        let sizes = (MetadataSize::Kb16, KeyslotsSize::try_from(KEYSLOTS_BYTES).map_err(library_error("keyslots size"))?);
        device.settings_handle().set_metadata_size(sizes.0, sizes.1).map_err(library_error("metadata size"))?;
        device.set_data_offset(DATA_OFFSET / 512).map_err(library_error("data offset"))?;
        device.settings_handle().set_rng_type(CryptRng::Urandom);
        let (names, integrity, _) = cipher_parameters(cipher);
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
        let mut params: CryptParamsLuks2Ref<'_> = (&params).try_into().map_err(library_error("parameters"))?;
        let (kind, uuid) = (EncryptionFormat::Luks2, uuid);
        // libcryptsetup asks AF_ALG whether the kernel has an AEAD cipher; dm-crypt itself does not use AF_ALG.
        let any = UnrestrictedAfAlg::allow().map_err(Error::Algorithms)?;
        let formatted = device.context_handle().format(kind, names, uuid, key, Some(&mut params));
        drop(any);
        formatted.map_err(library_error("format"))?;
        Ok((file, device))
    }
}

/// PBKDF2 at the minimum, without a benchmark.
pub(super) fn pbkdf() -> CryptPbkdfType {
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
