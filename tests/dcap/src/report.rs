//! The SGX enclave report, of an enclave or of the quoting enclave itself.

use crate::sha256;

/// The 384 bytes of an SGX report body.
///
/// Source: `sgx_report_body_t` in `sgx_report.h`; reserved bytes are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveReport {
    /// CPUSVN at offset 0.
    pub cpu_svn: [u8; 16],
    /// MISCSELECT at 16.
    pub misc_select: u32,
    /// ISVEXTPRODID at 32.
    pub isv_ext_prod_id: [u8; 16],
    /// Flags (u64: 1 INIT, 2 DEBUG, 4 MODE64BIT, 0x10 PROVISION_KEY, 0x20 EINITTOKEN_KEY, 0x80 KSS) at 48.
    pub flags: u64,
    /// XFRM at 56.
    pub xfrm: u64,
    /// MRENCLAVE at 64.
    pub mrenclave: [u8; 32],
    /// MRSIGNER at 128.
    pub mrsigner: [u8; 32],
    /// CONFIGID at 192, used with KSS.
    pub config_id: [u8; 64],
    /// ISVPRODID at 256.
    pub isv_prod_id: u16,
    /// ISVSVN at 258.
    pub isv_svn: u16,
    /// CONFIGSVN at 260.
    pub config_svn: u16,
    /// ISVFAMILYID at 304.
    pub isv_family_id: [u8; 16],
    /// REPORTDATA at 320.
    pub report_data: [u8; 64],
}

impl EnclaveReport {
    /// Flag INIT.
    pub const INIT: u64 = 1;
    /// Flag DEBUG.
    pub const DEBUG: u64 = 2;
    /// Flag MODE64BIT.
    pub const MODE64: u64 = 4;

    /// An initialised 64-bit production enclave.
    #[must_use]
    pub fn of(mrenclave: [u8; 32], mrsigner: [u8; 32], report_data: [u8; 64]) -> Self {
        Self {
            cpu_svn: [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0],
            misc_select: 0,
            isv_ext_prod_id: [0; 16],
            flags: Self::INIT | Self::MODE64,
            xfrm: 0xe7,
            mrenclave,
            mrsigner,
            config_id: [0; 64],
            isv_prod_id: 1,
            isv_svn: 1,
            config_svn: 0,
            isv_family_id: [0; 16],
            report_data,
        }
    }

    /// Intel's quoting enclave for SGX (`prod_id` 1) or TDX (2), with flags INIT and PROVISION_KEY like the real ones.
    #[must_use]
    pub fn of_quoting_enclave(prod_id: u16, isv_svn: u16) -> Self {
        Self {
            flags: Self::INIT | 0x10,
            isv_prod_id: prod_id,
            isv_svn,
            ..Self::of(sha256(b"simulated quoting enclave"), qe_mrsigner(), [0; 64])
        }
    }

    /// The 384 bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(384);
        out.extend(self.cpu_svn);
        out.extend(self.misc_select.to_le_bytes());
        out.extend([0; 12]);
        out.extend(self.isv_ext_prod_id);
        out.extend(self.flags.to_le_bytes());
        out.extend(self.xfrm.to_le_bytes());
        out.extend(self.mrenclave);
        out.extend([0; 32]);
        out.extend(self.mrsigner);
        out.extend([0; 32]);
        out.extend(self.config_id);
        out.extend(self.isv_prod_id.to_le_bytes());
        out.extend(self.isv_svn.to_le_bytes());
        out.extend(self.config_svn.to_le_bytes());
        out.extend([0; 42]);
        out.extend(self.isv_family_id);
        out.extend(self.report_data);
        out
    }
}

/// The MRSIGNER of every simulated quoting enclave.
pub(crate) fn qe_mrsigner() -> [u8; 32] {
    sha256(b"simulated signer of quoting enclaves")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_every_field_where_the_header_file_has_it() {
        let mut report = EnclaveReport::of([0xee; 32], [0x55; 32], [0xdd; 64]);
        report.isv_svn = 0x1234;
        report.isv_family_id = [0xfa; 16];
        let bytes = report.bytes();
        assert_eq!(bytes.len(), 384);
        assert_eq!(bytes[48], 5);
        assert_eq!(bytes[64..96], [0xee; 32]);
        assert_eq!(bytes[128..160], [0x55; 32]);
        assert_eq!(bytes[258..260], [0x34, 0x12]);
        assert_eq!(bytes[304..320], [0xfa; 16]);
        assert_eq!(bytes[320..], [0xdd; 64]);
    }
}
