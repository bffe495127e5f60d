//! Loading of kernel modules, one file at a time. There are no aliases and no dependency search, unlike modprobe.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use crate::threads::{ANSWER, in_time};
use crate::{Error, block};

/// Returns the release of the kernel, which names its directory of modules.
#[must_use]
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The result of loading a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadResult {
    /// The module is in the kernel, now or before.
    Loaded,
    /// The hardware of the driver is absent (`ENODEV`).
    NoDevice,
}

/// Flag: the kernel decompresses the file (`MODULE_INIT_COMPRESSED_FILE`, include/uapi/linux/module.h).
const COMPRESSED: i32 = 4;

/// Loads the module at `path` with its `parameters` (`name=value` separated by spaces). If the name does not end in `.ko`, the kernel
/// decompresses the file with the method that it was built for.
///
/// Inside of the call a driver probes its devices, and the kernel reads the partition table of each disk. A disk that does not answer
/// blocks the call for ever, so it runs in a thread.
///
/// # Errors
/// `ENOENT` for the file, `EKEYREJECTED` for a bad signature, `ENOEXEC` for a module of another kernel; `ETIMEDOUT` after a minute.
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
