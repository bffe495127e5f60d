//! Runs a configured boot.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dcap::{Platform, TdQuote};
use qemu::{CcRecorder, Disk, Machine, Measured, Network, Qemu, QuoteAnswer, QuoteSource, QuotingService, TdInfo, Tpm, Vm};

use super::{Boot, BootResult, CcRecord, TASK, measured};
use crate::boot_chain::FirmwareShape;
use crate::leak::leaks;
use crate::{Context, Failure, KernelSeries, Vaults, boot_chain};

/// The longest time by which the record of what firmware measured is behind the machine.
const RECORD: Duration = Duration::from_secs(5);
/// The longest from the machine's start to the end of boot services under emulation: usually ten seconds.
const FIRMWARE: Duration = Duration::from_secs(120);

impl Boot<'_> {
    fn whole_cmdline(&self) -> Vec<String> {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let mut cmdline: Vec<String> = if self.initrd == self.artifacts.production {
            self.artifacts.cmdline.clone()
        } else {
            self.artifacts.cmdline_for_simulation().cloned().collect()
        };
        // Kernel arguments that save a sixth of the CPU time to the handoff under emulation (9.7 s instead of 11.6 s): no wait
        // after a panic, no audit records of systemd, no self-tests of ciphers. Images that contain their command line do
        // without.
        cmdline.extend(["panic=-1", "audit=0", "cryptomgr.notests"].map(str::to_owned));
        cmdline.push(format!("roothash={}", self.root_hash));
        if self.data.is_some() {
            let listed = self.data_disks.clone();
            let disks = listed.unwrap_or_else(|| format!("serial={}", self.serial.as_deref().unwrap_or("data")));
            cmdline.push(format!("cvm.data={disks}"));
        }
        cmdline.extend(self.vaults.into_iter().flat_map(Vaults::cmdline));
        cmdline.extend(self.cmdline.iter().cloned());
        // Debian 13's kernel lets no TD extend an RTMR; PID 1 continues there only with this argument.
        let decided =
            self.initrd == self.artifacts.snp || self.cmdline.iter().any(|argument| argument.starts_with("cvm.measure="));
        if self.artifacts.series == KernelSeries::Stable && self.vaults.is_some() && !decided {
            cmdline.push("cvm.measure=off".to_owned());
        }
        if !self.systemd {
            cmdline.push(format!("init={TASK}"));
        }
        cmdline.push(format!("cvm-tests.task={}", self.tasks));
        if self.ccel.is_some() {
            cmdline.push(measured::RESERVED.to_owned());
        }
        cmdline
    }

    /// The hypervisor's kernel in a direct boot.
    fn kernel(&self) -> &PathBuf {
        self.uki.as_ref().or(self.signed_kernel.as_ref()).unwrap_or(&self.artifacts.kernel)
    }

    pub(super) fn machine(&self) -> Machine {
        let direct = self.chain.is_none();
        let default = Machine::default();
        Machine {
            cpus: self.cpus.unwrap_or(default.cpus),
            kernel: direct.then(|| self.kernel().clone()),
            initrd: (direct && self.uki.is_none()).then(|| self.initrd.clone()),
            append: self.whole_cmdline(),
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

    /// Computes the measurement, sets the vaults' policies to it, boots and waits for the end.
    ///
    /// # Errors
    /// A part of the setup fails, or the console shows key material.
    pub fn run(self) -> Result<BootResult, Failure> {
        self.run_with(|_| Ok(()))
    }

    /// Like [`Boot::run`]; `during` works while the machine runs.
    ///
    /// # Errors
    /// As [`Boot::run`], and the error of `during`.
    pub fn run_with(self, during: impl FnOnce(&Vm) -> Result<(), Failure>) -> Result<BootResult, Failure> {
        self.run_beside(|vm, _| during(vm))
    }

    /// Runs a boot with [`Boot::cc`] until the kernel ended boot services, and stops it there.
    ///
    /// # Errors
    /// As [`Boot::run`]; boot services did not end in time.
    pub(crate) fn run_to_kernel(self) -> Result<BootResult, Failure> {
        let result = self.for_at_most(Duration::ZERO).run_beside(|_, measured| {
            // Without registers the result says how far the machine came.
            measured.and_then(|measured| measured.registers_at_exit(FIRMWARE));
            Ok(())
        })?;
        result.cc()?;
        Ok(result)
    }

    fn run_beside(mut self, during: impl FnOnce(&Vm, Option<&Measured>) -> Result<(), Failure>) -> Result<BootResult, Failure> {
        let mut machine = self.machine();
        let td = self.measurement()?;
        self.add_event_log(&mut machine)?;
        let shape = self.firmware;
        let has = |part: fn(FirmwareShape) -> bool| shape.is_some_and(part);
        let tpm = has(|shape| shape.tpm).then(|| Tpm::start().context("starting a TPM")).transpose()?;
        let recorder = has(|shape| shape.cc).then(|| CcRecorder::start().context("listening to the firmware")).transpose()?;
        if let Some(shape) = shape {
            let (folder, parts) = (&self.context.folder, (tpm.as_ref(), recorder.as_ref()));
            let firmware = boot_chain::firmware(self.chain, shape, self.artifacts, folder, parts)?;
            if let Some(json) = &self.efi_variables {
                boot_chain::set_variables(&firmware, json, folder)?;
            }
            machine.firmware = Some(firmware);
        }
        let measured = recorder.as_ref().map(CcRecorder::measured);
        let quotes = self.quoting_service(td, measured.clone())?;
        let start = Instant::now();
        let mut vm =
            Vm::boot_with_copy(&Qemu::of_tools_tree(), &machine, Some(&quotes), self.copy.take()).context("starting QEMU")?;
        let exit = during(&vm, measured.as_ref()).and_then(|()| vm.wait(self.longest).context("waiting for the end"));
        let lines: Vec<String> = vm.console().lines().into_iter().map(|line| line.text).collect();
        let raw = vm.console().raw();
        let console = self.context.next_console();
        std::fs::write(&console, &raw).context("saving the console")?;
        let exit = exit?;
        let secrets = self.vaults.map(Vaults::secrets).unwrap_or_default();
        if secrets.iter().any(|secret| leaks(&raw, secret)) {
            return Err(Failure("the console shows key material: see the saved console log".to_owned()));
        }
        let cc = measured.and_then(|measured| {
            let rtmrs = measured.registers_at_exit(Duration::ZERO)?;
            Some(CcRecord { log: measured.log(), rtmrs })
        });
        if let Some(cc) = &cc {
            std::fs::write(console.with_extension("ccel"), &cc.log).context("saving the event log")?;
        }
        Ok(BootResult { exit, lines, took: start.elapsed(), cc })
    }

    /// Starts the quoting service. TDINFO is `td`; with `measured` its RTMRs are those that firmware made in this boot.
    fn quoting_service(&mut self, td: TdInfo, measured: Option<Measured>) -> Result<QuotingService, Failure> {
        let mut source: Box<dyn QuoteSource> = match self.vaults {
            Some(vaults) => {
                if self.granted {
                    vaults.grant(&td)?;
                }
                let platform = vaults.pki.platform("host").context("making the host's platform")?;
                match self.quotes.take() {
                    Some(quotes) => quotes(platform),
                    None => Box::new(honest(platform)),
                }
            }
            None => Box::new(|_: &[u8; 1024]| QuoteAnswer::Silent),
        };
        // The kernel that asks has ended boot services; the record of that is at most a moment behind.
        let td_info = move || match &measured {
            Some(measured) => measured.td_info(&td, RECORD),
            None => Some(td.clone()),
        };
        let answer = move |report: &[u8; 1024]| source.quote(report);
        let quirks = self.quirks.filter(|_| self.vaults.is_some());
        QuotingService::start(td_info, quirks, answer).context("starting the quoting service")
    }
}

/// An honest source of quotes: signs what the guest's report contains.
pub(crate) fn honest(platform: Platform) -> impl qemu::QuoteSource + 'static {
    move |report: &[u8; 1024]| match TdQuote::from_tdreport(report).sign(&platform) {
        Ok(quote) => QuoteAnswer::Quote(quote),
        Err(_) => QuoteAnswer::Error(0x0001_2001),
    }
}
