//! Which rule it was, when dcap-qvl refused. It can make a refusal clearer and never undo one.
//!
//! dcap-qvl says in prose what was wrong, and with certificates not whose; it is pinned to one version, so its prose is stable, and
//! the catalogue in the tests would fail on a change. Nothing of the prose leaves this module: it may quote what a peer sent.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, Encode};

use crate::chain::Link;
use crate::refusal::{Crl, Dated, Document, Role};
use crate::{Collateral, FrameError, Refusal, TcbStatus};

/// What was refused: the chains, leaf first, root last.
pub(crate) struct Refused<'a> {
    pub(crate) collateral: &'a Collateral,
    pub(crate) pck: &'a [Link],
    pub(crate) signers: [&'a [Link]; 2],
    pub(crate) now: u64,
}

impl Refused<'_> {
    /// The rule that fits `words`, dcap-qvl's own.
    pub(crate) fn because(&self, words: &str) -> Refusal {
        let by_words = WORDS.iter().find(|(part, _)| words.contains(part)).map(|(_, refusal)| refusal.clone());
        match by_words {
            Some(refusal @ (Refusal::CrlUnreadable(_) | Refusal::Verification)) => self.lists_and_chains().unwrap_or(refusal),
            Some(refusal) => refusal,
            None => self.lists_and_chains().unwrap_or(Refusal::Verification),
        }
    }

    /// Reads lists and chains once more to find the one that is wrong.
    fn lists_and_chains(&self) -> Option<Refusal> {
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

    /// The serial numbers on a list, if it is what its place calls for.
    fn list(&self, which: Crl, der: &[u8], issuer: &Link) -> Result<Vec<Vec<u8>>, Refusal> {
        let list = CertificateList::<Rfc5280>::from_der(der).map_err(|_| Refusal::CrlUnreadable(which))?;
        let fields = &list.tbs_cert_list;
        if fields.issuer != *issuer.certificate.tbs_certificate().subject() {
            return Err(Refusal::CrlIssuer(which));
        }
        if !is_signed(fields.to_der().ok(), list.signature.raw_bytes(), issuer) {
            return Err(Refusal::CrlSignature(which));
        }
        let from = fields.this_update.to_unix_duration().as_secs();
        let until = fields.next_update.map_or(0, |time| time.to_unix_duration().as_secs());
        // In the very second of its next update a list is no longer good, webpki says.
        self.window(Dated::Crl(which), (from, until.saturating_sub(1)))?;
        let revoked = fields.revoked_certificates.iter().flatten();
        Ok(revoked.map(|entry| entry.serial_number.as_bytes().to_vec()).collect())
    }

    fn chain(&self, chain: &[Link], revoked: &[(Role, Vec<Vec<u8>>)]) -> Option<Refusal> {
        for (link, issuer) in chain.iter().zip(chain.iter().skip(1)) {
            if let Err(refusal) = self.window(Dated::Certificate(link.role), link.window()) {
                return Some(refusal);
            }
            let signature = link.certificate.signature().raw_bytes();
            if !is_signed(link.certificate.tbs_certificate().to_der().ok(), signature, issuer) {
                return Some(Refusal::CertificateSignature(link.role));
            }
            let serial = link.certificate.tbs_certificate().serial_number().as_bytes();
            let listed = |(role, serials): &(Role, Vec<Vec<u8>>)| *role == issuer.role && serials.iter().any(|s| s == serial);
            if revoked.iter().any(listed) {
                return Some(Refusal::Revoked(link.role));
            }
        }
        let root = chain.last()?;
        let serial = root.certificate.tbs_certificate().serial_number().as_bytes();
        let listed = |(role, serials): &(Role, Vec<Vec<u8>>)| *role == Role::Root && serials.iter().any(|s| s == serial);
        revoked.iter().any(listed).then_some(Refusal::Revoked(Role::Root))
    }

    fn window(&self, what: Dated, (from, until): (u64, u64)) -> Result<(), Refusal> {
        if self.now < from {
            return Err(Refusal::Future(what));
        }
        if self.now > until {
            return Err(Refusal::Expired(what));
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

/// dcap-qvl 0.7.1's words, the more particular first.
const WORDS: &[(&str, Refusal)] = &[
    ("Failed to load root ca", Refusal::AnchorUnusable),
    ("Failed to parse root CA CRL", Refusal::CrlUnreadable(Crl::Root)),
    ("Failed to parse PCK CRL", Refusal::CrlUnreadable(Crl::Pck)),
    ("CRL number", Refusal::CrlUnreadable(Crl::Pck)),
    ("Failed to verify certificate chain", Refusal::Verification),
    ("Failed to decode quote", Refusal::Frame(FrameError::Short)),
    ("Failed to decode TcbInfo", Refusal::DocumentMalformed(TCB_INFO)),
    ("Failed to parse TCB Info", Refusal::DocumentMalformed(TCB_INFO)),
    ("TCBInfo issue date is in the future", Refusal::Future(Dated::Document(TCB_INFO))),
    ("TCBInfo expired", Refusal::Expired(Dated::Document(TCB_INFO))),
    ("Signature is invalid for tcb_info", Refusal::DocumentSignature(TCB_INFO)),
    ("Failed to decode QeIdentity", Refusal::DocumentMalformed(QE_IDENTITY)),
    ("Failed to parse QE Identity", Refusal::DocumentMalformed(QE_IDENTITY)),
    ("QE Identity issue date is in the future", Refusal::Future(Dated::Document(QE_IDENTITY))),
    ("QE Identity expired", Refusal::Expired(Dated::Document(QE_IDENTITY))),
    ("Signature is invalid for qe_identity", Refusal::DocumentSignature(QE_IDENTITY)),
    ("Unsupported QE Identity id/version", Refusal::DocumentKind(QE_IDENTITY)),
    ("in QE Identity", Refusal::DocumentMalformed(QE_IDENTITY)),
    ("Failed to parse PCK certificate", Refusal::CertificateUnreadable(Role::PckLeaf)),
    ("Intel extension", Refusal::PckExtension),
    ("Failed to decode DER object", Refusal::PckExtension),
    ("Failed to load", Refusal::PckExtension),
    ("length mismatch", Refusal::PckExtension),
    ("Failed to get subobject", Refusal::PckExtension),
    ("Failed to find", Refusal::PckExtension),
    ("OID is missing", Refusal::PckExtension),
    ("Signature is invalid for qe_report", Refusal::QeSignature),
    ("QE report hash mismatch", Refusal::QeBinding),
    ("QE MRSIGNER", Refusal::QeIdentity("another signer")),
    ("QE report validation failed", Refusal::QeIdentity("debug")),
    ("QE ISVPRODID", Refusal::QeIdentity("another product")),
    ("QE MISCSELECT", Refusal::QeIdentity("other MISCSELECT")),
    ("QE ATTRIBUTES", Refusal::QeIdentity("other attributes")),
    ("QE ISVSVN", Refusal::QeIdentity("below every level")),
    ("ISV enclave report signature", Refusal::QuoteSignature),
    ("Fmspc mismatch", Refusal::Fmspc),
    ("Failed to decode TCB FMSPC", Refusal::DocumentMalformed(TCB_INFO)),
    ("TCB info in the collateral", Refusal::DocumentKind(TCB_INFO)),
    ("below minimum required from TDX module", Refusal::TdxModule("below every level")),
    ("in TDX module identity", Refusal::DocumentMalformed(TCB_INFO)),
    ("TDX module MRSIGNER mismatch", Refusal::TdxModule("another signer")),
    ("SEAMATTRIBUTES", Refusal::TdxModule("other attributes")),
    ("missing tdxModule", Refusal::DocumentMalformed(TCB_INFO)),
    ("TDX module", Refusal::TdxModule("no identity of its version")),
    ("No matching TCB level found", Refusal::NoTcbLevel),
    ("in TCB Info", Refusal::DocumentMalformed(TCB_INFO)),
    ("component count mismatch", Refusal::DocumentMalformed(TCB_INFO)),
    ("tcbDate", Refusal::DocumentMalformed(TCB_INFO)),
    ("platform TCB date", Refusal::DocumentMalformed(TCB_INFO)),
    ("TCB status is invalid: Revoked", Refusal::status(TcbStatus::Revoked)),
    ("Debug mode is enabled", Refusal::Debug),
    ("TD profiling is enabled", Refusal::Domain("profiling")),
    ("Reserved bits in TD attributes", Refusal::Domain("reserved attributes")),
    ("TD migration is enabled", Refusal::Domain("migratable")),
    ("SERVTD_EXT is enabled", Refusal::Domain("bound to a service domain")),
    ("Invalid MR service TD", Refusal::Domain("bound to a service domain")),
    ("SEPT_VE_DISABLE is not enabled", Refusal::Domain("SEPT_VE_DISABLE is off")),
];
