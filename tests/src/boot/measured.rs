//! What a boot measures, and what firmware says of it.
//!
//! The host computes it and the stand-in for a TD believes it: by the prediction that policies are made of.

use std::fs::File;

use predict::{Prediction, SecureBoot, direct};
use qemu::measurement::{self, STAND_IN_FIRMWARE};
use qemu::{Machine, TdInfo};

use super::Boot;
use crate::chain::Chain;
use crate::{Doing, Failure};

/// What firmware would have left, from what it would have measured: memory in MiB, CPUs, events.
pub(super) type MakeLog = Box<dyn Fn(u32, u8, &Prediction) -> Vec<u8>>;

/// Where a log lies in the guest's memory, and the word that keeps the kernel's hands off: real firmware says that in its memory map.
const LOG_AT: u64 = 0x3000_0000;
pub(super) const RESERVED: &str = "memmap=64K$0x30000000";
/// As much as the word reserves.
const LOG_BYTES: u64 = 64 << 10;

impl Boot<'_> {
    /// Starts kernel and initrd through OVMF with a TPM, Secure Boot off: real firmware that measures.
    #[must_use]
    pub(crate) fn through_firmware(self) -> Self {
        Self { firmware: true, ..self }
    }

    /// Leaves a log behind the ACPI table CCEL, as firmware of a TD does.
    #[must_use]
    pub(crate) fn ccel(self, make: impl Fn(u32, u8, &Prediction) -> Vec<u8> + 'static) -> Self {
        Self { ccel: Some(Box::new(make)), ..self }
    }

    /// Measures this command line in place of the machine's own.
    #[must_use]
    pub(crate) fn measures_another_line(self, line: &str) -> Self {
        Self { another_line: Some(line.to_owned()), ..self }
    }

    /// What this boot measures, for a policy.
    ///
    /// # Errors
    /// When a file cannot be read, or is nothing that boots.
    pub fn measurement(&self) -> Result<TdInfo, Failure> {
        let Machine { memory_mib, cpus, .. } = self.machine();
        Ok(TdInfo::of(STAND_IN_FIRMWARE, measurement::platform(memory_mib, cpus), &self.prediction()?))
    }

    /// The events from the first boot option on.
    pub(crate) fn prediction(&self) -> Result<Prediction, Failure> {
        if let Some(chain) = self.chain {
            let image = File::open(chain.image(self.artifacts)).doing("the image")?;
            let secure_boot = if matches!(chain, Chain::Open | Chain::OpenGrub) { SecureBoot::Off } else { SecureBoot::On };
            return predict::image(image, secure_boot).map(|(_, prediction)| prediction).doing("predicting");
        }
        let machine = self.machine();
        let read =
            |path: &Option<std::path::PathBuf>| path.as_deref().map_or(Ok(Vec::new()), std::fs::read).doing("what is booted");
        let (kernel, initrd) = (read(&machine.kernel)?, read(&machine.initrd)?);
        let mut line = self.another_line.clone().unwrap_or_else(|| machine.command_line());
        if self.firmware {
            line.push_str(" initrd=initrd"); // OVMF's doing
        }
        direct::Boot { kernel: &kernel, initrd: &initrd, command_line: &line }.predict().doing("predicting")
    }

    /// Puts the log into the machine's memory and the table that leads to it among the others.
    pub(super) fn leave_log(&self, machine: &mut Machine) -> Result<(), Failure> {
        let Some(make) = &self.ccel else { return Ok(()) };
        let mut log = make(machine.memory_mib, machine.cpus, &self.prediction()?);
        log.resize(usize::try_from(LOG_BYTES).doing("its length")?, 0xff);
        let [log_file, table_file] = ["ccel.log", "ccel.table"].map(|name| self.stage.folder.join(name));
        std::fs::write(&log_file, log).doing("a log")?;
        // Behind the header: type 2 (TDX), subtype, reserved, then length and address of the log (UEFI 2.10, section 38.5).
        let table = [&[2, 0, 0, 0][..], &LOG_BYTES.to_le_bytes(), &LOG_AT.to_le_bytes()].concat();
        std::fs::write(&table_file, table).doing("a table")?;
        machine.arguments.extend([
            "-acpitable".into(),
            format!("sig=CCEL,rev=1,data={}", table_file.display()).into(),
            "-device".into(),
            format!("loader,file={},addr={LOG_AT:#x},force-raw=on", log_file.display()).into(),
        ]);
        Ok(())
    }
}
