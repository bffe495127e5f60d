//! The part after the body of a quote: signature, attestation key, QE report, certification data.

use crate::{EnclaveReport, Error, Platform, sha256};

/// Everything after the signed part, with an override for each field that a verifier must check.
#[derive(Clone, Debug)]
pub struct SignatureData {
    /// The quoting enclave's report; its report data is replaced by the key's hash unless `qe_report_data` is set.
    pub qe: EnclaveReport,
    /// REPORTDATA of the QE report; `None`: `SHA-256(attestation key || auth data) || 0*32`.
    pub qe_report_data: Option<[u8; 64]>,
    /// QE authentication data; real ones have 32 bytes.
    pub auth_data: Vec<u8>,
    /// Type of the outer certification data, 6 (quotes version 4 and 5 only).
    pub outer_type: u16,
    /// Type of the inner certification data, 5: PCK chain in PEM.
    pub inner_type: u16,
    /// The inner certification data; `None`: the platform's chain.
    pub certification: Option<Vec<u8>>,
    /// Raw signature of the quote; `None`: by the attestation key over the signed part.
    pub signature: Option<[u8; 64]>,
    /// The attestation key in the quote; `None`: the platform's.
    pub attestation_key: Option<[u8; 64]>,
    /// Raw signature over the QE report; `None`: by the PCK key.
    pub qe_signature: Option<[u8; 64]>,
    /// Length field of the whole; `None`: the true length.
    pub length: Option<u32>,
    /// Length field of the outer certification data; `None`: the true length.
    pub outer_length: Option<u32>,
    /// Length field of the authentication data; `None`: the true length.
    pub auth_length: Option<u16>,
    /// Length field of the inner certification data; `None`: the true length.
    pub inner_length: Option<u32>,
    /// Bytes after the quote; real TDX quotes have 70 zero bytes.
    pub tail: Vec<u8>,
}

impl SignatureData {
    /// An honest quoting enclave's.
    #[must_use]
    pub fn by(qe: EnclaveReport) -> Self {
        Self {
            qe,
            qe_report_data: None,
            auth_data: (0..32).collect(),
            outer_type: 6,
            inner_type: 5,
            certification: None,
            signature: None,
            attestation_key: None,
            qe_signature: None,
            length: None,
            outer_length: None,
            auth_length: None,
            inner_length: None,
            tail: Vec::new(),
        }
    }

    /// Signs `signed` (header and body) and appends everything that follows. `nested` is the form of quotes version 4 and 5,
    /// where the QE's part is certification data itself.
    pub(crate) fn finish(&self, mut signed: Vec<u8>, nested: bool, platform: &Platform) -> Result<Vec<u8>, Error> {
        let key = self.attestation_key.unwrap_or_else(|| platform.attestation_key.public());
        let signature = match self.signature {
            Some(given) => given,
            None => platform.attestation_key.sign(&signed)?,
        };
        let qe_part = self.qe_part(&key, platform)?;
        let mut data = Vec::new();
        data.extend(signature);
        data.extend(key);
        if nested {
            data.extend(self.outer_type.to_le_bytes());
            data.extend(self.outer_length.unwrap_or(length(&qe_part)).to_le_bytes());
        }
        data.extend(qe_part);
        signed.extend(self.length.unwrap_or(length(&data)).to_le_bytes());
        signed.extend(data);
        signed.extend_from_slice(&self.tail);
        Ok(signed)
    }

    fn qe_part(&self, key: &[u8; 64], platform: &Platform) -> Result<Vec<u8>, Error> {
        let mut qe = self.qe.clone();
        qe.report_data = self.qe_report_data.unwrap_or_else(|| {
            let mut data = [0; 64];
            let hash = sha256(&[key, self.auth_data.as_slice()].concat());
            data.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
            data
        });
        let mut out = qe.bytes();
        let signature = match self.qe_signature {
            Some(given) => given,
            None => platform.pck.key.sign(&out)?,
        };
        let certification = self.certification.clone().unwrap_or_else(|| platform.chain_pem());
        let auth_length = u16::try_from(self.auth_data.len()).unwrap_or(u16::MAX);
        out.extend(signature);
        out.extend(self.auth_length.unwrap_or(auth_length).to_le_bytes());
        out.extend_from_slice(&self.auth_data);
        out.extend(self.inner_type.to_le_bytes());
        out.extend(self.inner_length.unwrap_or(length(&certification)).to_le_bytes());
        out.extend(certification);
        Ok(out)
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
