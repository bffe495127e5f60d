//! Names and lengths of the certificate chains: what dcap-qvl leaves open.
//!
//! Source: Intel PCK Certificate and CRL Profile Specification, revision 1.5, section 3 (subject names).

use dcap_qvl::quote::Quote;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};

use crate::Refusal;

/// One more certificate than any chain has: enough to see that there are too many.
const CHAIN_MAX: usize = 4;
/// `id-at-commonName`.
const COMMON_NAME: &str = "2.5.4.3";
const NAME_LEAF: &str = "Intel SGX PCK Certificate";
const NAMES_AUTHORITY: [&str; 2] = ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"];
const NAME_TCB_SIGNING: &str = "Intel SGX TCB Signing";

/// The chain in the quote is exactly leaf, platform or processor authority, root, by name and by the anchor's bytes.
pub(crate) fn check_pck_chain(quote: &Quote, anchor: &[u8]) -> Result<(), Refusal> {
    let chain = dcap_qvl::intel::extract_cert_chain(quote).map_err(|_| Refusal::Chain("PCK chain unreadable"))?;
    let [leaf, authority, root] = chain.as_slice() else {
        return Err(Refusal::Chain("PCK chain is not of three certificates"));
    };
    if root != anchor {
        return Err(Refusal::Anchor);
    }
    if common_name(leaf)? != NAME_LEAF {
        return Err(Refusal::Chain("PCK leaf has another name"));
    }
    if !NAMES_AUTHORITY.contains(&common_name(authority)?.as_str()) {
        return Err(Refusal::Chain("PCK authority has another name"));
    }
    Ok(())
}

/// A chain that signed collateral begins with the TCB signing certificate and ends in the anchor.
pub(crate) fn check_signing_chain(pem: &str, anchor: &[u8]) -> Result<(), Refusal> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).take(CHAIN_MAX).collect();
    let chain = chain.map_err(|_| Refusal::Chain("collateral chain unreadable"))?;
    let [signer, root] = chain.as_slice() else {
        return Err(Refusal::Chain("collateral chain is not of two certificates"));
    };
    if root.as_ref() != anchor {
        return Err(Refusal::Anchor);
    }
    if common_name(signer)? != NAME_TCB_SIGNING {
        return Err(Refusal::Chain("collateral signer has another name"));
    }
    Ok(())
}

/// The one common name of a certificate's subject; two of them are as bad as none.
fn common_name(der: &[u8]) -> Result<String, Refusal> {
    let refused = Refusal::Chain("certificate unreadable");
    let certificate = Certificate::from_der(der).map_err(|_| refused.clone())?;
    let mut names = certificate.tbs_certificate().subject().iter().filter(|attribute| attribute.oid.to_string() == COMMON_NAME);
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(refused);
    };
    let value = &name.value;
    let text = PrintableStringRef::try_from(value).map(|s| s.as_str().to_owned());
    text.or_else(|_| Utf8StringRef::try_from(value).map(|s| s.as_str().to_owned())).map_err(|_| refused)
}
