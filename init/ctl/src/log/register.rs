//! A register by name, whichever machine it is of.

use std::fmt;

use eventlog::ccel::Kind;
use eventlog::cel;
use eventlog::register::Hash;

/// Of a trust domain or of a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// What the domain was built of; no log replays to it.
    Mrtd,
    /// A runtime measurement register, 0 to 3.
    Rtmr(u32),
    /// A platform configuration register.
    Pcr(u32),
}

impl Register {
    /// That which a firmware's log means by a number.
    pub(crate) const fn of_log(kind: Kind, number: u32) -> Self {
        match (kind, number) {
            (Kind::Cc, 0) => Self::Mrtd,
            (Kind::Cc, number) => Self::Rtmr(number - 1),
            (Kind::Tpm, number) => Self::Pcr(number),
        }
    }

    /// Its value when the machine starts. PCRs 17 to 22 are those of a late launch: all ones until there is one.
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
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Mrtd => "MRTD".to_owned(),
            Self::Rtmr(number) => format!("RTMR{number}"),
            Self::Pcr(number) => format!("PCR{number}"),
        };
        f.pad(&name)
    }
}
