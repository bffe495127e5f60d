//! Images that boot through firmware, as mkosi made them: the command line is in them, and so are the vaults' addresses.

use std::path::PathBuf;

use qemu::{Firmware, Tpm};

use crate::{Artifacts, Doing, Failure};

/// From firmware to kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    /// A unified kernel image, signed by its builder; the firmware knows the builder's key alone.
    Uki,
    /// The same image in the hands of a host that turned Secure Boot off and left a variable for systemd.
    Open,
    /// Debian's shim and GRUB; the firmware knows Microsoft's keys, and the builder's for a module of the simulation.
    Grub,
    /// The same with Secure Boot off.
    OpenGrub,
}

impl Chain {
    const fn name(self) -> &'static str {
        match self {
            Self::Uki | Self::Open => "uki",
            Self::Grub | Self::OpenGrub => "grub",
        }
    }

    /// The image.
    pub(crate) fn image(self, artifacts: &Artifacts) -> PathBuf {
        self.folder(artifacts).join(match self {
            Self::Uki | Self::Open => "signed.raw",
            Self::Grub | Self::OpenGrub => "cvm.raw",
        })
    }

    /// The command line in it.
    ///
    /// # Errors
    /// When the image is not built.
    pub(crate) fn command_line(self, artifacts: &Artifacts) -> Result<String, Failure> {
        std::fs::read_to_string(self.folder(artifacts).join("cvm.cmdline")).doing("the image's command line (qemu/build)")
    }

    /// Where it looks for vaults, in the order of its command line: ports of the host's loopback (tests/chains).
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

/// Firmware for this chain, its variables in `folder`; without one, for a kernel of the host's, with no keys at all.
///
/// # Errors
/// As the file system.
pub(crate) fn firmware(
    chain: Option<Chain>,
    artifacts: &Artifacts,
    folder: &std::path::Path,
    tpm: &Tpm,
) -> Result<Firmware, Failure> {
    let variables = folder.join("variables.fd");
    let keys = match chain {
        None => PathBuf::from("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        Some(Chain::Open) => artifacts.top.join("target/firmware/open.fd"),
        Some(Chain::OpenGrub) => artifacts.top.join("target/firmware/open-grub.fd"),
        Some(chain) => artifacts.top.join("target/firmware").join(chain.name()).with_extension("fd"),
    };
    std::fs::copy(keys, &variables).doing("the firmware's variables (qemu/build)")?;
    Ok(Firmware { variables, tpm: tpm.socket() })
}
