//! Strict parsing of certificate chains, and comparison with the subjects and lengths of Intel's chains, which dcap-qvl does not check.
//!
//! Source: Intel PCK Certificate and CRL Profile Specification, revision 1.5, section 3 (subject names).

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::BasicConstraints;

use crate::VerifyError;
use crate::error::Role;

/// The most blocks that are parsed: one more than the longest chain, so that a longer one is detected.
const CHAIN_MAX: usize = 4;
/// The longest PEM text of a chain, in bytes; real ones are under 4 KiB.
const PEM_MAX: usize = 32 << 10;
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";
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

/// A certificate and its place in the chain.
pub(crate) struct Link {
    pub(crate) role: Role,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) certificate: Certificate,
}

/// Parses and checks the chain in a quote: leaf, platform or processor CA, root.
pub(crate) fn pck(pem: &[u8], anchor: &[u8]) -> Result<Vec<Link>, VerifyError> {
    let links = read(pem, [Role::PckLeaf, Role::PckAuthority, Role::Root], anchor)?;
    let extensions = |link: &Link| {
        let extensions = link.certificate.tbs_certificate().extensions().into_iter().flatten();
        extensions.filter(|extension| extension.extn_id.to_string() == SGX_EXTENSION).count()
    };
    if links.first().map(extensions) != Some(1) {
        return Err(VerifyError::PckExtension);
    }
    Ok(links)
}

/// Parses and checks a chain of collateral: the signer, certified by the root, and the root.
pub(crate) fn signer(pem: &[u8], role: Role, anchor: &[u8]) -> Result<Vec<Link>, VerifyError> {
    read(pem, [role, Role::Root], anchor)
}

fn read<const N: usize>(pem: &[u8], roles: [Role; N], anchor: &[u8]) -> Result<Vec<Link>, VerifyError> {
    let first = roles.first().copied().unwrap_or(Role::Root);
    let unreadable = VerifyError::CertificateUnreadable(first);
    let blocks = Some(pem).filter(|pem| pem.len() <= PEM_MAX).and_then(blocks).ok_or(unreadable.clone())?;
    let certificates: Result<Vec<_>, _> = blocks.into_iter().map(CertificateDer::from_pem_slice).collect();
    let certificates = certificates.map_err(|_| unreadable)?;
    if certificates.len() != N {
        return Err(VerifyError::ChainLength(first));
    }
    // The anchor first, so that a chain under another root is reported as such.
    if !certificates.last().is_some_and(|root| is_anchor(root, anchor)) {
        return Err(VerifyError::Anchor);
    }
    let links = roles.into_iter().zip(certificates).map(|(role, der)| {
        let der = if role == Role::Root { CertificateDer::from(anchor.to_vec()) } else { der };
        let certificate = Certificate::from_der(&der).map_err(|_| VerifyError::CertificateUnreadable(role))?;
        let link = Link { role, der, certificate };
        link.check()?;
        Ok(link)
    });
    let links: Vec<Link> = links.collect::<Result<_, VerifyError>>()?;
    // webpki would accept a path that skips a certificate, such as a leaf signed by the root.
    for (link, issuer) in links.iter().zip(links.iter().skip(1)) {
        if link.certificate.tbs_certificate().issuer() != issuer.certificate.tbs_certificate().subject() {
            return Err(VerifyError::CertificateSignature(link.role));
        }
    }
    Ok(links)
}

/// Whether `root` is the anchor, byte for byte, or an earlier self-signed certificate of the same key and subject: platforms from
/// before 2021 have one that ends in 2033. In both cases the chain is verified with the anchor.
fn is_anchor(root: &CertificateDer<'_>, anchor: &[u8]) -> bool {
    if root.as_ref() == anchor {
        return true;
    }
    let link = |der: &[u8]| {
        let certificate = Certificate::from_der(der).ok()?;
        Some(Link { role: Role::Root, der: CertificateDer::from(der.to_vec()), certificate })
    };
    let Some((root, anchor)) = link(root).zip(link(anchor)) else { return false };
    let (certificate, fields) = (&root.certificate, root.certificate.tbs_certificate());
    let is_named = fields.subject() == anchor.certificate.tbs_certificate().subject();
    // The algorithm outside the signed part must equal the one inside.
    let is_whole = certificate.signature_algorithm() == fields.signature();
    is_named && is_whole && root.key() == anchor.key() && root.is_signed_by(&anchor)
}

