//! Configures one boot; run.rs runs it, result.rs checks its result.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use dcap::Platform;
use qemu::{Bus, Disk, DriverQuirks, Network, QuoteSource};

mod measured;
mod result;
mod run;

pub use result::BootResult;
pub(crate) use result::CcRecord;
pub(crate) use run::honest;

use crate::boot_chain::{BootChain, FirmwareShape};
use crate::lan::Lan;
use crate::scenarios::TestContext;
use crate::{Artifacts, Context, DataDisk, Failure, RootDisk, Vaults, clock};

/// The longest that a boot may take under emulation on a busy machine.
const LONGEST: Duration = Duration::from_secs(150);
/// The program that runs as the real init when a scenario needs no systemd.
const TASK: &str = "/usr/lib/cvm-tests/task";

/// Makes the source of quotes from the host's platform.
type MakeQuotes = Box<dyn FnOnce(Platform) -> Box<dyn QuoteSource>>;

/// The configuration of one boot.
pub struct Boot<'a> {
    context: &'a TestContext,
    artifacts: &'a Artifacts,
    initrd: PathBuf,
    root: RootDisk,
    root_hash: String,
    vaults: Option<&'a Vaults>,
    data: Option<&'a DataDisk>,
    cmdline: Vec<String>,
    tasks: String,
    systemd: bool,
    /// The time of the machine's clock at the start, in the form of QEMU's `-rtc base=`.
    clock: Option<String>,
    quotes: Option<MakeQuotes>,
    quirks: Option<DriverQuirks>,
    copy: Option<Box<dyn Write + Send>>,
    more_disks: Vec<Disk>,
    log: Option<PathBuf>,
    granted: bool,
    bus: Bus,
    sector_bytes: u32,
    root_sector_bytes: u32,
    serial: Option<String>,
    data_disks: Option<String>,
    network: Option<Network>,
    arguments: Vec<OsString>,
    longest: Duration,
    cpus: Option<u8>,
    chain: Option<BootChain>,
    /// The whole command line, if the image contains it.
    whole: Option<Vec<String>>,
    /// What the firmware has; `None`: QEMU's own BIOS.
    firmware: Option<FirmwareShape>,
    /// Makes the event log that firmware leaves.
    ccel: Option<measured::MakeLog>,
    /// A copy of the kernel that the tests' builder signed.
    signed_kernel: Option<PathBuf>,
    /// A unified kernel image in place of kernel, initrd and command line of the hypervisor.
    uki: Option<PathBuf>,
    /// EFI variables that the host sets, as JSON for virt-fw-vars.
    efi_variables: Option<String>,
    /// The command line that is measured in place of the real one.
    measured_cmdline: Option<String>,
}

impl<'a> Boot<'a> {
    /// The default: the simulated initrd, the genuine root, no vaults, no data disk, the task program as init.
    #[must_use]
    pub fn new(context: &'a TestContext) -> Self {
        let artifacts = &context.artifacts;
        Self {
            context,
            artifacts,
            initrd: artifacts.simulated.clone(),
            root: RootDisk::genuine(artifacts),
            root_hash: artifacts.root_hash.clone(),
            vaults: None,
            data: None,
            cmdline: Vec::new(),
            tasks: "none".to_owned(),
            systemd: false,
            clock: None,
            quotes: None,
            quirks: None,
            copy: None,
            more_disks: Vec::new(),
            log: None,
            granted: true,
            bus: Bus::default(),
            sector_bytes: 512,
            root_sector_bytes: 512,
            serial: None,
            data_disks: None,
            network: None,
            arguments: Vec::new(),
            longest: LONGEST,
            cpus: None,
            chain: None,
            whole: None,
            firmware: None,
            ccel: None,
            signed_kernel: None,
            uki: None,
            efi_variables: None,
            measured_cmdline: None,
        }
    }

    /// Uses the production initrd: Intel's root certificate, no simulated module.
    #[must_use]
    pub fn production(self) -> Self {
        Self { initrd: self.artifacts.production.clone(), ..self }
    }

    /// Boots the image of `chain` through firmware, with the kernel, initrd and command line in the image.
    ///
    /// # Errors
    /// The image is not built.
    pub(crate) fn chain(self, chain: BootChain) -> Result<Self, Failure> {
        let root = RootDisk::of(chain.image(self.artifacts));
        let cmdline = chain.command_line(self.artifacts)?.split(' ').map(str::to_owned).collect();
        Ok(Self { chain: Some(chain), firmware: Some(FirmwareShape::of(chain)), root, whole: Some(cmdline), ..self })
    }

