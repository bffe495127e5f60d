//! An open disk of the device mapper.

use std::path::Path;

use libcryptsetup_rs::CryptInit;
use libcryptsetup_rs::consts::flags::CryptDeactivate;
use linux::block::{Access, Device};

use super::{Error, library_error};

/// An open disk.
pub(in crate::phase) struct Mapped {
    name: String,
    path: String,
    kernel_name: String,
}

impl Mapped {
    pub(super) fn named(name: &str) -> Result<Self, Error> {
        let path = format!("/dev/mapper/{name}");
        let minor = linux::block::minor(Path::new(&path)).map_err(|_| Error::Node(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), kernel_name: format!("dm-{minor}"), path })
    }

    /// Its node under `/dev/mapper`.
    pub(in crate::phase) fn path(&self) -> &str {
        &self.path
    }

    /// Its name in sysfs, as `dm-1`.
    pub(in crate::phase) fn kernel_name(&self) -> &str {
        &self.kernel_name
    }

    /// The sectors read and written since it was opened.
    pub(in crate::phase::data) fn transferred(&self) -> Option<(u64, u64)> {
        linux::block::sectors_transferred(&self.kernel_name)
    }

    /// Opens the device past the page cache; returns it with its size in bytes. Read-ahead, which would reach sectors that were
    /// never written, stays off until the mount.
    pub(in crate::phase) fn device(&self) -> Result<(Device, u64), linux::Error> {
        self.set_read_ahead(0)?;
        let device = Device::open(Path::new(&self.path), Access::ReadWrite)?;
        let bytes = device.bytes()?;
        Ok((device, bytes))
    }

    pub(in crate::phase) fn set_read_ahead(&self, kib: u32) -> Result<(), linux::Error> {
        linux::block::set_read_ahead(&self.kernel_name, kib)
    }

    /// Closes the disk.
    pub(in crate::phase::data) fn close(self) -> Result<(), Error> {
        let mut device = CryptInit::init_by_name_and_header(&self.name, None).map_err(library_error("init by name"))?;
        device.activate_handle().deactivate(&self.name, CryptDeactivate::empty()).map_err(library_error("deactivate"))
    }
}
