//! The few settings of a link that only /proc/sys has.

use std::fs;
use std::path::PathBuf;

use crate::Error;

/// A setting of IPv6 on one link, as `accept_ra`.
fn path(link: &str, setting: &str) -> PathBuf {
    ["/proc/sys/net/ipv6/conf", link, setting].iter().collect()
}

/// Sets it and returns what it was.
///
/// # Errors
/// `ENOENT` when the kernel has no IPv6, or no such link.
pub fn replace_ipv6(link: &str, setting: &str, value: &str) -> Result<String, Error> {
    let path = path(link, setting);
    let before = fs::read_to_string(&path).map_err(|e| Error::io("read", path.display(), &e))?;
    fs::write(&path, value).map_err(|e| Error::io("write", path.display(), &e))?;
    Ok(before.trim_end().to_owned())
}
