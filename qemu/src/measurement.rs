//! The measurements that a real TD would have when its init runs, computed from the booted files.
//!
//! Here the host computes them and the stand-in for tdx-guest reports them unchecked, in boots without the driver of [`crate::cc`]. On
//! hardware the TDX module and the firmware measure; a verifier predicts the same values.

use eventlog::register::Hash;
use predict::direct::Boot;
use predict::{Firmware, Prediction};

/// Length of TDINFO in bytes: the part of TDREPORT that describes the TD (Linux `tdx-guest.h`; the TDX module's `TDINFO_STRUCT`).
pub const TD_INFO_LEN: usize = 512;

/// `SEPT_VE_DISABLE`, which every production TD sets and verifiers require.
const ATTRIBUTES: u64 = 1 << 28;
/// x87, SSE, AVX, AVX-512, PKRU, CET, AMX: as a TD on a Xeon of the first TDX generation reports.
const XFAM: u64 = 0x0006_1ae7;

/// The firmware that is measured by default; the machine runs SeaBIOS, which measures nothing.
pub const STAND_IN_FIRMWARE: &[u8] = b"cvm-init: stand-in for a TDVF, version 1";

/// The value of a measurement register, or a digest that extends one: 48 bytes, SHA-384.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub [u8; 48]);

impl Register {
    /// The initial value.
    pub const ZERO: Self = Self([0; 48]);

    /// SHA-384 of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_bytes(&Hash::Sha384.digest(bytes))
    }

    /// Copies up to 48 bytes; missing ones are zero.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut register = Self::ZERO;
        register.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        register
    }

    /// `SHA384(self || digest)`.
    ///
    /// Source: Intel TDX Module ABI, `TDG.MR.RTMR.EXTEND`.
    #[must_use]
    pub fn extended(self, digest: Self) -> Self {
        Self::of(&[self.0, digest.0].concat())
    }

    /// The value of a register after these digests, in order.
    #[must_use]
    pub fn replay(digests: impl IntoIterator<Item = Self>) -> Self {
        digests.into_iter().fold(Self::ZERO, Self::extended)
    }
}

/// The identity of a TD in TDREPORT and quotes. Fields are public: a test may set each to a wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdInfo {
    /// TD attributes; bit 0 is DEBUG.
    pub attributes: u64,
    /// Processor features that the TD may use.
    pub xfam: u64,
    /// The measurement of the firmware.
    pub mrtd: Register,
    /// Set by the TD's creator, as are the next two.
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
    /// The 512 bytes at offset 512 of TDREPORT. What follows the RTMRs (`SERVTD_HASH`, reserved) is zero.
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

/// A kernel that firmware starts without a boot loader (`qemu -kernel`), with everything that is measured.
#[derive(Debug, Clone, Copy)]
pub struct DirectBoot<'a> {
    /// The firmware file.
    pub firmware: &'a [u8],
    /// The kernel file: a PE image with the EFI stub. On hardware QEMU changes its setup header before firmware reads it, so
    /// RTMR1 differs.
    pub kernel: &'a [u8],
    /// The initrd file; if empty, there is none and none is measured.
    pub initrd: &'a [u8],
    /// The kernel's command line. (OVMF adds ` initrd=initrd` to it; SeaBIOS does not.)
    pub command_line: &'a str,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u8,
}

impl DirectBoot<'_> {
    /// The identity of the TD that boots this.
    ///
    /// # Errors
    /// The kernel is no PE image.
    pub fn td_info(&self) -> Result<TdInfo, predict::Error> {
        let boot = Boot { kernel: self.kernel, initrd: self.initrd, command_line: self.command_line };
        Ok(TdInfo::of(self.firmware, platform(self.memory_mib, self.cpus), &boot.predict()?, Firmware::Td))
    }
}

/// RTMR0. Firmware measures the TD HOB and ACPI tables, which describe memory and CPUs; here one line of text replaces them.
#[must_use]
pub fn platform(memory_mib: u32, cpus: u8) -> Register {
    Register::replay([Register::of(shape(memory_mib, cpus).as_bytes())])
}

/// The text that replaces the platform's tables in RTMR0.
fn shape(memory_mib: u32, cpus: u8) -> String {
    format!("cvm machine 1: memory={memory_mib}MiB cpus={cpus}")
}

/// The event log that firmware of a TD leaves for this machine and these events, in the form of a CCEL: crypto-agile, SHA-384
/// only, registers numbered from 1, padded with 0xff.
#[must_use]
pub fn ccel(memory_mib: u32, cpus: u8, prediction: &Prediction) -> Vec<u8> {
    let mut log = [1_u32, EV_NO_ACTION].map(u32::to_le_bytes).concat();
    log.extend([0; 20]);
    let mut header = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0c\0\x30\0\0".to_vec();
    log.extend(u32::try_from(header.len()).unwrap_or(0).to_le_bytes());
    log.append(&mut header);
    let mut add = |register: u32, kind: u32, digest: &[u8], text: &str| {
        log.extend([register, kind, 1].map(u32::to_le_bytes).concat());
        log.extend(Hash::Sha384.id().to_le_bytes());
        log.extend(digest);
        log.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        log.extend(text.as_bytes());
    };
    let shape = shape(memory_mib, cpus);
    add(1, EV_PLATFORM_CONFIG_FLAGS, &Register::of(shape.as_bytes()).0, &shape);
    for event in prediction.events(Firmware::Td) {
        if let Some(rtmr) = event.rtmr() {
            add(rtmr + 1, EV_IPL, &event.digest(Hash::Sha384), &event.what);
        }
    }
    log.extend([0xff; 64]);
    log
}

/// Event types.
const EV_NO_ACTION: u32 = 3;
const EV_PLATFORM_CONFIG_FLAGS: u32 = 0xa;
const EV_IPL: u32 = 0xd;

impl TdInfo {
    /// The TD with this firmware and RTMR0, and the measurements that are predicted for firmware of this kind.
    #[must_use]
    pub fn of(firmware: &[u8], rtmr0: Register, prediction: &Prediction, kind: Firmware) -> Self {
        let predicted = |number| Register::from_bytes(&prediction.rtmr(number, kind));
        Self { mrtd: Register::of(firmware), rtmrs: [rtmr0, predicted(1), predicted(2), Register::ZERO], ..Self::default() }
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
