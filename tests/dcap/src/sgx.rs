//! SGX quotes, version 3.

use crate::{EnclaveReport, Error, INTEL_VENDOR, Platform, SignatureData, sha256};

/// One SGX quote before it is signed.
///
/// Source: `sgx_quote_3.h`.
#[derive(Clone, Debug)]
pub struct SgxQuote {
    /// 3.
    pub version: u16,
    /// 2: ECDSA over P-256.
    pub key_type: u16,
    /// 0: SGX. (Reserved in version 3, and zero.)
    pub tee_type: u32,
    /// The quoting enclave's SVN.
    pub qe_svn: u16,
    /// The provisioning enclave's SVN.
    pub pce_svn: u16,
    /// Intel's.
    pub vendor: [u8; 16],
    /// Platform id, by convention.
    pub user_data: [u8; 20],
    /// The report of the enclave.
    pub report: EnclaveReport,
    /// Everything after the signed part.
    pub signature: SignatureData,
}

impl SgxQuote {
    /// The quote of a production enclave.
    #[must_use]
    pub fn new(mrenclave: [u8; 32], report_data: [u8; 64]) -> Self {
        Self {
            version: 3,
            key_type: 2,
            tee_type: 0,
            qe_svn: 8,
            pce_svn: 13,
            vendor: INTEL_VENDOR,
            user_data: [0; 20],
            report: EnclaveReport::of(mrenclave, sha256(b"simulated vault vendor"), report_data),
            signature: SignatureData::by(EnclaveReport::of_quoting_enclave(1, 8)),
        }
    }

    /// The quote, signed by `platform`.
    pub fn sign(&self, platform: &Platform) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        out.extend(self.version.to_le_bytes());
        out.extend(self.key_type.to_le_bytes());
        out.extend(self.tee_type.to_le_bytes());
        out.extend(self.qe_svn.to_le_bytes());
        out.extend(self.pce_svn.to_le_bytes());
        out.extend(self.vendor);
        out.extend(self.user_data);
        out.extend(self.report.bytes());
        self.signature.finish(out, false, platform)
    }
}
