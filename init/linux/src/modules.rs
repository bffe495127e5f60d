//! Kernel modules, loaded one file at a time: no modprobe, no aliases, no dependency search.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use crate::threads::{ANSWER, in_time};
use crate::{Error, block};

/// The kernel's release, which names its folder of modules.
#[must_use]
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// What became of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadResult {
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
/// A driver looks at its devices inside of that call, and the kernel at the partition table of each disk: one that does not answer holds
/// the call up for ever, so it is made in a thread.
///
/// # Errors
/// `ENOENT` for the file, `EKEYREJECTED` for a bad signature, `ENOEXEC` for another kernel's module; `ETIMEDOUT` when it does not load in a
/// minute.
pub fn load(path: &Path, parameters: &str) -> Result<LoadResult, Error> {
    let file = File::open(path).map_err(|e| Error::io("open", path.display(), &e))?;
    let parameters = std::ffi::CString::new(parameters).map_err(|_| Error::new("finit_module", path.display(), Errno::INVAL))?;
    let plain = path.extension().is_some_and(|extension| extension == "ko");
    let load = move || finit_module(&file, &parameters, if plain { 0 } else { COMPRESSED });
    let waiting = |seconds| {
        let (path, busy) = (path.display(), block::busy());
        log::warn!(target: "kernel", "{path} does not load for {seconds} s; disks that do not answer: {busy}");
    };
    match in_time("modules", ANSWER, load, &waiting)? {
        Some(Ok(()) | Err(Errno::EXIST)) => Ok(LoadResult::Loaded),
        Some(Err(Errno::NODEV)) => Ok(LoadResult::NoDevice),
        Some(Err(errno)) => Err(Error::new("finit_module", path.display(), errno)),
        None => Err(Error::new("finit_module", path.display(), Errno::TIMEDOUT)),
    }
}
