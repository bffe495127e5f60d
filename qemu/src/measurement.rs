//! What a real TD would have measured by the time its init runs, computed from the files that are booted.
//!
//! The host asserts it here and the stand-in driver believes it; on hardware the TDX module and the firmware measure, and this recipe
//! is what a verifier predicts.

use ondisk::register::Hash;
use predict::direct::Boot;
use predict::{Firmware, Prediction};

/// Length of TDINFO in bytes: the part of TDREPORT that describes the TD (Linux `tdx-guest.h`; the TDX module's `TDINFO_STRUCT`).
pub const TD_INFO_LEN: usize = 512;

/// `SEPT_VE_DISABLE`, which every production TD sets and verifiers ask for.
const ATTRIBUTES: u64 = 1 << 28;
/// x87, SSE, AVX, AVX-512, PKRU, CET, AMX: what a TD on a Xeon of the first TDX generation reports.
const XFAM: u64 = 0x0006_1ae7;

/// Measured where the caller names no firmware: a machine here runs SeaBIOS, which measures nothing.
pub const STAND_IN_FIRMWARE: &[u8] = b"cvm-init: stand-in for a TDVF, version 1";

/// A measurement register, or a digest that goes into one: 48 bytes, SHA-384.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub [u8; 48]);

impl Register {
    /// Before anything was measured.
    pub const ZERO: Self = Self([0; 48]);

    /// SHA-384 of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_bytes(&Hash::Sha384.digest(bytes))
    }

    /// From 48 bytes; what is missing is zero.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut register = Self::ZERO;
        register.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        register
    }

    /// Extends: `SHA384(self || digest)`.
    ///
    /// Source: Intel TDX Module ABI, `TDG.MR.RTMR.EXTEND`.
    #[must_use]
    pub fn extended(self, digest: Self) -> Self {
        Self::of(&[self.0, digest.0].concat())
    }

    /// What a register holds after these digests, in order.
    #[must_use]
    pub fn replay(digests: impl IntoIterator<Item = Self>) -> Self {
        digests.into_iter().fold(Self::ZERO, Self::extended)
    }
}

/// The identity of a TD, as TDREPORT and quotes carry it. Fields are public: a test may lie with each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdInfo {
    /// TD attributes; bit 0 is DEBUG.
    pub attributes: u64,
    /// Processor features the TD may use.
    pub xfam: u64,
    /// The firmware.
    pub mrtd: Register,
    /// Set by who builds the TD, as are the next two.
    pub mr_config_id: Register,
    /// See `mr_config_id`.
    pub mr_owner: Register,
    /// See `mr_config_id`.
    pub mr_owner_config: Register,
    /// RTMR0 to RTMR3.
    pub rtmrs: [Register; 4],
}

impl Default for TdInfo {
    fn default() -> Self {
        Self {
            attributes: ATTRIBUTES,
            xfam: XFAM,
            mrtd: Register::ZERO,
            mr_config_id: Register::ZERO,
            mr_owner: Register::ZERO,
            mr_owner_config: Register::ZERO,
            rtmrs: [Register::ZERO; 4],
        }
    }
}

impl TdInfo {
    /// The 512 bytes that stand at offset 512 of TDREPORT. What follows the RTMRs (`SERVTD_HASH`, reserved) is zero.
    ///
    /// Source: Intel TDX Module ABI, `TDINFO_STRUCT`.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TD_INFO_LEN] {
        let mut fields = Vec::with_capacity(TD_INFO_LEN);
        fields.extend(self.attributes.to_le_bytes());
        fields.extend(self.xfam.to_le_bytes());
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &self.rtmrs;
        for register in [&self.mrtd, &self.mr_config_id, &self.mr_owner, &self.mr_owner_config, rtmr0, rtmr1, rtmr2, rtmr3] {
            fields.extend(register.0);
        }
        let mut bytes = [0; TD_INFO_LEN];
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// A kernel that firmware starts with no boot loader between (`qemu -kernel`), with everything that is measured of it.
#[derive(Debug, Clone, Copy)]
pub struct DirectBoot<'a> {
    /// The firmware file's bytes.
    pub firmware: &'a [u8],
    /// The kernel file's bytes: a PE image with the EFI stub. On hardware QEMU patches its setup header before firmware sees it, so
    /// that RTMR1 differs from this.
    pub kernel: &'a [u8],
    /// The initrd file's bytes; empty: none, and none is measured.
    pub initrd: &'a [u8],
    /// Exactly what the kernel is given. (OVMF adds ` initrd=initrd` to what QEMU says; SeaBIOS does not.)
    pub command_line: &'a str,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u8,
}

impl DirectBoot<'_> {
    /// The TD this boot would be.
    ///
    /// # Errors
    /// When the kernel is no PE image.
    pub fn td_info(&self) -> Result<TdInfo, predict::Error> {
        let boot = Boot { kernel: self.kernel, initrd: self.initrd, command_line: self.command_line };
        Ok(TdInfo::of(self.firmware, self.platform(), &boot.predict()?))
    }

    /// RTMR0. Firmware measures the TD HOB and ACPI tables, which tell memory and CPUs; one line of text stands for them.
    fn platform(&self) -> Register {
        let shape = format!("cvm machine 1: memory={}MiB cpus={}", self.memory_mib, self.cpus);
        Register::replay([Register::of(shape.as_bytes())])
    }
}

impl TdInfo {
    /// The TD that has this firmware and RTMR0, and measures as predicted.
    #[must_use]
    pub fn of(firmware: &[u8], rtmr0: Register, prediction: &Prediction) -> Self {
        let predicted = |number| Register::from_bytes(&prediction.rtmr(number, Firmware::Td));
        let rtmrs = [rtmr0, predicted(1), predicted(2), Register::ZERO];
        Self { mrtd: Register::of(firmware), rtmrs, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn td_info_has_its_registers_where_tdreport_has_them() {
        let rtmrs = [1, 2, 3, 4].map(|byte| Register([byte; 48]));
        let bytes = TdInfo { mrtd: Register([0xaa; 48]), rtmrs, ..TdInfo::default() }.to_bytes();
        assert_eq!(bytes[3], 0x10, "SEPT_VE_DISABLE");
        for (start, byte) in [(528, 0xaa), (720, 1), (768, 2), (816, 3), (864, 4)] {
            assert_eq!(bytes[start - 512..start - 512 + 48], [byte; 48], "at {start} of TDREPORT");
        }
        assert_eq!(bytes[912 - 512..], [0; 112]);
    }
}
