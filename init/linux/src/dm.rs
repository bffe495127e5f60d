//! The device mapper: read-only mapped devices with one target.

use std::path::PathBuf;

use devicemapper::{DM, DevId, DmFlags, DmNameBuf, DmOptions};
use rustix::io::Errno;

use crate::Error;

/// A mapped device. Dropping this value keeps the device: a mounted root must outlive the initrd.
#[derive(Debug)]
pub struct MappedDevice {
    name: DmNameBuf,
    minor: u32,
}

/// One entry of a device-mapper table, which starts at sector 0.
#[derive(Debug, Clone)]
pub struct Target {
    /// Target type, for example `verity`.
    pub kind: &'static str,
    /// Length in sectors of 512 bytes.
    pub sectors: u64,
    /// Parameters in the form of the target's documentation.
    pub params: String,
}

impl MappedDevice {
    /// Creates the device `name` with `target`, read-only, and activates it.
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

    /// Replaces the table, read-only, in one step: readers wait meanwhile.
    ///
    /// # Errors
    /// As [`MappedDevice::read_only`].
    pub fn replace(&self, target: &Target) -> Result<(), Error> {
        self.load(&context()?, target)
    }

    /// Returns the status of its target. That of dm-verity is `V` while every block that was read matched its hash, then `C`.
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

    /// Removes the device, which must not be in use.
    ///
    /// # Errors
    /// `EBUSY`.
    pub fn remove(self) -> Result<(), Error> {
        context()?
            .device_remove(&DevId::Name(&self.name), DmOptions::default())
            .map(drop)
            .map_err(|e| refused("dm remove", &&*self.name, &e))
    }

    /// Returns the path of the node in devtmpfs, for example `/dev/dm-0`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/dm-{}", self.minor))
    }
}

/// Returns the version of the kernel's target `kind`, by which callers know its options. `None` when the kernel has no such target.
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

/// Extracts the errno: the text of this crate's errors contains pages of debug output.
fn refused(call: &'static str, name: &dyn std::fmt::Display, error: &devicemapper::DmError) -> Error {
    let errno = match error {
        devicemapper::DmError::Core(devicemapper::errors::Error::Ioctl(_, _, _, errno)) => {
            Errno::from_io_error(&std::io::Error::from(**errno))
        }
        _ => None,
    };
    Error::new(call, name, errno.unwrap_or(Errno::IO))
}
