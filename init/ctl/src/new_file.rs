//! Atomic creation of a file that never replaces an existing one.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use encoding::hex;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::run::Error;

/// Error on file systems without RENAME_NOREPLACE, such as NFS.
const NO_RENAME: &str = "the file system cannot rename without replacing a file of the same name: choose another directory";

/// Creates the file with mode 0600. `false` if a file of this name exists, which is not changed.
///
/// A process that is killed meanwhile leaves a file `.cvmctl-*` in the directory.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<bool, Error> {
    let failed = |source: io::Error| Error::File { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| Error::NoName { path: path.to_owned() })?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(parent).map_err(failed)?;
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|error| failed(error.into()))?;
    let temporary = format!(".cvmctl-{}", hex::encode(&random));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder.as_fd(), &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
    let renamed = fill(file.into(), bytes).and_then(|()| {
        match renameat_with(folder.as_fd(), &temporary, folder.as_fd(), name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(io::Error::other(NO_RENAME)),
            Err(error) => Err(error.into()),
        }
    });
    if !matches!(renamed, Ok(true)) {
        // Reports the first error.
        unlinkat(folder.as_fd(), &temporary, AtFlags::empty()).ok();
    }
    let is_new = renamed.map_err(failed)?;
    folder.sync_all().map_err(failed)?;
    Ok(is_new)
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}
