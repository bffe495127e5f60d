//! Finds out which rule a quote broke when dcap-qvl refused it. The result only makes the error more specific; the quote stays refused.
//!
//! dcap-qvl reports errors as text, and does not say which certificate is wrong. Its version is pinned, so the texts are stable, and the
//! catalogue in the tests fails if one changes. The text itself is dropped here, since it may quote what a peer sent.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, Encode};

use crate::chain::Link;
use crate::error::{Crl, Document, Role, Validity};
use crate::{Collateral, QuoteHeaderError, VerifyError};

/// The input that dcap-qvl refused. Chains are leaf first, root last.
pub(crate) struct Refused<'a> {
    pub(crate) collateral: &'a Collateral,
    pub(crate) pck: &'a [Link],
    pub(crate) signers: [&'a [Link]; 2],
    pub(crate) now: u64,
}

impl Refused<'_> {
    /// The rule that fits `text`, dcap-qvl's error.
    pub(crate) fn because(&self, text: &str) -> VerifyError {
        let by_text = TEXTS.iter().find(|(part, _)| text.contains(part)).map(|(_, refusal)| refusal.clone());
        match by_text {
            Some(refusal @ (VerifyError::CrlUnreadable(_) | VerifyError::Verification)) => {
                self.lists_and_chains().unwrap_or(refusal)
            }
            Some(refusal) => refusal,
            None => self.lists_and_chains().unwrap_or(VerifyError::Verification),
        }
    }

    /// Checks lists and chains once more to find the one that is wrong.
    fn lists_and_chains(&self) -> Option<VerifyError> {
        let [.., authority, root] = self.pck else { return None };
        let lists = [(Crl::Root, &self.collateral.0.root_ca_crl, root), (Crl::Pck, &self.collateral.0.pck_crl, authority)];
        let mut revoked = Vec::new();
        for (which, der, issuer) in lists {
            match self.list(which, der, issuer) {
                Ok(serials) => revoked.push((issuer.role, serials)),
                Err(refusal) => return Some(refusal),
            }
        }
        let chains = std::iter::once(self.pck).chain(self.signers);
        chains.into_iter().find_map(|chain| self.chain(chain, &revoked))
    }

    /// The serial numbers on a list, if issuer, signature and validity are right.
    fn list(&self, which: Crl, der: &[u8], issuer: &Link) -> Result<Vec<Vec<u8>>, VerifyError> {
        let list = CertificateList::<Rfc5280>::from_der(der).map_err(|_| VerifyError::CrlUnreadable(which))?;
        let fields = &list.tbs_cert_list;
        if fields.issuer != *issuer.certificate.tbs_certificate().subject() {
            return Err(VerifyError::CrlIssuer(which));
        }
        if !is_signed(fields.to_der().ok(), list.signature.raw_bytes(), issuer) {
            return Err(VerifyError::CrlSignature(which));
        }
        let from = fields.this_update.to_unix_duration().as_secs();
        let until = fields.next_update.map_or(0, |time| time.to_unix_duration().as_secs());
        // For webpki a list is expired in the second of its next update.
        self.window(Validity::Crl(which), (from, until.saturating_sub(1)))?;
        let revoked = fields.revoked_certificates.iter().flatten();
        Ok(revoked.map(|entry| entry.serial_number.as_bytes().to_vec()).collect())
    }

    fn chain(&self, chain: &[Link], revoked: &[(Role, Vec<Vec<u8>>)]) -> Option<VerifyError> {
        for (link, issuer) in chain.iter().zip(chain.iter().skip(1)) {
            if let Err(refusal) = self.window(Validity::Certificate(link.role), link.window()) {
                return Some(refusal);
            }
            let signature = link.certificate.signature().raw_bytes();
            if !is_signed(link.certificate.tbs_certificate().to_der().ok(), signature, issuer) {
                return Some(VerifyError::CertificateSignature(link.role));
            }
            let serial = link.certificate.tbs_certificate().serial_number().as_bytes();
            let listed = |(role, serials): &(Role, Vec<Vec<u8>>)| *role == issuer.role && serials.iter().any(|s| s == serial);
            if revoked.iter().any(listed) {
                return Some(VerifyError::Revoked(link.role));
            }
        }
        let root = chain.last()?;
        let serial = root.certificate.tbs_certificate().serial_number().as_bytes();
        let listed = |(role, serials): &(Role, Vec<Vec<u8>>)| *role == Role::Root && serials.iter().any(|s| s == serial);
        revoked.iter().any(listed).then_some(VerifyError::Revoked(Role::Root))
    }

    fn window(&self, what: Validity, (from, until): (u64, u64)) -> Result<(), VerifyError> {
        if self.now < from {
            return Err(VerifyError::Future(what));
        }
        if self.now > until {
            return Err(VerifyError::Expired(what));
        }
        Ok(())
    }
}

fn is_signed(signed: Option<Vec<u8>>, signature: &[u8], issuer: &Link) -> bool {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, issuer.key());
    signed.is_some_and(|signed| key.verify(&signed, signature).is_ok())
}

