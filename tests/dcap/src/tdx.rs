//! TDX quotes, versions 4 and 5.

use crate::{EnclaveReport, Error, INTEL_VENDOR, Platform, SignatureData};

/// The layout of header and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TdLayout {
    /// Version 4: TD 1.0 body of 584 bytes right after the header.
    V4,
    /// Version 5 with body type 2: TD 1.0, 584 bytes.
    V5Td10,
    /// Version 5 with body type 3: TD 1.5, 648 bytes.
    V5Td15,
}

/// One TDX quote before it is signed. Measurements are 48 bytes, SHA-384.
///
/// Source: `sgx_quote_4.h`, `sgx_quote_5.h`.
#[derive(Clone, Debug)]
pub struct TdQuote {
    /// Version and body.
    pub layout: TdLayout,
    /// Version in the header; `None`: that of the layout.
    pub version: Option<u16>,
    /// Body type of version 5; `None`: that of the layout.
    pub body_type: Option<u16>,
    /// Body size of version 5; `None`: the true size.
    pub body_size: Option<u32>,
    /// 2: ECDSA over P-256.
    pub key_type: u16,
    /// 0x81: TDX.
    pub tee_type: u32,
    /// Reserved since version 4.
    pub qe_svn: u16,
    /// Reserved since version 4.
    pub pce_svn: u16,
    /// Intel's.
    pub vendor: [u8; 16],
    /// Platform id, by convention.
    pub user_data: [u8; 20],
    /// Module SVN, module version, SEAMLDR SVN, then zeros.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module.
    pub mrseam: [u8; 48],
    /// Signer of the TDX module; Intel's is zero.
    pub mrsignerseam: [u8; 48],
    /// Attributes of the TDX module; zero.
    pub seam_attributes: [u8; 8],
    /// Little-endian bits: 0 DEBUG, 28 SEPT_VE_DISABLE, 29 MIGRATABLE, 30 PKS.
    pub td_attributes: u64,
    /// The extended features that the TD may use.
    pub xfam: u64,
    /// Measurement of the TD's initial memory.
    pub mrtd: [u8; 48],
    /// Configuration id of the software in the TD.
    pub mrconfigid: [u8; 48],
    /// Owner of the TD.
    pub mrowner: [u8; 48],
    /// Configuration id of the owner.
    pub mrownerconfig: [u8; 48],
    /// Run-time measurement registers.
    pub rtmr: [[u8; 48]; 4],
    /// The report data that the TD asked to be signed.
    pub report_data: [u8; 64],
    /// The TCB after a TD-preserving update (TD 1.5); `None`: unchanged.
    pub tee_tcb_svn2: Option<[u8; 16]>,
    /// Measurement of bound service TDs (TD 1.5); zero.
    pub mrservicetd: [u8; 48],
    /// Everything after the signed part.
    pub signature: SignatureData,
}

impl TdQuote {
    /// Attribute bit DEBUG.
    pub const DEBUG: u64 = 1;
    /// Attribute bit SEPT_VE_DISABLE.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;

    /// A production TD's quote with zero measurements and this report data, version 4, padded like real quotes.
    #[must_use]
    pub fn new(report_data: [u8; 64]) -> Self {
        let mut signature = SignatureData::by(EnclaveReport::of_quoting_enclave(2, 4));
        signature.tail = vec![0; 70];
        Self {
            layout: TdLayout::V4,
            version: None,
            body_type: None,
            body_size: None,
            key_type: 2,
            tee_type: 0x81,
            qe_svn: 0,
            pce_svn: 0,
            vendor: INTEL_VENDOR,
            user_data: [0; 20],
            tee_tcb_svn: [6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            mrseam: sha384(b"simulated TDX module"),
            mrsignerseam: [0; 48],
            seam_attributes: [0; 8],
            td_attributes: Self::SEPT_VE_DISABLE,
            xfam: 0x0006_02e7,
            mrtd: [0; 48],
            mrconfigid: [0; 48],
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
            rtmr: [[0; 48]; 4],
            report_data,
            tee_tcb_svn2: None,
            mrservicetd: [0; 48],
            signature,
        }
    }

    /// The quote that the quoting enclave makes from a TDREPORT. A module identity of zeros becomes the default one, so that a
    /// simulated TDX module need not know it.
    ///
    /// Source: Intel TDX module ABI 348551, TDREPORT_STRUCT: REPORTMACSTRUCT 0, TEE_TCB_INFO 256, TDINFO 512.
    #[must_use]
    pub fn from_tdreport(report: &[u8; 1024]) -> Self {
        let mut quote = Self::new(at(report, 128));
        if at::<8>(report, 264) != [0; 8] {
            quote.tee_tcb_svn = at(report, 264);
            quote.mrseam = at(report, 280);
            quote.mrsignerseam = at(report, 328);
            quote.seam_attributes = at(report, 376);
        }
        quote.td_attributes = u64::from_le_bytes(at(report, 512));
        quote.xfam = u64::from_le_bytes(at(report, 520));
        quote.mrtd = at(report, 528);
        quote.mrconfigid = at(report, 576);
        quote.mrowner = at(report, 624);
        quote.mrownerconfig = at(report, 672);
        quote.rtmr = [at(report, 720), at(report, 768), at(report, 816), at(report, 864)];
        quote.mrservicetd = at(report, 912);
        quote
    }

    /// The quote, signed by `platform`.
    pub fn sign(&self, platform: &Platform) -> Result<Vec<u8>, Error> {
        let body = self.body();
        let (version, body_type) = match self.layout {
            TdLayout::V4 => (4, None),
            TdLayout::V5Td10 => (5, Some(2)),
            TdLayout::V5Td15 => (5, Some(3)),
        };
        let mut out = Vec::new();
        out.extend(self.version.unwrap_or(version).to_le_bytes());
        out.extend(self.key_type.to_le_bytes());
        out.extend(self.tee_type.to_le_bytes());
        out.extend(self.qe_svn.to_le_bytes());
        out.extend(self.pce_svn.to_le_bytes());
        out.extend(self.vendor);
        out.extend(self.user_data);
        if let Some(usual) = body_type {
            let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
            out.extend(self.body_type.unwrap_or(usual).to_le_bytes());
            out.extend(self.body_size.unwrap_or(size).to_le_bytes());
        }
        out.extend(body);
        self.signature.finish(out, true, platform)
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(648);
        out.extend(self.tee_tcb_svn);
        out.extend(self.mrseam);
        out.extend(self.mrsignerseam);
        out.extend(self.seam_attributes);
        out.extend(self.td_attributes.to_le_bytes());
        out.extend(self.xfam.to_le_bytes());
        out.extend(self.mrtd);
        out.extend(self.mrconfigid);
        out.extend(self.mrowner);
        out.extend(self.mrownerconfig);
        out.extend(self.rtmr.concat());
        out.extend(self.report_data);
        if self.layout == TdLayout::V5Td15 {
            out.extend(self.tee_tcb_svn2.unwrap_or(self.tee_tcb_svn));
            out.extend(self.mrservicetd);
        }
        out
    }
}

fn at<const N: usize>(report: &[u8; 1024], offset: usize) -> [u8; N] {
    std::array::from_fn(|index| report.get(offset + index).copied().unwrap_or(0))
}

fn sha384(data: &[u8]) -> [u8; 48] {
    let mut out = [0; 48];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA384, data).as_ref());
    out
}
