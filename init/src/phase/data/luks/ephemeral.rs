//! Opens a disk with a random key that exists only in this boot: no keyslot, and no header on the disk.

use std::path::Path;

use cmdline::DataCipher;
use libcryptsetup_rs::Either;
use libcryptsetup_rs::consts::flags::CryptActivate;
use zeroize::Zeroizing;

use super::new_header::cipher_parameters;
use super::{Error, HeaderFile, Mapped, library_error, refusal};

/// Makes the integrity area of `disk` behind its first 16 MiB and opens it under `name` with a new random key. Sectors that an
/// earlier boot wrote cannot be read before they are written again.
///
/// dm-integrity's journal is off: it protects against power cuts, and this content does not outlive one.
pub(in crate::phase) fn open(name: &str, disk: &Path) -> Result<Mapped, Error> {
    const CIPHER: DataCipher = DataCipher::XtsHmac;
    let mut key = Zeroizing::new(vec![0; cipher_parameters(CIPHER).2]);
    linux::clock::random(&mut key).map_err(Error::Random)?;
    let (_header, mut device) = HeaderFile::without_keyslot(disk, None, CIPHER, Either::Left(&key))?;
    let opened = device.activate_handle().activate_by_volume_key(Some(name), Some(&key), CryptActivate::NO_JOURNAL);
    if let Err(refused) = opened.map_err(library_error("activate")) {
        refusal::check_readable(disk)?; // libcryptsetup's error does not tell a failed read from wrong content
        return Err(refused);
    }
    Mapped::named(name)
}
