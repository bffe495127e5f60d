//! One boot from words to end.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use machine::{Bus, Disk, Habits, Machine, Network, Qemu, QuoteAnswer, QuoteSource, QuotingService, Tpm, Vm};
use sim_dcap::{Platform, TdQuote};

mod ended;
mod measured;

pub use ended::Ended;

use crate::chain::{self, Chain};
use crate::lan::Lan;
use crate::leak::leaks;
use crate::scenarios::Stage;
use crate::{Artifacts, DataDisk, Doing, Failure, KernelLine, RootDisk, Vaults, clock};

/// The longest that a boot may take under TCG on a busy machine.
const LONGEST: Duration = Duration::from_secs(150);
/// PID 1 of the image where no systemd is needed.
const TASK: &str = "/usr/lib/cvm-tests/task";

/// Makes a quoting service of the host's platform.
type MakeQuotes = Box<dyn FnOnce(Platform) -> Box<dyn QuoteSource>>;

/// A boot to be.
pub struct Boot<'a> {
    stage: &'a Stage,
    artifacts: &'a Artifacts,
    initrd: PathBuf,
    root: RootDisk,
    root_hash: String,
    vaults: Option<&'a Vaults>,
    data: Option<&'a DataDisk>,
    words: Vec<String>,
    tasks: String,
    systemd: bool,
    /// What the machine's clock says when it starts, as QEMU's `-rtc base=` has it.
    clock: Option<String>,
    quotes: Option<MakeQuotes>,
    habits: Option<Habits>,
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
    chain: Option<Chain>,
    /// The whole command line, where the image brings it along.
    whole: Option<Vec<String>>,
    /// Kernel and initrd are started by firmware with a TPM.
    firmware: bool,
    /// Makes what firmware says that it measured.
    ccel: Option<measured::MakeLog>,
    /// The registers are those of this command line.
    another_line: Option<String>,
}

impl<'a> Boot<'a> {
    /// The simulated initrd, the genuine root, no vaults, no data disk; the task program in place of systemd.
    #[must_use]
    pub fn new(stage: &'a Stage) -> Self {
        let artifacts = &stage.artifacts;
        Self {
            stage,
            artifacts,
            initrd: artifacts.simulated.clone(),
            root: RootDisk::genuine(artifacts),
            root_hash: artifacts.root_hash.clone(),
            vaults: None,
            data: None,
            words: Vec::new(),
            tasks: "none".to_owned(),
            systemd: false,
            clock: None,
            quotes: None,
            habits: None,
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
            firmware: false,
            ccel: None,
            another_line: None,
        }
    }

    /// Takes the production initrd: Intel's root, no simulated module.
    #[must_use]
    pub fn production(self) -> Self {
        Self { initrd: self.artifacts.production.clone(), ..self }
    }

    /// Boots the image of this chain through firmware; kernel, initrd and command line are what is in it.
    ///
    /// # Errors
    /// When the image is not built.
    pub(crate) fn chain(self, chain: Chain) -> Result<Self, Failure> {
        let root = RootDisk::of(chain.image(self.artifacts));
        let words = chain.command_line(self.artifacts)?.split(' ').map(str::to_owned).collect();
        Ok(Self { chain: Some(chain), root, whole: Some(words), ..self })
    }

