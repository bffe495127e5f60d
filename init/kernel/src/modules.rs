//! Kernel modules, loaded one file at a time: no modprobe, no aliases, no dependency search.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use crate::Error;

/// The kernel's release, which names its folder of modules.
#[must_use]
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// What became of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the kernel now, or was already.
    Loaded,
    /// The hardware it drives is not there (`ENODEV`).
    NoDevice,
}

/// The kernel is to decompress the file (`MODULE_INIT_COMPRESSED_FILE`, include/uapi/linux/module.h).
const COMPRESSED: i32 = 4;

/// Loads the module at `path` with its `parameters` (`name=value` separated by spaces). Unless its name ends in `.ko`, it is
/// compressed in the way that the kernel was built to decompress.
///
/// # Errors
/// `ENOENT` for the file, `EKEYREJECTED` for a bad signature, `ENOEXEC` for another kernel's module.
pub fn load(path: &Path, parameters: &str) -> Result<Outcome, Error> {
    let file = File::open(path).map_err(|e| Error::io("open", path.display(), &e))?;
    let parameters = std::ffi::CString::new(parameters).map_err(|_| Error::new("finit_module", path.display(), Errno::INVAL))?;
    let plain = path.extension().is_some_and(|extension| extension == "ko");
    match finit_module(&file, &parameters, if plain { 0 } else { COMPRESSED }) {
        Ok(()) | Err(Errno::EXIST) => Ok(Outcome::Loaded),
        Err(Errno::NODEV) => Ok(Outcome::NoDevice),
        Err(errno) => Err(Error::new("finit_module", path.display(), errno)),
    }
}