const TCB_INFO: Document = Document::TcbInfo;
const QE_IDENTITY: Document = Document::QeIdentity;

/// Parts of dcap-qvl 0.7.1's error texts, the more specific first.
const TEXTS: &[(&str, VerifyError)] = &[
    ("Failed to load root ca", VerifyError::AnchorUnusable),
    ("Failed to parse root CA CRL", VerifyError::CrlUnreadable(Crl::Root)),
    ("Failed to parse PCK CRL", VerifyError::CrlUnreadable(Crl::Pck)),
    ("CRL number", VerifyError::CrlUnreadable(Crl::Pck)),
    ("Failed to verify certificate chain", VerifyError::Verification),
    ("Failed to decode quote", VerifyError::QuoteHeader(QuoteHeaderError::Short)),
    ("Failed to decode TcbInfo", VerifyError::DocumentMalformed(TCB_INFO)),
    ("Failed to parse TCB Info", VerifyError::DocumentMalformed(TCB_INFO)),
    ("TCBInfo issue date is in the future", VerifyError::Future(Validity::Document(TCB_INFO))),
    ("TCBInfo expired", VerifyError::Expired(Validity::Document(TCB_INFO))),
    ("Signature is invalid for tcb_info", VerifyError::DocumentSignature(TCB_INFO)),
    ("Failed to decode QeIdentity", VerifyError::DocumentMalformed(QE_IDENTITY)),
    ("Failed to parse QE Identity", VerifyError::DocumentMalformed(QE_IDENTITY)),
    ("QE Identity issue date is in the future", VerifyError::Future(Validity::Document(QE_IDENTITY))),
    ("QE Identity expired", VerifyError::Expired(Validity::Document(QE_IDENTITY))),
    ("Signature is invalid for qe_identity", VerifyError::DocumentSignature(QE_IDENTITY)),
    ("Unsupported QE Identity id/version", VerifyError::DocumentKind(QE_IDENTITY)),
    ("in QE Identity", VerifyError::DocumentMalformed(QE_IDENTITY)),
    ("Failed to parse PCK certificate", VerifyError::CertificateUnreadable(Role::PckLeaf)),
    ("Intel extension", VerifyError::PckExtension),
    ("Failed to decode DER object", VerifyError::PckExtension),
    ("Failed to load", VerifyError::PckExtension),
    ("length mismatch", VerifyError::PckExtension),
    ("Failed to get subobject", VerifyError::PckExtension),
    ("Failed to find", VerifyError::PckExtension),
    ("OID is missing", VerifyError::PckExtension),
    ("Signature is invalid for qe_report", VerifyError::QeSignature),
    ("QE report hash mismatch", VerifyError::QeBinding),
    ("QE MRSIGNER", VerifyError::QeIdentity("another signer")),
    ("QE report validation failed", VerifyError::QeIdentity("debug")),
    ("QE ISVPRODID", VerifyError::QeIdentity("another product")),
    ("QE MISCSELECT", VerifyError::QeIdentity("other MISCSELECT")),
    ("QE ATTRIBUTES", VerifyError::QeIdentity("other attributes")),
    ("QE ISVSVN", VerifyError::QeIdentity("below every level")),
    ("ISV enclave report signature", VerifyError::QuoteSignature),
    ("Fmspc mismatch", VerifyError::Fmspc),
    ("Failed to decode TCB FMSPC", VerifyError::DocumentMalformed(TCB_INFO)),
    ("TCB info in the collateral", VerifyError::DocumentKind(TCB_INFO)),
    ("below minimum required from TDX module", VerifyError::TdxModule("below every level")),
    ("in TDX module identity", VerifyError::DocumentMalformed(TCB_INFO)),
    ("TDX module MRSIGNER mismatch", VerifyError::TdxModule("another signer")),
    ("SEAMATTRIBUTES", VerifyError::TdxModule("other attributes")),
    ("missing tdxModule", VerifyError::DocumentMalformed(TCB_INFO)),
    ("TDX module", VerifyError::TdxModule("no identity of its version")),
    ("No matching TCB level found", VerifyError::NoTcbLevel),
    ("in TCB Info", VerifyError::DocumentMalformed(TCB_INFO)),
    ("component count mismatch", VerifyError::DocumentMalformed(TCB_INFO)),
    ("tcbDate", VerifyError::DocumentMalformed(TCB_INFO)),
    ("platform TCB date", VerifyError::DocumentMalformed(TCB_INFO)),
    ("TCB status is invalid: Revoked", VerifyError::TcbRevoked),
    ("Debug mode is enabled", VerifyError::Debug),
    ("TD profiling is enabled", VerifyError::Td("profiling is on")),
    ("Reserved bits in TD attributes", VerifyError::Td("reserved bits in TDATTRIBUTES")),
    ("TD migration is enabled", VerifyError::Td("migratable")),
    ("SERVTD_EXT is enabled", VerifyError::Td("bound to a service TD")),
    ("Invalid MR service TD", VerifyError::Td("bound to a service TD")),
    ("SEPT_VE_DISABLE is not enabled", VerifyError::Td("SEPT_VE_DISABLE is off")),
];
