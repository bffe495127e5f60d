//! Quotes through configfs-tsm: Documentation/ABI/testing/configfs-tsm-report.
//!
//! The kernel does not report errors of the request (configfs commits it when the file is closed), so the generation counter is the
//! only proof that the answer belongs to this request. The caller checks the content of the blob.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::Error;

/// Bytes of user data that a report binds.
pub const REPORT_DATA_BYTES: usize = 64;

/// The largest blob that is read, in bytes: kernels up to 6.19 return at most 32 KiB, later ones 16 MiB; TDX quotes are far smaller.
const BLOB_MAX: u64 = 128 << 10;

/// Prefix of the names of requests that this crate makes.
const PREFIX: &str = "cvm-init-";

/// The report interface of the kernel.
#[derive(Debug, Clone)]
pub struct Tsm {
    reports: PathBuf,
}

/// A report: the blob, and the provider that made it.
#[derive(Debug)]
pub struct Report {
    /// The name of the provider's kernel module: `tdx_guest`, `sev_guest`, ...
    pub provider: String,
    /// The evidence, with the provider's padding.
    pub blob: Vec<u8>,
}

/// Whether asking again can help: the host's quoting service is silent, busy or failing, or another program used the entry. Kernels
/// differ in how they say it (6.12 an empty blob, 7.x EIO), so all of it is treated alike.
#[must_use]
pub fn is_transient(error: &Error) -> bool {
    let passing = [Errno::BUSY, Errno::IO, Errno::INTR, Errno::TIMEDOUT, Errno::NODATA, Errno::STALE, Errno::AGAIN];
    passing.contains(&error.errno())
}

/// The configfs directory of one request; removed when dropped.
struct Entry(PathBuf);

impl Tsm {
    /// The interface at its usual path.
    #[must_use]
    pub fn system() -> Self {
        Self::at("/sys/kernel/config/tsm/report")
    }

    /// The interface at another path; tests pass a temporary directory.
    pub fn at(reports: impl Into<PathBuf>) -> Self {
        Self { reports: reports.into() }
    }

    /// Returns the name of a request of this crate that still exists: the kernel refused to remove it.
    ///
    /// # Errors
    /// As reading the directory; a machine without the interface has no requests.
    pub fn left(&self) -> Result<Option<String>, Error> {
        let failed = |e: std::io::Error| Error::io("read", self.reports.display(), &e);
        let entries = match fs::read_dir(&self.reports) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                return Ok(Some(name.to_string_lossy().into_owned()));
            }
        }
        Ok(None)
    }

    /// Requests a report over `report_data`, once.
    ///
    /// # Errors
    /// `ENXIO` when no provider is loaded; `EBUSY`, `EIO`, `EINTR`, `ETIMEDOUT` and `ENODATA` (an empty blob) when the host's
    /// quoting service failed, which may be transient; `ESTALE` when another process used the entry meanwhile; `EFBIG`.
    pub fn report(&self, report_data: &[u8; REPORT_DATA_BYTES]) -> Result<Report, Error> {
        let entry = Entry::create(self)?;
        let provider = entry.text("provider")?;
        let before = entry.generation()?;
        // One write and one close: the kernel accepts the request when the file is closed.
        fs::write(entry.0.join("inblob"), report_data).map_err(|e| Error::io("write", "inblob", &e))?;
        let blob = entry.blob()?;
        if entry.generation()? != before.wrapping_add(1) {
            return Err(Error::new("generation", entry.0.display(), Errno::STALE));
        }
        if blob.is_empty() {
            return Err(Error::new("read", "outblob", Errno::NODATA));
        }
        Ok(Report { provider, blob })
    }
}

impl Entry {
    fn create(tsm: &Tsm) -> Result<Self, Error> {
        let mut name = [0_u8; 8];
        crate::clock::random(&mut name)?;
        let path = tsm.reports.join(format!("{PREFIX}{:016x}", u64::from_be_bytes(name)));
        fs::create_dir(&path).map_err(|e| Error::io("mkdir", path.display(), &e))?;
        Ok(Self(path))
    }

    fn text(&self, attribute: &str) -> Result<String, Error> {
        let text = fs::read_to_string(self.0.join(attribute)).map_err(|e| Error::io("read", attribute, &e))?;
        Ok(text.trim_end().to_owned())
    }

    fn generation(&self) -> Result<u64, Error> {
        self.text("generation")?.parse().map_err(|_| Error::new("read", "generation", Errno::INVAL))
    }

    fn blob(&self) -> Result<Vec<u8>, Error> {
        let file = fs::File::open(self.0.join("outblob")).map_err(|e| Error::io("open", "outblob", &e))?;
        let mut blob = Vec::new();
        file.take(BLOB_MAX + 1).read_to_end(&mut blob).map_err(|e| Error::io("read", "outblob", &e))?;
        match u64::try_from(blob.len()) {
            Ok(length) if length <= BLOB_MAX => Ok(blob),
            _ => Err(Error::new("read", "outblob", Errno::FBIG)),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            log::warn!("tsm: rmdir {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is not in configfs has no attributes: the request fails, and its entry is removed.
    #[test]
    fn entry_is_removed_when_the_request_fails() {
        let reports = tempfile::tempdir().unwrap();
        let error = Tsm::at(reports.path()).report(&[0; 64]).unwrap_err();
        assert_eq!((error.to_string().starts_with("read provider"), error.errno()), (true, Errno::NOENT));
        assert_eq!(fs::read_dir(reports.path()).unwrap().count(), 0);
    }

    #[test]
    fn request_that_is_left_is_told() {
        let reports = tempfile::tempdir().unwrap();
        assert_eq!(Tsm::at(reports.path().join("none")).left(), Ok(None));
        fs::create_dir(reports.path().join("theirs")).unwrap();
        fs::create_dir(reports.path().join("cvm-init-1")).unwrap();
        assert_eq!(Tsm::at(reports.path()).left(), Ok(Some("cvm-init-1".to_owned())));
    }

    #[test]
    fn missing_interface_is_named() {
        let error = Tsm::at("/nonexistent").report(&[0; 64]).unwrap_err();
        assert!(error.to_string().starts_with("mkdir /nonexistent/cvm-init-"), "{error}");
    }
}
