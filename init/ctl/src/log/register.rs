//! Names of registers of trust domains and TPMs.

use std::fmt;

use eventlog::ccel::Kind;
use eventlog::cel;
use eventlog::register::Hash;

/// A register of a trust domain or a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// Measurement of the initial contents of a trust domain. No log replays to it.
    Mrtd,
    /// A runtime measurement register, 0 to 3.
    Rtmr(u32),
    /// A platform configuration register.
    Pcr(u32),
    /// An NV index that systemd extends as an additional register. Neither quotes nor files of PCRs contain it.
    NvPcr(u32),
    /// None is named.
    Unnamed,
}

impl Register {
    /// The register for a number in a firmware log.
    pub(crate) const fn of_log(kind: Kind, number: u32) -> Self {
        match (kind, number) {
            (Kind::Cc, 0) => Self::Mrtd,
            (Kind::Cc, number) => Self::Rtmr(number - 1),
            (Kind::Tpm, number) => Self::Pcr(number),
        }
    }

    /// Whether logs can be compared with it.
    pub(crate) const fn is_compared(self) -> bool {
        matches!(self, Self::Rtmr(_) | Self::Pcr(_) | Self::Mrtd)
    }

    /// Whether boot loaders and kernels measure command lines into it.
    pub(crate) const fn is_for_command_lines(self) -> bool {
        matches!(self, Self::Rtmr(2) | Self::Pcr(8..=15))
    }

    /// Its value at reset. PCRs 17 to 22 belong to a dynamic launch and are all ones before it.
    ///
    /// Source: TCG PC Client Platform TPM Profile 1.05, section 4.6.
    pub(crate) fn begins_with(self, hash: Hash, locality: u8) -> Vec<u8> {
        let mut value = vec![if matches!(self, Self::Pcr(17..=22)) { 0xff } else { 0 }; hash.bytes()];
        if let (Self::Pcr(0), Some(last)) = (self, value.last_mut()) {
            *last = locality;
        }
        value
    }
}

impl From<cel::Register> for Register {
    fn from(register: cel::Register) -> Self {
        match register {
            cel::Register::Pcr(number) => Self::Pcr(number),
            cel::Register::Rtmr(number) => Self::Rtmr(number),
            cel::Register::NvIndex(index) => Self::NvPcr(index),
            cel::Register::Unnamed => Self::Unnamed,
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Mrtd => "MRTD".to_owned(),
            Self::Rtmr(number) => format!("RTMR{number}"),
            Self::Pcr(number) => format!("PCR{number}"),
            Self::NvPcr(_) => "NvPCR".to_owned(),
            Self::Unnamed => "-".to_owned(),
        };
        f.pad(&name)
    }
}
