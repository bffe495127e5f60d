//! The device mapper: read-only mapped devices from one target line.

use std::path::PathBuf;

use devicemapper::{DM, DevId, DmFlags, DmNameBuf, DmOptions};
use rustix::io::Errno;

use crate::Error;

/// A mapped device. It stays when this is dropped: a mounted root must outlive the initrd.
#[derive(Debug)]
pub struct MappedDevice {
    name: DmNameBuf,
    minor: u32,
}

/// One line of a device-mapper table that covers a device from its start.
#[derive(Debug, Clone)]
pub struct Target {
    /// Target type, as `verity`.
    pub kind: &'static str,
    /// Length in sectors of 512 bytes.
    pub sectors: u64,
    /// Parameters as the target's documentation writes them.
    pub params: String,
}

impl MappedDevice {
    /// Creates `name` with `target`, read-only, and starts it.
    ///
    /// # Errors
    /// `EINVAL` when the target refuses its parameters, `EBUSY` when the name is taken.
    pub fn read_only(name: &str, target: &Target) -> Result<Self, Error> {
        let dm = context()?;
        let name = DmNameBuf::new(name.to_owned()).map_err(|_| Error::new("dm create", name, Errno::INVAL))?;
        let device = dm.device_create(&name, None, DmOptions::default()).map_err(|e| refused("dm create", &&*name, &e))?;
        let mapped = Self { minor: device.device().minor, name };
        match mapped.load(&dm, target) {
            Ok(()) => Ok(mapped),
            Err(error) => {
                mapped.remove()?;
                Err(error)
            }
        }
    }

    /// Replaces the table, read-only, with nothing in between: readers wait.
    ///
    /// # Errors
    /// As [`MappedDevice::read_only`].
    pub fn replace(&self, target: &Target) -> Result<(), Error> {
        self.load(&context()?, target)
    }

    /// What its target says of it now: of dm-verity `V` while each block was what was hashed, and `C` since one was not.
    ///
    /// # Errors
    /// `ENXIO` when it is gone.
    pub fn status(&self) -> Result<String, Error> {
        let status = context()?.table_status(&DevId::Name(&self.name), DmOptions::default());
        let (_, targets) = status.map_err(|e| refused("dm table status", &&*self.name, &e))?;
        Ok(targets.into_iter().next().map(|(_, _, _, status)| status).unwrap_or_default())
    }

    fn load(&self, dm: &DM, target: &Target) -> Result<(), Error> {
        let id = DevId::Name(&self.name);
        let line = (0, target.sectors, target.kind.to_owned(), target.params.clone());
        dm.table_load(&id, &[line], DmOptions::default().set_flags(DmFlags::DM_READONLY))
            .map_err(|e| refused("dm table load", &&*self.name, &e))?;
        // Without DM_SUSPEND this ioctl resumes, which swaps the loaded table in.
        dm.device_suspend(&id, DmOptions::default()).map_err(|e| refused("dm resume", &&*self.name, &e))?;
        Ok(())
    }

    /// Takes the device away; it must not be in use.
    ///
    /// # Errors
    /// `EBUSY`.
    pub fn remove(self) -> Result<(), Error> {
        context()?
            .device_remove(&DevId::Name(&self.name), DmOptions::default())
            .map(drop)
            .map_err(|e| refused("dm remove", &&*self.name, &e))
    }

    /// The node that devtmpfs made, as `/dev/dm-0`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/dm-{}", self.minor))
    }
}

/// The version of the target `kind` that the kernel has: it tells what options it knows. `None` when it has no such target.
///
/// # Errors
/// As the ioctl.
pub fn target_version(kind: &str) -> Result<Option<(u32, u32, u32)>, Error> {
    let listed = context()?.list_versions().map_err(|e| refused("dm list versions", &kind, &e))?;
    Ok(listed.into_iter().find(|(name, ..)| name == kind).map(|(_, major, minor, patch)| (major, minor, patch)))
}

fn context() -> Result<DM, Error> {
    DM::new().map_err(|_| Error::new("open", "/dev/mapper/control", Errno::NODEV))
}

/// The crate's error text holds the errno among pages of debug output; only the errno is wanted.
fn refused(call: &'static str, name: &dyn std::fmt::Display, error: &devicemapper::DmError) -> Error {
    let errno = match error {
        devicemapper::DmError::Core(devicemapper::errors::Error::Ioctl(_, _, _, errno)) => {
            Errno::from_io_error(&std::io::Error::from(**errno))
        }
        _ => None,
    };
    Error::new(call, name, errno.unwrap_or(Errno::IO))
}
