//! A platform: its provisioning certificate, its attestation key, its ids.

use crate::{CertSpec, Error, Identity, Key, PckExtension, Pki};

/// The properties of a platform.
#[derive(Clone, Debug)]
pub struct PlatformSpec {
    /// The PCK leaf, without its SGX extension.
    pub leaf: CertSpec,
    /// The SGX extension; `None`: the leaf's own list is used.
    pub pck: Option<PckExtension>,
}

impl PlatformSpec {
    /// The honest platform with ids derived from `name`.
    #[must_use]
    pub fn of(name: &str, now: u64) -> Self {
        Self { leaf: CertSpec::new("Intel SGX PCK Certificate", now), pck: Some(PckExtension::of(name)) }
    }
}

/// A platform as its quotes show it. Tests may replace fields: another chain, key or issuer.
#[derive(Clone, Debug)]
pub struct Platform {
    /// The PCK key, which signs QE reports, and its leaf.
    pub pck: Identity,
    /// The content of the leaf's SGX extension; collateral is made from it.
    pub extension: PckExtension,
    /// The attestation key of the quoting enclave, which signs quotes.
    pub attestation_key: Key,
    /// The certificates in quotes, in order: leaf, Platform CA, root.
    pub chain: Vec<Vec<u8>>,
}

impl Platform {
    /// Issues the platform's certificate by the Platform CA.
    pub fn new(pki: &Pki, spec: PlatformSpec) -> Result<Self, Error> {
        Self::issued_by(&pki.platform_ca, vec![pki.platform_ca.der.clone(), pki.root.der.clone()], spec)
    }

    /// Issues the platform's certificate by any issuer; `above` is the rest of the chain in quotes.
    pub fn issued_by(issuer: &Identity, above: Vec<Vec<u8>>, spec: PlatformSpec) -> Result<Self, Error> {
        let mut leaf = spec.leaf;
        if let Some(extension) = &spec.pck {
            leaf.sgx_extensions.push(extension.der());
        }
        let pck = issuer.issue(leaf, Key::generate()?)?;
        let mut chain = vec![pck.der.clone()];
        chain.extend(above);
        Ok(Self {
            pck,
            extension: spec.pck.unwrap_or_else(|| PckExtension::of("unnamed")),
            attestation_key: Key::generate()?,
            chain,
        })
    }

    /// The chain in the form of quotes: concatenated PEM, then one NUL.
    #[must_use]
    pub fn chain_pem(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for der in &self.chain {
            out.extend(crate::pem("CERTIFICATE", der).into_bytes());
        }
        out.push(0);
        out
    }
}
