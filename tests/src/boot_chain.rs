//! Images that boot through firmware. They contain their command line, and with it the vaults' addresses.

use std::path::PathBuf;

use qemu::{Firmware, Tpm};

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

/// The firmware for this chain, with its variables copied to `folder`; without a chain, firmware without keys.
///
/// # Errors
/// The variables cannot be copied.
pub(crate) fn firmware(
    chain: Option<BootChain>,
    artifacts: &Artifacts,
    folder: &std::path::Path,
    tpm: &Tpm,
) -> Result<Firmware, Failure> {
    let variables = folder.join("variables.fd");
    let keys = match chain {
        None => PathBuf::from("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        Some(BootChain::Open) => artifacts.top.join("target/firmware/open.fd"),
        Some(BootChain::OpenGrub) => artifacts.top.join("target/firmware/open-grub.fd"),
        Some(chain) => artifacts.top.join("target/firmware").join(chain.name()).with_extension("fd"),
    };
    std::fs::copy(keys, &variables).context("copying the firmware's variables (qemu/build makes them)")?;
    Ok(Firmware { variables, tpm: tpm.socket() })
}