/// The PEM blocks of a chain, [`CHAIN_MAX`] at most. Between blocks there may be white space or nothing (older quoting services begin a
/// block on the line on which the previous one ends). Most quotes end in a NUL. Any other byte between or after blocks is an error.
fn blocks(pem: &[u8]) -> Option<Vec<&[u8]>> {
    let end_of = |text: &[u8], mark: &[u8]| text.windows(mark.len()).position(|window| window == mark).map(|at| at + mark.len());
    let mut rest = pem.trim_ascii_start();
    let mut blocks = Vec::new();
    while !rest.iter().all(|byte| *byte == 0) && blocks.len() < CHAIN_MAX {
        let (block, behind) = rest.strip_prefix(BEGIN).and(end_of(rest, END)).and_then(|end| rest.split_at_checked(end))?;
        blocks.push(block);
        rest = behind.trim_ascii_start();
    }
    Some(blocks)
}

impl Link {
    /// The public key, as `0x04 || x || y`; empty if it is not a P-256 key.
    pub(crate) fn key(&self) -> Vec<u8> {
        let spki = self.certificate.tbs_certificate().subject_public_key_info().to_der().unwrap_or_default();
        spki.strip_prefix(&SPKI_P256).filter(|key| key.len() == 65).map(<[u8]>::to_vec).unwrap_or_default()
    }

    /// Whether `issuer` signed this certificate.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        let signature = self.certificate.signature().raw_bytes();
        let signed = self.certificate.tbs_certificate().to_der();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, issuer.key());
        signed.is_ok_and(|signed| key.verify(&signed, signature).is_ok())
    }

    /// Checks subject, key and basic constraints against the place in the chain.
    fn check(&self) -> Result<(), VerifyError> {
        let names: &[&str] = match self.role {
            Role::PckLeaf => &["Intel SGX PCK Certificate"],
            Role::PckAuthority => &["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"],
            Role::TcbInfoSigner | Role::QeIdentitySigner => &["Intel SGX TCB Signing"],
            Role::Root => return Ok(()), // the anchor itself
        };
        if !self.common_name().is_some_and(|name| names.contains(&name.as_str())) {
            return Err(VerifyError::CertificateName(self.role));
        }
        let is_authority = self.role == Role::PckAuthority;
        if self.key().is_empty() || self.is_authority() != Some(is_authority) {
            return Err(VerifyError::CertificateKind(self.role));
        }
        Ok(())
    }

    /// The common name of the subject; `None` unless there is exactly one.
    pub(crate) fn common_name(&self) -> Option<String> {
        let subject = self.certificate.tbs_certificate().subject();
        let mut names = subject.iter().filter(|attribute| attribute.oid.to_string() == COMMON_NAME);
        let (Some(name), None) = (names.next(), names.next()) else {
            return None;
        };
        let text = PrintableStringRef::try_from(&name.value).map(|s| s.as_str().to_owned());
        text.or_else(|_| Utf8StringRef::try_from(&name.value).map(|s| s.as_str().to_owned())).ok()
    }

    /// The `cA` flag of the basic constraints; `None` if they are malformed.
    fn is_authority(&self) -> Option<bool> {
        let mut extensions = self.certificate.tbs_certificate().extensions().into_iter().flatten();
        match extensions.find(|extension| extension.extn_id.to_string() == BASIC_CONSTRAINTS) {
            None => Some(false),
            Some(extension) => BasicConstraints::from_der(extension.extn_value.as_bytes()).map(|constraints| constraints.ca).ok(),
        }
    }

    /// First and last second of validity, Unix time.
    pub(crate) fn window(&self) -> (u64, u64) {
        let validity = self.certificate.tbs_certificate().validity();
        (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
    }
}
