//! The runtime measurement registers (RTMR) of a trust domain in sysfs, since Linux 6.16.
//!
//! A read returns the register. A write of 48 bytes extends it: the value becomes `SHA384(value || written)`.
//!
//! Source: Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::Error;

/// Length of a register in bytes: that of SHA-384.
pub const REGISTER_BYTES: usize = 48;

const DIRECTORY: &str = "/sys/devices/virtual/misc/tdx_guest/measurements";

/// A register that software of the domain can extend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtmr(PathBuf);

impl Rtmr {
    /// Finds RTMR`number`; `None` where the kernel does not have its file.
    #[must_use]
    pub fn number(number: u8) -> Option<Self> {
        Self::at(DIRECTORY, number)
    }

    /// Finds a register in another directory; tests pass a temporary one.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>, number: u8) -> Option<Self> {
        let path = directory.into().join(format!("rtmr{number}:sha384"));
        path.exists().then_some(Self(path))
    }

    /// Reads the register.
    ///
    /// # Errors
    /// As read(2); `EIO` when it is not 48 bytes.
    pub fn value(&self) -> Result<[u8; REGISTER_BYTES], Error> {
        let bytes = fs::read(&self.0).map_err(|e| Error::io("read", self.0.display(), &e))?;
        bytes.try_into().map_err(|_| Error::new("read", self.0.display(), Errno::IO))
    }

    /// Extends the register by a digest, in one write as the kernel requires.
    ///
    /// # Errors
    /// As write(2).
    pub fn extend(&self, digest: &[u8; REGISTER_BYTES]) -> Result<(), Error> {
        let failed = |e: &std::io::Error| Error::io("write", self.0.display(), e);
        let mut file = OpenOptions::new().write(true).open(&self.0).map_err(|e| failed(&e))?;
        match file.write(digest).map_err(|e| failed(&e))? {
            REGISTER_BYTES => Ok(()),
            _ => Err(Error::new("write", self.0.display(), Errno::IO)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_is_found_where_the_kernel_offers_it_and_is_48_bytes() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Rtmr::at(directory.path(), 3), None);
        let file = directory.path().join("rtmr3:sha384");
        fs::write(&file, [7; 48]).unwrap();
        let register = Rtmr::at(directory.path(), 3).unwrap();
        assert_eq!(register.value(), Ok([7; 48]));
        fs::write(&file, [7; 47]).unwrap();
        assert_eq!(register.value().unwrap_err().errno(), Errno::IO);
    }
}
