//! Images that boot through firmware. They contain their command line, and with it the vaults' addresses.

use std::path::PathBuf;

use qemu::{CcDriver, CcRecorder, Firmware, Tpm};

use crate::{Artifacts, Context, Failure};

/// The programs between the machine's reset and the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BootChain {
    /// A unified kernel image, signed by its builder; the firmware contains only the builder's key.
    Uki,
    /// The same image on a host that turned Secure Boot off and set an EFI variable for systemd.
    Open,
    /// Debian's shim and GRUB; the firmware contains Microsoft's keys, and the builder's for the simulated module.
    Grub,
    /// The same with Secure Boot off.
    OpenGrub,
}

impl BootChain {
    const fn name(self) -> &'static str {
        match self {
            Self::Uki | Self::Open => "uki",
            Self::Grub | Self::OpenGrub => "grub",
        }
    }

    /// The image's file.
    pub(crate) fn image(self, artifacts: &Artifacts) -> PathBuf {
        self.folder(artifacts).join(match self {
            Self::Uki | Self::Open => "signed.raw",
            Self::Grub | Self::OpenGrub => "cvm.raw",
        })
    }

    /// The command line in the image.
    ///
    /// # Errors
    /// The image is not built.
    pub(crate) fn command_line(self, artifacts: &Artifacts) -> Result<String, Failure> {
        std::fs::read_to_string(self.folder(artifacts).join("cvm.cmdline"))
            .context("reading the image's command line (qemu/build makes it)")
    }

    /// Ports on the host's loopback where the image expects its vaults, in the order of its command line (tests/chains).
    pub(crate) const fn ports(self) -> [u16; 3] {
        match self {
            Self::Uki | Self::Open => [18441, 18442, 18443],
            Self::Grub | Self::OpenGrub => [18444, 18445, 18446],
        }
    }

    fn folder(self, artifacts: &Artifacts) -> PathBuf {
        artifacts.top.join("target/image").join(self.name())
    }
}

/// What a machine's firmware has, and what it measures into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirmwareShape {
    /// Whether Secure Boot is on.
    pub(crate) secure_boot: bool,
    /// Whether there is a TPM.
    pub(crate) tpm: bool,
    /// Whether it measures into the registers of a TD (qemu/cc-firmware).
    pub(crate) cc: bool,
}

impl Default for FirmwareShape {
    /// For a direct boot: Secure Boot off, a TPM.
    fn default() -> Self {
        Self { secure_boot: false, tpm: true, cc: false }
    }
}

impl FirmwareShape {
    /// For the image of a chain: a TPM.
    pub(crate) const fn of(chain: BootChain) -> Self {
        let secure_boot = matches!(chain, BootChain::Uki | BootChain::Grub);
        Self { secure_boot, tpm: true, cc: false }
    }

    /// The name of this firmware in predictions. Without [`FirmwareShape::cc`] the host computes the registers: those of a TD without a TPM.
    pub(crate) fn kind(self) -> predict::Firmware {
        if self.cc && self.tpm { predict::Firmware::TdWithTpm } else { predict::Firmware::Td }
    }
}

/// The firmware of this shape, with its variables copied to `folder`: those of the chain; without a chain no keys, or the builder's key for
/// Secure Boot.
///
/// # Errors
/// The variables cannot be copied.
pub(crate) fn firmware(
    chain: Option<BootChain>,
    shape: FirmwareShape,
    artifacts: &Artifacts,
    folder: &std::path::Path,
    (tpm, cc): (Option<&Tpm>, Option<&CcRecorder>),
) -> Result<Firmware, Failure> {
    let variables = folder.join("variables.fd");
    let built = |name: &str| artifacts.top.join("target/firmware").join(name);
    let keys = match chain {
        None if shape.secure_boot => built("uki.fd"),
        None => PathBuf::from("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        Some(BootChain::Open) => built("open.fd"),
        Some(BootChain::OpenGrub) => built("open-grub.fd"),
        Some(chain) => built(chain.name()).with_extension("fd"),
    };
    std::fs::copy(keys, &variables).context("copying the firmware's variables (qemu/build makes them)")?;
    let cc = cc.map(|recorder| CcDriver { rom: built("cc.rom"), record: recorder.socket() });
    Ok(Firmware { variables, tpm: tpm.map(Tpm::socket), cc })
}

/// Sets variables in the firmware's flash, from JSON as virt-fw-vars reads it.
///
/// # Errors
/// virt-fw-vars fails.
pub(crate) fn set_variables(firmware: &Firmware, json: &str, folder: &std::path::Path) -> Result<(), Failure> {
    let file = folder.join("variables.json");
    std::fs::write(&file, json).context("writing EFI variables")?;
    let mut command = std::process::Command::new("virt-fw-vars");
    command.arg("--inplace").arg(&firmware.variables).arg("--set-json").arg(&file);
    let output = command.output().context("running virt-fw-vars")?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Failure(format!("virt-fw-vars: {}", String::from_utf8_lossy(&output.stderr))))
    }
}
