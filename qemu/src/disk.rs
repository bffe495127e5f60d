//! Disks of a machine, and QEMU's arguments for them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{
    arguments::{Arguments, escaped},
    machine::Error,
};

/// Longest serial number of a virtio disk, in bytes (virtio 1.2, 5.2.6: `VIRTIO_BLK_T_GET_ID`).
const SERIAL_MAX: usize = 20;

/// The bus of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bus {
    /// virtio-blk, as under QEMU and on most clouds.
    #[default]
    Virtio,
    /// virtio-scsi with its own controller, as on GCP.
    Scsi,
    /// NVMe with its own controller, as on AWS and Azure.
    Nvme,
}

/// A disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Its bus.
    pub bus: Bus,
    /// Its serial number in the guest, at most 20 bytes.
    pub serial: String,
    /// The file on the host.
    pub file: PathBuf,
    /// The format of the file. Never detected: a guest could write a header that changes the result.
    pub format: DiskFormat,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// Whether the guest's writes go to an overlay that is deleted with the machine; the file stays unchanged.
    pub snapshot: bool,
    /// The logical block size in the guest, in bytes: 512 or 4,096. virtio only.
    pub sector_bytes: u32,
    /// The file that records every write and flush of a raw disk, in the format of Linux' dm-log-writes; it must exist.
    pub log: Option<PathBuf>,
    /// Offset in bytes of the one sector of a raw disk that cannot be read.
    pub unreadable: Option<u64>,
}

/// The format of a disk's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's own format, which may have a backing file.
    Qcow2,
}

impl Disk {
    /// A raw, writable virtio disk.
    #[must_use]
    pub fn raw(serial: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        let (serial, file) = (serial.into(), file.into());
        Self {
            bus: Bus::Virtio,
            serial,
            file,
            format: DiskFormat::Raw,
            read_only: false,
            snapshot: false,
            sector_bytes: 512,
            log: None,
            unreadable: None,
        }
    }

    pub(crate) fn add(&self, number: usize, arguments: &mut Arguments) -> Result<(), Error> {
        let legible = self.serial.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if !legible || self.serial.is_empty() || self.serial.len() > SERIAL_MAX {
            return Err(Error::Serial(self.serial.clone()));
        }
        let format = match self.format {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        };
        if let Some(log) = &self.log {
            self.add_logged(number, log, arguments);
            return Ok(());
        }
        if let Some(offset) = self.unreadable {
            self.add_unreadable(number, offset, arguments);
            return Ok(());
        }
        let on = |on: bool| if on { "on" } else { "off" };
        // cache=unsafe skips the host's own flushes: these disks need not survive a crash of the host.
        let mut drive = OsString::from(format!(
            "if=none,id=disk{number},format={format},readonly={},snapshot={},cache=unsafe,discard=unmap,file=",
            on(self.read_only),
            on(self.snapshot),
        ));
        drive.push(escaped(&self.file));
        arguments.pair("-drive", drive);
        self.plug(number, arguments);
        Ok(())
    }

    /// Adds QEMU's blklogwrites over the file. The guest's flushes reach the log; QEMU does not flush the file on the host.
    fn add_logged(&self, number: usize, log: &Path, arguments: &mut Arguments) {
        for (name, file) in [("file", self.file.as_path()), ("log", log)] {
            let mut node = OsString::from(format!("driver=file,node-name={name}{number},cache.no-flush=on,filename="));
            node.push(escaped(file));
            arguments.pair("-blockdev", node);
        }
        let filter = format!("driver=blklogwrites,node-name=disk{number},file=file{number},log=log{number},log-sector-size=512");
        arguments.pair("-blockdev", filter);
        self.plug(number, arguments);
    }

    /// Adds QEMU's blkdebug over the file, which the guest cannot write.
    fn add_unreadable(&self, number: usize, offset: u64, arguments: &mut Arguments) {
        let mut drive = OsString::from(format!(
            "if=none,id=disk{number},driver=raw,readonly=on,file.driver=blkdebug,file.inject-error.0.event=read_aio,\
             file.inject-error.0.sector={},file.image.driver=file,file.image.filename=",
            offset / 512
        ));
        drive.push(escaped(&self.file));
        arguments.pair("-drive", drive);
        self.plug(number, arguments);
    }

    /// Adds the device for the drive `disk{number}`.
    fn plug(&self, number: usize, arguments: &mut Arguments) {
        let (drive, serial) = (format!("drive=disk{number}"), format!("serial={}", self.serial));
        match self.bus {
            Bus::Virtio if self.sector_bytes == 512 => arguments.pair("-device", format!("virtio-blk-pci,{drive},{serial}")),
            Bus::Virtio => {
                let sectors = format!("logical_block_size={0},physical_block_size={0}", self.sector_bytes);
                arguments.pair("-device", format!("virtio-blk-pci,{drive},{serial},{sectors}"));
            }
            Bus::Scsi => {
                arguments.pair("-device", format!("virtio-scsi-pci,id=scsi{number}"));
                arguments.pair("-device", format!("scsi-hd,bus=scsi{number}.0,{drive},{serial}"));
            }
            Bus::Nvme => arguments.pair("-device", format!("nvme,{drive},{serial}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive_and_device(disk: &Disk) -> Result<(String, String), Error> {
        let mut arguments = Arguments::default();
        disk.add(0, &mut arguments)?;
        let texts: Vec<_> = arguments.0.iter().map(|argument| argument.to_str().unwrap().to_owned()).collect();
        assert_eq!((texts[0].as_str(), texts[2].as_str()), ("-drive", "-device"));
        Ok((texts[1].clone(), texts[3].clone()))
    }

    #[test]
    fn disk_arguments_contain_format_serial_and_access() {
        let disk = Disk { read_only: true, snapshot: true, ..Disk::raw("root", "/tmp/a,b.img") };
        let (drive, device) = drive_and_device(&disk).unwrap();
        assert!(drive.starts_with("if=none,id=disk0,format=raw,readonly=on,snapshot=on,"), "{drive}");
        assert!(drive.ends_with(",file=/tmp/a,,b.img"), "{drive}");
        assert_eq!(device, "virtio-blk-pci,drive=disk0,serial=root");
    }

    #[test]
    fn serial_that_a_guest_would_not_get_whole_is_refused() {
        for serial in ["", "a,b", "a b", "123456789012345678901"] {
            let refused = drive_and_device(&Disk::raw(serial, "/x"));
            assert!(matches!(refused, Err(Error::Serial(s)) if s == serial), "{serial:?}");
        }
    }
}
