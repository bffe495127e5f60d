//! Collateral: the signed data that a verifier needs beside the quote.

use serde::{Deserialize, Serialize};

use crate::{CrlSpec, Error, Identity, Pki, Platform, QeIdentity, TcbInfo};

/// Collateral before it is signed.
#[derive(Clone, Debug)]
pub struct Collateral {
    /// TCB info.
    pub tcb_info: TcbInfo,
    /// The JSON to sign instead, for cases that the structure cannot express; `None`: `tcb_info` as compact JSON.
    pub tcb_info_text: Option<String>,
    /// Identity of the quoting enclave.
    pub qe_identity: QeIdentity,
    /// The JSON to sign instead; `None`: `qe_identity` as compact JSON.
    pub qe_identity_text: Option<String>,
    /// The root's CRL.
    pub root_crl: CrlSpec,
    /// The Platform CA's CRL.
    pub pck_crl: CrlSpec,
    /// The signer of the TCB info; `None`: the chain's TCB signer.
    pub tcb_signer: Option<Identity>,
    /// The signer of the QE identity; `None`: the chain's TCB signer.
    pub qe_signer: Option<Identity>,
}

impl Collateral {
    /// Honest collateral for TDX quotes of `platform` at `now`.
    #[must_use]
    pub fn tdx(platform: &Platform, now: u64) -> Self {
        Self::of("TDX", "TD_QE", platform, now)
    }

    /// Honest collateral for SGX quotes of `platform` at `now`.
    #[must_use]
    pub fn sgx(platform: &Platform, now: u64) -> Self {
        Self::of("SGX", "QE", platform, now)
    }

    fn of(tee: &str, qe: &str, platform: &Platform, now: u64) -> Self {
        Self {
            tcb_info: TcbInfo::of(tee, &platform.extension, now),
            tcb_info_text: None,
            qe_identity: QeIdentity::of(qe, now),
            qe_identity_text: None,
            root_crl: CrlSpec::new(now),
            pck_crl: CrlSpec::new(now),
            tcb_signer: None,
            qe_signer: None,
        }
    }

    /// Signs every part under `pki`.
    pub fn sign(&self, pki: &Pki) -> Result<SignedCollateral, Error> {
        let tcb_signer = self.tcb_signer.as_ref().unwrap_or(&pki.tcb_signing);
        let qe_signer = self.qe_signer.as_ref().unwrap_or(&pki.tcb_signing);
        let tcb_info = match &self.tcb_info_text {
            Some(text) => text.clone(),
            None => serde_json::to_string(&self.tcb_info)?,
        };
        let qe_identity = match &self.qe_identity_text {
            Some(text) => text.clone(),
            None => serde_json::to_string(&self.qe_identity)?,
        };
        let root = pki.root.pem();
        Ok(SignedCollateral {
            pck_crl_issuer_chain: format!("{}{root}", pki.platform_ca.pem()),
            root_ca_crl: self.root_crl.sign(&pki.root)?,
            pck_crl: self.pck_crl.sign(&pki.platform_ca)?,
            tcb_info_issuer_chain: format!("{}{root}", tcb_signer.pem()),
            tcb_info_signature: tcb_signer.key.sign(tcb_info.as_bytes())?.to_vec(),
            tcb_info,
            qe_identity_issuer_chain: format!("{}{root}", qe_signer.pem()),
            qe_identity_signature: qe_signer.key.sign(qe_identity.as_bytes())?.to_vec(),
            qe_identity,
            pck_certificate_chain: None,
        })
    }
}

/// Signed collateral in the JSON form of `dcap_qvl::QuoteCollateralV3`: bytes are lower-case hexadecimal. Tests may also change
/// fields after signing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCollateral {
    /// PEM: Platform CA, root.
    pub pck_crl_issuer_chain: String,
    /// DER.
    #[serde(with = "hex::serde")]
    pub root_ca_crl: Vec<u8>,
    /// DER.
    #[serde(with = "hex::serde")]
    pub pck_crl: Vec<u8>,
    /// PEM: TCB signer, root.
    pub tcb_info_issuer_chain: String,
    /// The signed JSON, byte for byte.
    pub tcb_info: String,
    /// Raw `r || s`.
    #[serde(with = "hex::serde")]
    pub tcb_info_signature: Vec<u8>,
    /// PEM: TCB signer, root.
    pub qe_identity_issuer_chain: String,
    /// The signed JSON, byte for byte.
    pub qe_identity: String,
    /// Raw `r || s`.
    #[serde(with = "hex::serde")]
    pub qe_identity_signature: Vec<u8>,
    /// A PEM chain that replaces the quote's own; honest collateral has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pck_certificate_chain: Option<String>,
}