    /// Boots the image in tests/example, made as its project says, with the production initrd and its own command line.
    ///
    /// # Errors
    /// When it is not built.
    pub(crate) fn of_another_project(self) -> Result<Self, Failure> {
        let folder = self.artifacts.top.join("target/image/example");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).doing("the example's image (qemu/build)");
        let words = read("example.cmdline")?.split(' ').map(str::to_owned).collect();
        let (root, initrd) = (RootDisk::of(folder.join("example.raw")), folder.join("example.initrd"));
        Ok(Self { whole: Some(words), root, initrd, ..self })
    }

    /// Boots another root disk.
    #[must_use]
    pub fn root(self, root: RootDisk) -> Self {
        Self { root, ..self }
    }

    /// Names another root hash.
    #[must_use]
    pub fn root_hash(self, root_hash: String) -> Self {
        Self { root_hash, ..self }
    }

    /// Attaches a data disk that these vaults open.
    #[must_use]
    pub fn data(self, data: &'a DataDisk, vaults: &'a Vaults) -> Self {
        Self { data: Some(data), vaults: Some(vaults), ..self }
    }

    /// Adds a word to the command line.
    #[must_use]
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Lets the real system do these tasks, separated by commas (tests/image).
    #[must_use]
    pub fn tasks(self, tasks: &str) -> Self {
        Self { tasks: tasks.to_owned(), ..self }
    }

    /// Boots into the image's own systemd.
    #[must_use]
    pub fn systemd(self) -> Self {
        Self { systemd: true, ..self }
    }

    /// Gives the machine a clock that is `seconds` off.
    #[must_use]
    pub fn clock_off_by(self, seconds: i64) -> Self {
        Self { clock: Some(clock::date(clock::now().saturating_add_signed(seconds))), ..self }
    }

    /// Lets another quoting service than an honest one answer; it is given the host's platform to sign with.
    #[must_use]
    pub fn quotes<S: QuoteSource + 'static>(self, source: impl FnOnce(Platform) -> S + 'static) -> Self {
        Self { quotes: Some(Box::new(|platform| Box::new(source(platform)))), ..self }
    }

    /// Lets the stand-in driver behave as real ones do, where they differ.
    #[must_use]
    pub fn habits(self, habits: Habits) -> Self {
        Self { habits: Some(habits), ..self }
    }

    /// Boots this initrd instead.
    #[must_use]
    pub fn initrd(self, initrd: PathBuf) -> Self {
        Self { initrd, ..self }
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

    /// Leaves the vaults' policies as they are: this image is not let in by the harness.
    #[must_use]
    pub fn ungranted(self) -> Self {
        Self { granted: false, ..self }
    }

    /// Attaches this link in place of the usual one.
    #[must_use]
    pub(crate) fn lan(self, lan: &Lan) -> Self {
        self.no_network().arguments(lan.arguments())
    }

    /// Hangs root and data disk on this.
    #[must_use]
    pub fn bus(self, bus: Bus) -> Self {
        Self { bus, ..self }
    }

    /// Gives the data disk sectors of so many bytes.
    #[must_use]
    pub fn sectors(self, sector_bytes: u32) -> Self {
        Self { sector_bytes, ..self }
    }

    /// Gives the root disk sectors of so many bytes.
    #[must_use]
    pub fn root_sectors(self, sector_bytes: u32) -> Self {
        Self { root_sector_bytes: sector_bytes, ..self }
    }

    /// Lets the policy name the data disk by this serial number, of which the disk itself has what a virtio disk can carry.
    #[must_use]
    pub fn serial(self, serial: &str) -> Self {
        Self { serial: Some(serial.to_owned()), ..self }
    }

    /// Lists these data disks in the policy: the value of `cvm.data`.
    #[must_use]
    pub fn data_disks(self, disks: &str) -> Self {
        Self { data_disks: Some(disks.to_owned()), ..self }
    }

    /// Attaches no link.
    #[must_use]
    pub fn no_network(self) -> Self {
        Self { network: Some(Network::None), ..self }
    }

    /// Gives QEMU more arguments.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Ends the machine after this time, whatever it does.
    #[must_use]
    pub fn for_at_most(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// Gives the machine so many CPUs.
    #[must_use]
    pub fn cpus(self, cpus: u8) -> Self {
        Self { cpus: Some(cpus), ..self }
    }

    /// Copies the console to `watcher` while the machine runs.
    #[must_use]
    pub fn copy_to(self, watcher: Box<dyn Write + Send>) -> Self {
        Self { copy: Some(watcher), ..self }
    }

    fn words(&self) -> Vec<String> {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let mut words: Vec<String> = if self.initrd == self.artifacts.production {
            self.artifacts.words.clone()
        } else {
            self.artifacts.words_for_the_simulation().cloned().collect()
        };
        // No panic makes a test wait, systemd starts without telling the audit log each step, and the kernel does not test its ciphers:
        // a sixth of what a boot to the handoff costs under emulation (11.6 and 9.7 s of CPU). Images with a command line of their own do.
        words.extend(["panic=-1", "audit=0", "cryptomgr.notests"].map(str::to_owned));
        words.push(format!("roothash={}", self.root_hash));
        if self.data.is_some() {
            let listed = self.data_disks.clone();
            let disks = listed.unwrap_or_else(|| format!("serial={}", self.serial.as_deref().unwrap_or("data")));
            words.push(format!("cvm.data={disks}"));
        }
        words.extend(self.vaults.into_iter().flat_map(Vaults::words));
        words.extend(self.words.iter().cloned());
        // Debian 13's kernel lets no TD extend an RTMR, which PID 1 accepts by this word alone.
        let decided = self.initrd == self.artifacts.snp || self.words.iter().any(|word| word.starts_with("cvm.measure="));
        if self.artifacts.line == KernelLine::Stable && self.vaults.is_some() && !decided {
            words.push("cvm.measure=off".to_owned());
        }
        if !self.systemd {
            words.push(format!("init={TASK}"));
        }
        words.push(format!("cvm-tests.task={}", self.tasks));
        if self.ccel.is_some() {
            words.push(measured::RESERVED.to_owned());
        }
        words
    }

    fn machine(&self) -> Machine {
        let direct = self.chain.is_none();
        let default = Machine::default();
        Machine {
            cpus: self.cpus.unwrap_or(default.cpus),
            kernel: direct.then(|| self.artifacts.kernel.clone()),
            initrd: direct.then(|| self.initrd.clone()),
            append: self.words(),
            reports: true,
            disks: std::iter::once(Disk { bus: self.bus, sector_bytes: self.root_sector_bytes, ..self.root.attached() })
                .chain(self.data.map(|data| {
                    let serial: String = self.serial.as_deref().unwrap_or("data").chars().take(20).collect();
                    Disk { bus: self.bus, sector_bytes: self.sector_bytes, log: self.log.clone(), ..data.attached_as(&serial) }
                }))
                .chain(self.more_disks.iter().cloned())
                .collect(),
            network: self.network.clone().unwrap_or(if self.vaults.is_some() { Network::default() } else { Network::None }),
            arguments: (self.clock.iter().flat_map(|base| ["-rtc".into(), format!("base={base}").into()]))
                .chain(self.arguments.iter().cloned())
                .collect(),
            ..default
        }
    }

    /// The machine, measured, with the vaults' policies set to it; then booted until it ends.
    ///
    /// # Errors
    /// When the scenery fails, or key material is on the console.
    pub fn run(self) -> Result<Ended, Failure> {
        self.run_with(|_| Ok(()))
    }

    /// The same, with something to do while it runs.
    ///
    /// # Errors
    /// As [`Boot::run`], and what `during` says.
    pub fn run_with(mut self, during: impl FnOnce(&Vm) -> Result<(), Failure>) -> Result<Ended, Failure> {
        let mut machine = self.machine();
        let td = self.measurement()?;
        self.leave_log(&mut machine)?;
        let tpm = (self.chain.is_some() || self.firmware).then(|| Tpm::start().doing("a TPM")).transpose()?;
        if let Some(tpm) = &tpm {
            machine.firmware = Some(chain::firmware(self.chain, self.artifacts, &self.stage.folder, tpm)?);
        }
        let quotes = match self.vaults {
            Some(vaults) => {
                if self.granted {
                    vaults.grant(&td)?;
                }
                let platform = vaults.pki.platform("host").doing("the host's platform")?;
                let source: Box<dyn QuoteSource> = match self.quotes.take() {
                    Some(quotes) => quotes(platform),
                    None => Box::new(honest(platform)),
                };
                let mut source = source;
                let answer = move |report: &[u8; 1024]| source.quote(report);
                Some(QuotingService::start(Some(&td), self.habits, answer).doing("quoting service")?)
            }
            None => Some(QuotingService::start(Some(&td), None, |_: &[u8; 1024]| QuoteAnswer::Silent).doing("quoting service")?),
        };
        let start = Instant::now();
        let mut vm =
            Vm::boot_with_copy(&Qemu::of_tools_tree(), &machine, quotes.as_ref(), self.copy.take()).doing("starting QEMU")?;
        let exit = during(&vm).and_then(|()| vm.wait(self.longest).doing("waiting for the end"));
        let lines: Vec<String> = vm.console().lines().into_iter().map(|line| line.text).collect();
        let raw = vm.console().raw();
        std::fs::write(self.stage.next_console(), &raw).doing("keeping the console")?;
        let exit = exit?;
        let secrets = self.vaults.map(Vaults::secrets).unwrap_or_default();
        if secrets.iter().any(|secret| leaks(&raw, secret)) {
            return Err(Failure("key material on the console".to_owned()));
        }
        Ok(Ended { exit, lines, took: start.elapsed() })
    }
}

/// A quoting service that signs what the guest's hardware reports.
pub(crate) fn honest(platform: Platform) -> impl machine::QuoteSource + 'static {
    move |report: &[u8; 1024]| match TdQuote::from_tdreport(report).sign(&platform) {
        Ok(quote) => QuoteAnswer::Quote(quote),
        Err(_) => QuoteAnswer::Error(0x0001_2001),
    }
}
