//! What a real TD would have measured by the time its init runs, computed from the files that are booted.
//!
//! The host asserts it here and the stand-in driver believes it; on hardware the TDX module and the firmware measure, and this recipe
//! is what a verifier predicts.

use ring::digest::{SHA384, digest};

use crate::authenticode;

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
        Self::from_digest(&digest(&SHA384, bytes))
    }

    pub(crate) fn from_digest(digest: &ring::digest::Digest) -> Self {
        let mut register = Self::ZERO;
        register.0.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
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
    pub fn td_info(&self) -> Result<TdInfo, authenticode::Error> {
        let rtmrs = [self.platform(), self.loader()?, self.payload(), Register::ZERO];
        Ok(TdInfo { mrtd: Register::of(self.firmware), rtmrs, ..TdInfo::default() })
    }

    /// RTMR0. Firmware measures the TD HOB and ACPI tables, which tell memory and CPUs; one line of text stands for them.
    fn platform(&self) -> Register {
        let shape = format!("cvm machine 1: memory={}MiB cpus={}", self.memory_mib, self.cpus);
        Register::replay([Register::of(shape.as_bytes())])
    }

    /// RTMR1, as edk2 fills it: the kernel when it is loaded (`EV_EFI_BOOT_SERVICES_APPLICATION`), and the three `EV_EFI_ACTION`s of
    /// leaving firmware.
    ///
    /// Source: edk2 `OvmfPkg/Tcg/TdTcg2Dxe`, TCG PC Client Platform Firmware Profile 1.05 section 3.3.4.5 (PCR 4).
    fn loader(&self) -> Result<Register, authenticode::Error> {
        let actions: [&[u8]; 3] = [
            b"Calling EFI Application from Boot Option",
            b"Exit Boot Services Invocation",
            b"Exit Boot Services Returned with Success",
        ];
        Ok(Register::replay([authenticode::digest(self.kernel)?].into_iter().chain(actions.map(Register::of))))
    }

    /// RTMR2, as the kernel's EFI stub fills it: `LoadOptions`, UTF-16 little endian with its NUL, then the initrd.
    ///
    /// Source: Linux drivers/firmware/efi/libstub/efi-stub-helper.c, `efi_measure_tagged_event`; only in machines without a TPM.
    fn payload(&self) -> Register {
        let load_options: Vec<u8> = self.command_line.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let initrd = (!self.initrd.is_empty()).then(|| Register::of(self.initrd));
        Register::replay([Register::of(&load_options)].into_iter().chain(initrd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python 3.11 hashlib on 2026-11-23: RTMR2 of `"a b"` and initrd `"initrd"` is
    /// `e(e(bytes(48), "a b\0".encode("utf-16le")), b"initrd")` where `e = lambda r, d: sha384(r + sha384(d).digest()).digest()`.
    const RTMR2: Register = Register([
        0xa8, 0x92, 0x21, 0x93, 0x2e, 0xf7, 0xfa, 0x9a, 0xf6, 0x14, 0x0f, 0x3d, 0xff, 0x1c, 0x73, 0x3e, 0xe0, 0x85, 0xae, 0x61,
        0x9c, 0x8b, 0x0b, 0x26, 0xad, 0x39, 0xd6, 0x6f, 0x3c, 0xdd, 0x0c, 0x86, 0x3d, 0xd5, 0x19, 0x77, 0xf2, 0x4d, 0x6d, 0x5b,
        0x6b, 0xee, 0xc2, 0x03, 0xc5, 0x34, 0xc2, 0x9c,
    ]);

    #[test]
    fn payload_is_load_options_then_initrd() {
        let boot = DirectBoot { firmware: b"", kernel: b"", initrd: b"initrd", command_line: "a b", memory_mib: 1, cpus: 1 };
        assert_eq!(boot.payload(), RTMR2);
    }

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

    #[test]
    fn a_machine_without_initrd_measures_the_command_line_alone() {
        let boot = DirectBoot { firmware: b"", kernel: b"", initrd: b"", command_line: "", memory_mib: 1, cpus: 1 };
        assert_eq!(boot.payload(), Register::replay([Register::of(&[0, 0])]));
    }
}