    /// Boots the image of tests/example, which another project would build, with the production initrd and the image's own
    /// command line.
    ///
    /// # Errors
    /// The image is not built.
    pub(crate) fn of_another_project(self) -> Result<Self, Failure> {
        let folder = self.artifacts.top.join("target/image/example");
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name)).context("reading the image of tests/example (qemu/build makes it)")
        };
        let cmdline = read("example.cmdline")?.split(' ').map(str::to_owned).collect();
        let (root, initrd) = (RootDisk::of(folder.join("example.raw")), folder.join("example.initrd"));
        Ok(Self { whole: Some(cmdline), root, initrd, ..self })
    }

    /// Boots from another root disk.
    #[must_use]
    pub fn root(self, root: RootDisk) -> Self {
        Self { root, ..self }
    }

    /// Sets another root hash.
    #[must_use]
    pub fn root_hash(self, root_hash: String) -> Self {
        Self { root_hash, ..self }
    }

    /// Attaches a data disk that these vaults unlock.
    #[must_use]
    pub fn data(self, data: &'a DataDisk, vaults: &'a Vaults) -> Self {
        Self { data: Some(data), vaults: Some(vaults), ..self }
    }

    /// Adds an argument to the kernel command line.
    #[must_use]
    pub fn cmdline(mut self, argument: impl Into<String>) -> Self {
        self.cmdline.push(argument.into());
        self
    }

    /// Sets the tasks of the task program in the image, separated by commas (tests/image).
    #[must_use]
    pub fn tasks(self, tasks: &str) -> Self {
        Self { tasks: tasks.to_owned(), ..self }
    }

    /// Boots into the image's own systemd.
    #[must_use]
    pub fn systemd(self) -> Self {
        Self { systemd: true, ..self }
    }

    /// Sets the machine's clock `seconds` ahead of the real time.
    #[must_use]
    pub fn clock_off_by(self, seconds: i64) -> Self {
        Self { clock: Some(clock::date(clock::now().saturating_add_signed(seconds))), ..self }
    }

    /// Replaces the honest source of quotes; `source` gets the host's platform to sign with.
    #[must_use]
    pub fn quotes<S: QuoteSource + 'static>(self, source: impl FnOnce(Platform) -> S + 'static) -> Self {
        Self { quotes: Some(Box::new(|platform| Box::new(source(platform)))), ..self }
    }

    /// Sets how the stand-in for tdx-guest behaves where real drivers differ.
    #[must_use]
    pub fn quirks(self, quirks: DriverQuirks) -> Self {
        Self { quirks: Some(quirks), ..self }
    }

    /// Uses this initrd.
    #[must_use]
    pub fn initrd(self, initrd: PathBuf) -> Self {
        Self { initrd, ..self }
    }

    /// Boots a copy of the kernel that the tests' builder signed.
    #[must_use]
    pub(crate) fn signed_kernel(self, kernel: PathBuf) -> Self {
        Self { signed_kernel: Some(kernel), ..self }
    }

    /// Gives the firmware a unified kernel image as the hypervisor's kernel, without initrd and command line.
    #[must_use]
    pub(crate) fn uki_of_hypervisor(self, uki: PathBuf) -> Self {
        Self { uki: Some(uki), whole: Some(Vec::new()), ..self }
    }

    /// Sets EFI variables in the firmware's flash before the boot; `json` is a file for virt-fw-vars.
    #[must_use]
    pub(crate) fn efi_variables(self, json: String) -> Self {
        Self { efi_variables: Some(json), ..self }
    }

    /// Attaches one more disk.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.more_disks.push(disk);
        self
    }

    /// Records every write to the data disk.
    #[must_use]
    pub fn recorded(self, log: &std::path::Path) -> Self {
        Self { log: Some(log.to_owned()), ..self }
    }

    /// Does not change the vaults' policies to admit this image.
    #[must_use]
    pub fn without_grant(self) -> Self {
        Self { granted: false, ..self }
    }

    /// Attaches this link in place of QEMU's user network.
    #[must_use]
    pub(crate) fn lan(self, lan: &Lan) -> Self {
        self.no_network().qemu_arguments(lan.arguments())
    }

    /// Attaches root and data disk to this bus.
    #[must_use]
    pub fn bus(self, bus: Bus) -> Self {
        Self { bus, ..self }
    }

    /// Sets the sector size of the data disk, in bytes.
    #[must_use]
    pub fn sectors(self, sector_bytes: u32) -> Self {
        Self { sector_bytes, ..self }
    }

    /// Sets the sector size of the root disk, in bytes.
    #[must_use]
    pub fn root_sectors(self, sector_bytes: u32) -> Self {
        Self { root_sector_bytes: sector_bytes, ..self }
    }

    /// Sets the serial number in `cvm.data`; the disk itself gets as much of it as virtio can carry.
    #[must_use]
    pub fn serial(self, serial: &str) -> Self {
        Self { serial: Some(serial.to_owned()), ..self }
    }

    /// Sets the value of `cvm.data`.
    #[must_use]
    pub fn data_disks(self, disks: &str) -> Self {
        Self { data_disks: Some(disks.to_owned()), ..self }
    }

    /// Attaches no network device.
    #[must_use]
    pub fn no_network(self) -> Self {
        Self { network: Some(Network::None), ..self }
    }

    /// Adds arguments for QEMU.
    #[must_use]
    pub fn qemu_arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Ends the machine after this time.
    #[must_use]
    pub fn for_at_most(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// Sets the number of CPUs.
    #[must_use]
    pub fn cpus(self, cpus: u8) -> Self {
        Self { cpus: Some(cpus), ..self }
    }

    /// Copies the console to `watcher` while the machine runs.
    #[must_use]
    pub fn copy_to(self, watcher: Box<dyn Write + Send>) -> Self {
        Self { copy: Some(watcher), ..self }
    }
}
