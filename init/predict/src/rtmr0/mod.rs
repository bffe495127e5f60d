//! RTMR0 of a machine on QEMU: the firmware's settings and the machine's shape, which do not depend on the image.
//!
//! [`Machine`] predicts the events from inputs that the operator has: the firmware file, the size of memory, the files that QEMU gives
//! firmware through fw_cfg, boot variables. [`Account`] explains the log of a boot: what each event pins, and which events are those that
//! were predicted. RTMR0 says something only together with the MRTD of a firmware that is trusted: another firmware can extend any value.
//!
//! Source: edk2 `OvmfPkg/Tcg/TdTcg2Dxe`, `OvmfPkg/IntelTdx/TdxHelperLib`, `OvmfPkg/AcpiPlatformDxe`; compared with public logs of trust
//! domains (init/docs/rtmr0.md has the table).

mod account;
pub mod acpi;
mod block;
#[cfg(test)]
mod golden;
mod hob;
pub mod load_option;
mod machine;
pub mod signatures;
#[cfg(test)]
mod tests;
pub mod variable;
mod varstore;

use crate::mrtd::Error as DescriptorError;

pub use account::{Account, Explained, Proof, SecureBootState};
pub use hob::{Memory, memory_of, td_hob};
pub use machine::{Boot, BootVariable, Event, Kind, Machine, SecureBootVariable, cfv};
pub use varstore::{Error as VarstoreError, Varstore};

/// Why an event of RTMR0 is not predicted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The firmware has no usable TDVF descriptor.
    #[error("firmware")]
    Descriptor(#[from] DescriptorError),
    /// The descriptor has no section for the TD HOB.
    #[error("the firmware's TDVF descriptor names no place for the TD HOB")]
    NoHob,
    /// The descriptor has no section with variables, or its bytes are not in the file.
    #[error("the firmware's TDVF descriptor names no variable store (CFV) in the file")]
    NoCfv,
    /// A size of memory that no machine has.
    #[error("expected a size of memory in whole pages of 4 KiB, up to 64 TiB, of which at most 4 GiB are below 4 GiB")]
    Memory,
    /// A section of the firmware is outside of the memory, or overlaps another: its address.
    #[error("the firmware's section at {0:#x} is not within one range of the machine's memory")]
    Outside(u64),
    /// The variable store in the firmware.
    #[error("the firmware's variable store")]
    Varstore(#[from] VarstoreError),
    /// The certificate is in no entry of db.
    #[error("db in the firmware's variable store has no entry with this certificate in DER")]
    NotInDb,
    /// A file that the script of ACPI names was not given.
    #[error("ACPI: the file {0} is missing")]
    NoFile(String),
    /// The script is malformed.
    #[error("ACPI: etc/table-loader: {0}")]
    Script(&'static str),
    /// `BootOrder` and the other boot variables do not fit together.
    #[error("boot variables: {0}")]
    BootVariables(String),
}
