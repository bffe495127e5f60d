//! A disk that only this boot can read: no keyslot, no header on it, a key that nothing stores.

use std::path::Path;

use cmdline::DataCipher;
use libcryptsetup_rs::Either;
use libcryptsetup_rs::consts::flags::CryptActivate;
use zeroize::Zeroizing;

use super::{Error, HeaderFile, Mapped, library, names, refusal};

/// Makes the integrity area of `disk` behind its first 16 MiB and opens it under `name` with a new key from the kernel. The rest of
/// its sectors cannot be read before they are written, whatever an earlier boot left there.
///
/// dm-integrity's journal is off: it makes sectors whole after a power cut, and nothing here outlives one.
pub(in crate::phase) fn open(name: &str, disk: &Path) -> Result<Mapped, Error> {
    const CIPHER: DataCipher = DataCipher::XtsHmac;
    let mut key = Zeroizing::new(vec![0; names(CIPHER).2]);
    linux::clock::random(&mut key).map_err(Error::Random)?;
    let (_header, mut device) = HeaderFile::without_keyslot(disk, None, CIPHER, Either::Left(&key))?;
    let opened = device.activate_handle().activate_by_volume_key(Some(name), Some(&key), CryptActivate::NO_JOURNAL);
    if let Err(refused) = opened.map_err(library("activate")) {
        refusal::reads(disk)?; // what libcryptsetup says of a read that failed says nothing of it
        return Err(refused);
    }
    Mapped::named(name)
}
