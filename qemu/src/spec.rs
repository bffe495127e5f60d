//! What a machine has, and QEMU's arguments for it.

use std::{
    ffi::{OsStr, OsString},
    io,
    net::{SocketAddr, SocketAddrV4},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use crate::{
    firmware::Firmware,
    measurement::{DirectBoot, TdInfo},
};

/// The address at which a guest reaches what listens on the host's loopback (QEMU's user network).
pub const HOST_IN_GUEST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 2, 2);
/// Longest serial number of a virtio disk, in bytes (virtio 1.2, 5.2.6: `VIRTIO_BLK_T_GET_ID`).
const SERIAL_MAX: usize = 20;

/// A machine to boot. Fields are public; [`Machine::default`] has two CPUs, 1 GiB, the user network and nothing to boot.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Started from the first disk; none: QEMU's own BIOS, for a kernel that is booted directly.
    pub firmware: Option<Firmware>,
    /// Booted directly, with no firmware that measures.
    pub kernel: Option<PathBuf>,
    /// The kernel's initrd.
    pub initrd: Option<PathBuf>,
    /// The kernel command line, word by word.
    pub append: Vec<String>,
    /// In the order the guest finds them.
    pub disks: Vec<Disk>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u8,
    /// The one link, if any.
    pub network: Network,
    /// Who types on the console.
    pub keyboard: Keyboard,
    /// Whether there is a COM3 (`/dev/ttyS2`) beside the console. No kernel message cuts a line that a program of the guest writes there.
    pub reports: bool,
    /// More arguments for QEMU, after all others: firmware in flash, a TPM, a vsock.
    pub arguments: Vec<OsString>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            firmware: None,
            kernel: None,
            initrd: None,
            append: Vec::new(),
            disks: Vec::new(),
            memory_mib: 1024,
            // One would hide races of PID 1's threads and of the data path.
            cpus: 2,
            network: Network::default(),
            keyboard: Keyboard::Console,
            reports: false,
            arguments: Vec::new(),
        }
    }
}

/// What a disk hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bus {
    /// virtio-blk, as under QEMU and on most clouds.
    #[default]
    Virtio,
    /// virtio-scsi with a controller of its own, as on GCP.
    Scsi,
    /// NVMe with a controller of its own, as on AWS and Azure.
    Nvme,
}

/// A disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// What it hangs on.
    pub bus: Bus,
    /// What the guest knows it by: at most 20 bytes.
    pub serial: String,
    /// The file on the host.
    pub file: PathBuf,
    /// How the file is to be read. Never guessed: a guest could write a header that changes the guess.
    pub format: DiskFormat,
    /// The guest cannot write.
    pub read_only: bool,
    /// What the guest writes goes to an overlay that ends with the machine; the file stays as it is.
    pub snapshot: bool,
    /// The logical block size that the guest sees, in bytes: 512 or 4,096. virtio alone.
    pub sector_bytes: u32,
    /// Where every write and flush of a raw disk is recorded, in the form of Linux' dm-log-writes; the file must exist.
    pub log: Option<PathBuf>,
    /// Reads of the sector at this byte of a raw disk fail; those of others do not.
    pub unreadable: Option<u64>,
}

/// The format of a disk's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's own, which may rest on another file.
    Qcow2,
}

/// The machine's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// No link at all.
    None,
    /// QEMU's user network: DHCP, DNS, and the host's loopback at [`HOST_IN_GUEST`].
    User {
        /// The guest reaches nothing but what is forwarded.
        restrict: bool,
        /// Addresses in the guest's network that lead to the host. One connection at a time each: QEMU keeps one open.
        to_host: Vec<GuestForward>,
        /// Ports of the host that lead to the guest.
        to_guest: Vec<HostForward>,
    },
}

impl Default for Network {
    fn default() -> Self {
        Self::User { restrict: false, to_host: Vec::new(), to_guest: Vec::new() }
    }
}

/// From the guest's network to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestForward {
    /// What the guest connects to: an address in 10.0.2.0/24 that is nobody's.
    pub guest: SocketAddrV4,
    /// Where that leads.
    pub host: SocketAddr,
}

/// From the host to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostForward {
    /// What the host listens on.
    pub host: SocketAddrV4,
    /// The guest's port.
    pub guest_port: u16,
}

/// Who types on a machine's console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyboard {
    /// The program, through [`crate::Console::send`].
    Console,
    /// The person at this process's terminal; Ctrl-A x ends the machine.
    Terminal,
}

/// Why a machine cannot be described to QEMU, or measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A serial number is longer than 20 bytes, or has a character that QEMU's arguments or a guest's would split at.
    #[error("disk serial {0:?}")]
    Serial(String),
    /// A file that is measured cannot be read.
    #[error("reading {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel is no PE image.
    #[error("measuring the kernel")]
    Kernel(#[from] predict::Error),
}

