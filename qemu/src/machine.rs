//! The description of a machine.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use crate::{
    arguments::Arguments,
    disk::Disk,
    firmware::Firmware,
    measurement::{DirectBoot, TdInfo},
    network::Network,
};

/// A machine to boot. Fields are public; [`Machine::default`] has two CPUs, 1 GiB, the user network and nothing to boot.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The firmware, which boots the first disk; `None`: QEMU's own BIOS, for a kernel that is booted directly.
    pub firmware: Option<Firmware>,
    /// The kernel to boot directly.
    pub kernel: Option<PathBuf>,
    /// The kernel's initrd.
    pub initrd: Option<PathBuf>,
    /// The arguments of the kernel command line.
    pub append: Vec<String>,
    /// The disks, in the order in which the guest finds them.
    pub disks: Vec<Disk>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u8,
    /// The network device.
    pub network: Network,
    /// Where the console's input comes from.
    pub keyboard: Keyboard,
    /// Whether the machine has a COM3 (`/dev/ttyS2`) beside the console. Kernel messages do not interrupt lines that a program of
    /// the guest writes there.
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
            // One CPU would hide races of PID 1's threads and of the data path.
            cpus: 2,
            network: Network::default(),
            keyboard: Keyboard::Console,
            reports: false,
            arguments: Vec::new(),
        }
    }
}

/// The source of a console's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyboard {
    /// The program, with [`crate::Console::send`].
    Console,
    /// This process's terminal; Ctrl-A x ends the machine.
    Terminal,
}

/// Why a machine cannot be described to QEMU, or measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A serial number is longer than 20 bytes, or contains a character that separates arguments of QEMU or of the guest.
    #[error("disk serial {0:?}")]
    Serial(String),
    /// A file that is measured cannot be read.
    #[error("reading {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
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

    /// The measurements of this machine if it were a TD with this firmware.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Kernel`]; without a kernel an empty file is measured.
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

    /// QEMU's arguments, except for the accelerator and the connections to this process. The machine has no default devices, and
    /// a reset ends it.
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
}
