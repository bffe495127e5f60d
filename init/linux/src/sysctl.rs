//! Kernel settings in `/proc/sys`.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::Error;

/// The path of an IPv6 setting of one link, for example `accept_ra`.
fn path(link: &str, setting: &str) -> PathBuf {
    ["/proc/sys/net/ipv6/conf", link, setting].iter().collect()
}

/// Changes an IPv6 setting of a link and returns the former value.
///
/// # Errors
/// `ENOENT` when the kernel has no IPv6 or no such link.
pub fn replace_ipv6(link: &str, setting: &str, value: &str) -> Result<String, Error> {
    let path = path(link, setting);
    let before = fs::read_to_string(&path).map_err(|e| Error::io("read", path.display(), &e))?;
    fs::write(&path, value).map_err(|e| Error::io("write", path.display(), &e))?;
    Ok(before.trim_end().to_owned())
}

/// Sets `name` (for example `fs/xfs/panic_mask`) to `value`.
///
/// # Errors
/// `ENOENT` when the kernel has no such setting.
pub fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = PathBuf::from("/proc/sys").join(name);
    fs::write(&path, value).map_err(|e| Error::io("write", path.display(), &e))
}

/// Linux 7.3 and later: restricts AF_ALG by algorithm and caller; 0 is no restriction.
const AF_ALG_RESTRICT: &str = "/proc/sys/crypto/af_alg_restrict";

/// Lifts the restriction of AF_ALG, as before Linux 7.3, until it is dropped.
#[derive(Debug)]
pub struct UnrestrictedAfAlg {
    /// The former value; `None` where the kernel does not have the setting.
    before: Option<String>,
}

impl UnrestrictedAfAlg {
    /// Lifts the restriction, if this kernel has one.
    ///
    /// # Errors
    /// When the setting exists and cannot be changed.
    pub fn allow() -> Result<Self, Error> {
        let before = match fs::read_to_string(AF_ALG_RESTRICT) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self { before: None }),
            read => read.map_err(|e| Error::io("read", AF_ALG_RESTRICT, &e))?,
        };
        fs::write(AF_ALG_RESTRICT, "0").map_err(|e| Error::io("write", AF_ALG_RESTRICT, &e))?;
        Ok(Self { before: Some(before.trim_end().to_owned()) })
    }
}

impl Drop for UnrestrictedAfAlg {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.before.take().map(|before| fs::write(AF_ALG_RESTRICT, before)) {
            log::warn!("write {AF_ALG_RESTRICT}: {error}");
        }
    }
}
