//! Certificate chains: read strictly, named, and held against Intel's shape, which dcap-qvl leaves open.
//!
//! Source: Intel PCK Certificate and CRL Profile Specification, revision 1.5, section 3 (subject names).

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::BasicConstraints;

use crate::Refusal;
use crate::refusal::Role;

/// One more certificate than any chain has: enough to see that there are too many.
const CHAIN_MAX: usize = 4;
/// The longest PEM text of a chain, in bytes; real ones are under 4 KiB.
const PEM_MAX: usize = 32 << 10;
/// `id-at-commonName`.
const COMMON_NAME: &str = "2.5.4.3";
/// `id-ce-basicConstraints`.
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
/// Intel's SGX extension of PCK leaves.
const SGX_EXTENSION: &str = "1.2.840.113741.1.13.1";
/// The DER of a P-256 SubjectPublicKeyInfo up to the key: id-ecPublicKey, prime256v1, uncompressed point (RFC 5480).
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A certificate with its place in the chain.
pub(crate) struct Link {
    pub(crate) role: Role,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) certificate: Certificate,
}

/// The chain in a quote: leaf, platform or processor authority, root.
pub(crate) fn pck(pem: &[u8], anchor: &[u8]) -> Result<Vec<Link>, Refusal> {
    let links = read(pem, [Role::PckLeaf, Role::PckAuthority, Role::Root], anchor)?;
    let extensions = |link: &Link| {
        let extensions = link.certificate.tbs_certificate().extensions().into_iter().flatten();
        extensions.filter(|extension| extension.extn_id.to_string() == SGX_EXTENSION).count()
    };
    if links.first().map(extensions) != Some(1) {
        return Err(Refusal::PckExtension);
    }
    Ok(links)
}

/// A chain that signed collateral: the signer, which the root certified itself, and the root.
pub(crate) fn signer(pem: &[u8], role: Role, anchor: &[u8]) -> Result<Vec<Link>, Refusal> {
    read(pem, [role, Role::Root], anchor)
}

fn read<const N: usize>(pem: &[u8], roles: [Role; N], anchor: &[u8]) -> Result<Vec<Link>, Refusal> {
    let first = roles.first().copied().unwrap_or(Role::Root);
    let unreadable = Refusal::CertificateUnreadable(first);
    if pem.len() > PEM_MAX || !is_pem_alone(pem) {
        return Err(unreadable);
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(CHAIN_MAX).collect();
    let certificates = certificates.map_err(|_| unreadable)?;
    if certificates.len() != N {
        return Err(Refusal::ChainLength(first));
    }
    // The anchor first: what stands under another root is of no interest.
    if certificates.last().map(AsRef::as_ref) != Some(anchor) {
        return Err(Refusal::Anchor);
    }
    let links = roles.into_iter().zip(certificates).map(|(role, der)| {
        let certificate = Certificate::from_der(&der).map_err(|_| Refusal::CertificateUnreadable(role))?;
        let link = Link { role, der, certificate };
        link.check()?;
        Ok(link)
    });
    links.collect()
}

/// Outside of its blocks a chain has white space only, and a NUL at its end in quotes.
fn is_pem_alone(pem: &[u8]) -> bool {
    let mut inside = false;
    pem.split(|byte| *byte == b'\n').all(|line| {
        let line = line.trim_ascii();
        if line.starts_with(b"-----BEGIN") {
            inside = true;
        } else if line.starts_with(b"-----END") {
            inside = false;
        } else if !inside {
            return line.iter().all(|byte| *byte == 0);
        }
        true
    })
}

impl Link {
    /// The key, as `0x04 || x || y`; empty when it is no P-256 key.
    pub(crate) fn key(&self) -> Vec<u8> {
        let spki = self.certificate.tbs_certificate().subject_public_key_info().to_der().unwrap_or_default();
        spki.strip_prefix(&SPKI_P256).filter(|key| key.len() == 65).map(<[u8]>::to_vec).unwrap_or_default()
    }

    /// Name, key and use, each as its place calls for.
    fn check(&self) -> Result<(), Refusal> {
        let names: &[&str] = match self.role {
            Role::PckLeaf => &["Intel SGX PCK Certificate"],
            Role::PckAuthority => &["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"],
            Role::TcbInfoSigner | Role::QeIdentitySigner => &["Intel SGX TCB Signing"],
            Role::Root => return Ok(()), // the anchor's own bytes
        };
        if !self.common_name().is_some_and(|name| names.contains(&name.as_str())) {
            return Err(Refusal::CertificateName(self.role));
        }
        let is_authority = self.role == Role::PckAuthority;
        if self.key().is_empty() || self.is_authority() != Some(is_authority) {
            return Err(Refusal::CertificateKind(self.role));
        }
        Ok(())
    }

    /// The one common name of the subject; two of them are as bad as none.
    pub(crate) fn common_name(&self) -> Option<String> {
        let subject = self.certificate.tbs_certificate().subject();
        let mut names = subject.iter().filter(|attribute| attribute.oid.to_string() == COMMON_NAME);
        let (Some(name), None) = (names.next(), names.next()) else {
            return None;
        };
        let text = PrintableStringRef::try_from(&name.value).map(|s| s.as_str().to_owned());
        text.or_else(|_| Utf8StringRef::try_from(&name.value).map(|s| s.as_str().to_owned())).ok()
    }

    /// What its basic constraints say; `None` when they are malformed.
    fn is_authority(&self) -> Option<bool> {
        let mut extensions = self.certificate.tbs_certificate().extensions().into_iter().flatten();
        match extensions.find(|extension| extension.extn_id.to_string() == BASIC_CONSTRAINTS) {
            None => Some(false),
            Some(extension) => BasicConstraints::from_der(extension.extn_value.as_bytes()).map(|constraints| constraints.ca).ok(),
        }
    }

    /// From and until when it is valid, Unix seconds.
    pub(crate) fn window(&self) -> (u64, u64) {
        let validity = self.certificate.tbs_certificate().validity();
        (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
    }
}
