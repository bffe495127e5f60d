//! Kernel modules, loaded one file at a time: no modprobe, no aliases, no dependency search.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use crate::Error;

/// What became of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the kernel now, or was already.
    Loaded,
    /// The hardware it drives is not there (`ENODEV`).
    NoDevice,
}

/// Loads the decompressed module at `path` with its `parameters` (`name=value` separated by spaces).
///
/// # Errors
/// `ENOENT` for the file, `EKEYREJECTED` for a bad signature, `ENOEXEC` for another kernel's module.
pub fn load(path: &Path, parameters: &str) -> Result<Outcome, Error> {
    let file = File::open(path).map_err(|e| Error::io("open", path.display(), &e))?;
    let parameters = std::ffi::CString::new(parameters).map_err(|_| Error::new("finit_module", path.display(), Errno::INVAL))?;
    match finit_module(&file, &parameters, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(Outcome::Loaded),
        Err(Errno::NODEV) => Ok(Outcome::NoDevice),
        Err(errno) => Err(Error::new("finit_module", path.display(), errno)),
    }
}