impl Machine {
    /// The kernel command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        self.append.join(" ")
    }

    /// What this machine would measure, were it a TD with this firmware.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Kernel`]; a machine without a kernel is measured as if the kernel were an empty file.
    pub fn td_info(&self, firmware: &[u8]) -> Result<TdInfo, Error> {
        let read = |path: &Option<PathBuf>| path.as_deref().map_or(Ok(Vec::new()), read_file);
        let (kernel, initrd) = (read(&self.kernel)?, read(&self.initrd)?);
        let boot = DirectBoot {
            firmware,
            kernel: &kernel,
            initrd: &initrd,
            command_line: &self.command_line(),
            memory_mib: self.memory_mib,
            cpus: self.cpus,
        };
        Ok(boot.td_info()?)
    }

    /// QEMU's arguments, but for the accelerator and the lines to this process. No default devices: a machine has what its
    /// description says, and a reset ends it.
    pub(crate) fn to_arguments(&self) -> Result<Vec<OsString>, Error> {
        let mut arguments = Arguments::default();
        arguments.flag("-nodefaults");
        arguments.flag("-no-user-config");
        arguments.flag("-no-reboot");
        arguments.pair("-display", "none");
        arguments.pair("-machine", "q35");
        arguments.pair("-cpu", "max");
        arguments.pair("-smp", self.cpus.to_string());
        arguments.pair("-m", format!("{}M", self.memory_mib));
        if let Some(firmware) = &self.firmware {
            firmware.add(&mut arguments);
        }
        if let Some(kernel) = &self.kernel {
            arguments.pair("-kernel", kernel);
            arguments.pair("-append", self.command_line());
        }
        if let Some(initrd) = &self.initrd {
            arguments.pair("-initrd", initrd);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            disk.add(number, &mut arguments)?;
        }
        if let Some(netdev) = self.network.netdev() {
            arguments.pair("-netdev", netdev);
            arguments.pair("-device", "virtio-net-pci,netdev=link,romfile=");
        }
        arguments.0.extend(self.arguments.iter().cloned());
        Ok(arguments.0)
    }
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

    fn add(&self, number: usize, arguments: &mut Arguments) -> Result<(), Error> {
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
        // cache=unsafe leaves out the host's own flushes: these disks need to survive the guest, not the host.
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

    /// QEMU's blklogwrites over the file. The guest's flushes reach the log; the host's own are left out.
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

    /// QEMU's blkdebug over the file, which the guest cannot write.
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

    /// The device for the drive `disk{number}`.
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

impl Network {
    fn netdev(&self) -> Option<String> {
        let Self::User { restrict, to_host, to_guest } = self else {
            return None;
        };
        let restrict = if *restrict { "on" } else { "off" };
        let to_host = to_host.iter().map(|forward| format!("guestfwd=tcp:{}-tcp:{}", forward.guest, forward.host));
        let to_guest = to_guest.iter().map(|forward| format!("hostfwd=tcp:{}-:{}", forward.host, forward.guest_port));
        let parts = [format!("user,id=link,restrict={restrict}")];
        Some(parts.into_iter().chain(to_host).chain(to_guest).collect::<Vec<_>>().join(","))
    }
}

#[derive(Default)]
pub(crate) struct Arguments(pub(crate) Vec<OsString>);

impl Arguments {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    pub(crate) fn pair(&mut self, flag: &str, value: impl AsRef<OsStr>) {
        self.0.extend([OsString::from(flag), value.as_ref().to_owned()]);
    }
}

/// A file name inside an option list, where a comma is written twice.
pub(crate) fn escaped(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes();
    OsString::from_vec(bytes.iter().flat_map(|byte| [*byte].repeat(1 + usize::from(*byte == b','))).collect())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_after(machine: &Machine, flag: &str) -> Option<String> {
        let arguments = machine.to_arguments().unwrap();
        let at = arguments.iter().position(|argument| argument == flag)?;
        Some(arguments[at + 1].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_machine_has_no_device_that_was_not_described() {
        let machine = Machine { network: Network::None, ..Machine::default() };
        assert_eq!(value_after(&machine, "-device"), None);
        assert!(machine.to_arguments().unwrap().iter().any(|argument| argument == "-nodefaults"));
    }

    #[test]
    fn a_disk_tells_format_serial_and_who_may_write() {
        let disk = Disk { read_only: true, snapshot: true, ..Disk::raw("root", "/tmp/a,b.img") };
        let machine = Machine { disks: vec![disk], ..Machine::default() };
        let drive = value_after(&machine, "-drive").unwrap();
        assert!(drive.starts_with("if=none,id=disk0,format=raw,readonly=on,snapshot=on,"), "{drive}");
        assert!(drive.ends_with(",file=/tmp/a,,b.img"), "{drive}");
        assert_eq!(value_after(&machine, "-device").unwrap(), "virtio-blk-pci,drive=disk0,serial=root");
    }

    #[test]
    fn a_serial_that_a_guest_would_not_see_whole_is_refused() {
        for serial in ["", "a,b", "a b", "123456789012345678901"] {
            let machine = Machine { disks: vec![Disk::raw(serial, "/x")], ..Machine::default() };
            assert!(matches!(machine.to_arguments(), Err(Error::Serial(s)) if s == serial), "{serial:?}");
        }
    }

    #[test]
    fn the_network_is_restricted_to_what_is_forwarded() {
        let network = Network::User {
            restrict: true,
            to_host: vec![GuestForward { guest: "10.0.2.100:8443".parse().unwrap(), host: "127.0.0.1:9000".parse().unwrap() }],
            to_guest: vec![HostForward { host: "127.0.0.1:2222".parse().unwrap(), guest_port: 22 }],
        };
        let want = "user,id=link,restrict=on,guestfwd=tcp:10.0.2.100:8443-tcp:127.0.0.1:9000,\
                    hostfwd=tcp:127.0.0.1:2222-:22";
        assert_eq!(network.netdev().unwrap(), want);
    }
}
