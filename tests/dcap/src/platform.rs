//! One machine: its provisioning certificate, its attestation key, its ids.

use crate::{CertSpec, Error, Identity, Key, PckExtension, Pki};

/// What makes one machine different from the next.
#[derive(Clone, Debug)]
pub struct PlatformSpec {
    /// The PCK leaf, without its SGX extension.
    pub leaf: CertSpec,
    /// The SGX extension to put in; absent leaves the leaf's own list alone.
    pub pck: Option<PckExtension>,
}

impl PlatformSpec {
    /// The honest machine that belongs to `name`.
    #[must_use]
    pub fn of(name: &str, now: u64) -> Self {
        Self { leaf: CertSpec::new("Intel SGX PCK Certificate", now), pck: Some(PckExtension::of(name)) }
    }
}

/// One machine as its quotes show it. Fields may be replaced: a chain, a key, an issuer that does not fit.
#[derive(Clone, Debug)]
pub struct Platform {
    /// The PCK key, which signs QE reports, and its leaf.
    pub pck: Identity,
    /// What the leaf's SGX extension says; collateral is made to fit it.
    pub extension: PckExtension,
    /// The quoting enclave's own key, which signs quotes.
    pub attestation_key: Key,
    /// The certificates quotes carry, in order: leaf, Platform CA, root.
    pub chain: Vec<Vec<u8>>,
}

impl Platform {
    /// Gives a machine its certificate from the Platform CA.
    pub fn new(pki: &Pki, spec: PlatformSpec) -> Result<Self, Error> {
        Self::issued_by(&pki.platform_ca, vec![pki.platform_ca.der.clone(), pki.root.der.clone()], spec)
    }

    /// Gives a machine its certificate from any issuer; `above` is the rest of the chain quotes carry.
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
            extension: spec.pck.unwrap_or_else(|| PckExtension::of("nobody")),
            attestation_key: Key::generate()?,
            chain,
        })
    }

    /// The chain as quotes carry it: PEM after PEM, then one NUL.
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
