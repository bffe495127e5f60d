//! What a boot measures, and the event log that firmware leaves.
//!
//! With [`Boot::cc`] firmware makes RTMR0 to RTMR2 and the event log in the same boot, and policies are made from the prediction. In other
//! boots the host computes the registers too, by that prediction, and the stand-in for tdx-guest reports them unchecked. MRTD is a
//! constant in both.

use std::fs::File;

use predict::direct::{self, KernelSignature};
use predict::{Prediction, SecureBoot};
use qemu::measurement::{self, STAND_IN_FIRMWARE};
use qemu::{Machine, TdInfo};

use super::Boot;
use crate::boot_chain::FirmwareShape;
use crate::{Context, Failure};

/// Makes an event log from memory in MiB, the number of CPUs and the predicted events.
pub(super) type MakeLog = Box<dyn Fn(u32, u8, &Prediction) -> Vec<u8>>;

/// Address of the event log in the guest's memory, and the argument that makes the kernel reserve it. Real firmware reserves it
/// in its memory map.
const LOG_AT: u64 = 0x3000_0000;
pub(super) const RESERVED: &str = "memmap=64K$0x30000000";
/// The size of the reserved memory.
const LOG_BYTES: u64 = 64 << 10;

impl Boot<'_> {
    /// Starts kernel and initrd through OVMF with a TPM, without Secure Boot: firmware that measures for real.
    #[must_use]
    pub(crate) fn through_firmware(self) -> Self {
        self.with_firmware(|_| ())
    }

    /// Boots through OVMF with the registers of a TD (qemu/cc-firmware).
    #[must_use]
    pub fn cc(self) -> Self {
        self.with_firmware(|shape| shape.cc = true)
    }

    /// Boots through OVMF, with a TPM or without one.
    #[must_use]
    pub fn tpm(self, has_tpm: bool) -> Self {
        self.with_firmware(|shape| shape.tpm = has_tpm)
    }

    /// Starts kernel and initrd through OVMF with Secure Boot on, where `db` contains only the builder's key.
    #[must_use]
    pub(crate) fn secure_boot(self) -> Self {
        self.with_firmware(|shape| shape.secure_boot = true)
    }

    fn with_firmware(self, change: impl FnOnce(&mut FirmwareShape)) -> Self {
        let mut shape = self.firmware.unwrap_or_default();
        change(&mut shape);
        Self { firmware: Some(shape), ..self }
    }

    /// What this boot's firmware has.
    pub(crate) fn firmware_shape(&self) -> FirmwareShape {
        self.firmware.unwrap_or_default()
    }

    /// The name of this boot's firmware in predictions.
    pub(crate) fn firmware_kind(&self) -> predict::Firmware {
        self.firmware.map_or_else(predict::Firmware::default, FirmwareShape::kind)
    }

    /// Puts an event log into memory and points the ACPI table CCEL to it, as firmware of a TD does.
    #[must_use]
    pub(crate) fn ccel(self, make: impl Fn(u32, u8, &Prediction) -> Vec<u8> + 'static) -> Self {
        Self { ccel: Some(Box::new(make)), ..self }
    }

    /// Measures this command line instead of the machine's own.
    #[must_use]
    pub(crate) fn measuring_cmdline(self, line: &str) -> Self {
        Self { measured_cmdline: Some(line.to_owned()), ..self }
    }

    /// What this boot measures, for a policy.
    ///
    /// # Errors
    /// A file cannot be read, or cannot be booted.
    pub fn measurement(&self) -> Result<TdInfo, Failure> {
        let Machine { memory_mib, cpus, .. } = self.machine();
        let platform = measurement::platform(memory_mib, cpus);
        Ok(TdInfo::of(STAND_IN_FIRMWARE, platform, &self.prediction()?, self.firmware_kind()))
    }

    /// The events that this boot measures, from the first boot option on.
    pub(crate) fn prediction(&self) -> Result<Prediction, Failure> {
        if let Some(chain) = self.chain {
            let image = File::open(chain.image(self.artifacts)).context("reading the image")?;
            return predict::image(image, self.secure_boot_state())
                .map(|(_, prediction)| prediction)
                .context("predicting the measurements");
        }
        if let Some(uki) = &self.uki {
            let image = std::fs::read(uki).context("reading the unified kernel image")?;
            return direct::uki(&image, self.secure_boot_state()).context("predicting the measurements");
        }
        let machine = self.machine();
        let read = |path: &Option<std::path::PathBuf>| {
            path.as_deref().map_or(Ok(Vec::new()), std::fs::read).context("reading kernel and initrd")
        };
        let (kernel, initrd) = (read(&machine.kernel)?, read(&machine.initrd)?);
        let mut line = self.measured_cmdline.clone().unwrap_or_else(|| machine.command_line());
        if self.firmware.is_some() {
            line.push_str(" initrd=initrd"); // OVMF adds it
        }
        let signature = match (self.secure_boot_state(), &self.signed_kernel) {
            (SecureBoot::On, None) => KernelSignature::NotVerified,
            _ => KernelSignature::Verified,
        };
        let boot = direct::Boot { kernel: &kernel, initrd: &initrd, command_line: &line };
        boot.predict_with(signature).context("predicting the measurements")
    }

    fn secure_boot_state(&self) -> SecureBoot {
        if self.firmware.is_some_and(|shape| shape.secure_boot) { SecureBoot::On } else { SecureBoot::Off }
    }

    /// Adds the event log and the CCEL table to the machine.
    pub(super) fn add_event_log(&self, machine: &mut Machine) -> Result<(), Failure> {
        let Some(make) = &self.ccel else { return Ok(()) };
        let mut log = make(machine.memory_mib, machine.cpus, &self.prediction()?);
        log.resize(usize::try_from(LOG_BYTES).context("converting the length of the log")?, 0xff);
        let [log_file, table_file] = ["ccel.log", "ccel.table"].map(|name| self.context.folder.join(name));
        std::fs::write(&log_file, log).context("writing the event log")?;
        // After the ACPI header: type 2 (TDX), subtype, reserved, then length and address of the log (UEFI 2.10, section 38.5).
        let table = [&[2, 0, 0, 0][..], &LOG_BYTES.to_le_bytes(), &LOG_AT.to_le_bytes()].concat();
        std::fs::write(&table_file, table).context("writing the CCEL table")?;
        machine.arguments.extend([
            "-acpitable".into(),
            format!("sig=CCEL,rev=1,data={}", table_file.display()).into(),
            "-device".into(),
            format!("loader,file={},addr={LOG_AT:#x},force-raw=on", log_file.display()).into(),
        ]);
        Ok(())
    }
}
