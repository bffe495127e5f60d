//! Errors of verification, one variant for each rule. Their messages contain no text that a peer sent, only verified or fixed-format values.

use encoding::hex;

use crate::{QuoteHeaderError, TcbShortfall, TcbStatus};

/// The place of a certificate in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The platform's own, which signs the quoting enclave's report.
    PckLeaf,
    /// The platform or processor authority, which signs the leaf.
    PckAuthority,
    /// The signer of TCB info.
    TcbInfoSigner,
    /// The signer of the quoting enclave's identity.
    QeIdentitySigner,
    /// The root.
    Root,
}

/// The issuer of a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crl {
    /// The root.
    Root,
    /// The PCK authority.
    Pck,
}

/// A signed JSON document of the collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// TCB levels of a platform.
    TcbInfo,
    /// Properties of Intel's quoting enclave.
    QeIdentity,
}

/// An object with a validity period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// A certificate.
    Certificate(Role),
    /// A revocation list.
    Crl(Crl),
    /// A document of the collateral.
    Document(Document),
    /// Any part of the collateral.
    Collateral,
}

/// The rule that a quote breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The bytes are not a quote.
    #[error("quote")]
    QuoteHeader(#[from] QuoteHeaderError),
    /// The quote is of another TEE.
    #[error("expected a quote of an SGX enclave, got one of another TEE")]
    NotSgx,
    /// The quote is of another TEE.
    #[error("expected a quote of a trust domain, got one of another TEE")]
    NotTdx,
    /// The chain ends in another root than the anchor.
    #[error("chain ends in another root than the anchor")]
    Anchor,
    /// dcap-qvl cannot use the anchor.
    #[error("anchor: not a certificate of a root CA")]
    AnchorUnusable,
    /// A chain has another number of certificates than Intel's.
    #[error("{0}: the chain has another number of certificates than Intel's")]
    ChainLength(Role),
    /// A certificate, or the PEM around it, cannot be read.
    #[error("{0}: certificate unreadable")]
    CertificateUnreadable(Role),
    /// Another subject than Intel's.
    #[error("{0}: the certificate has another subject than Intel's")]
    CertificateName(Role),
    /// Another key than ECDSA P-256, or basic constraints that do not fit the place in the chain.
    #[error("{0}: expected a P-256 key and the basic constraints of its place in the chain")]
    CertificateKind(Role),
    /// Not signed by the next in the chain.
    #[error("{0}: certificate not signed by its issuer")]
    CertificateSignature(Role),
    /// Revoked.
    #[error("{0}: certificate revoked")]
    Revoked(Role),
    /// The leaf's SGX extension is absent, repeated or malformed.
    #[error("PCK leaf: SGX extension absent, repeated or malformed")]
    PckExtension,
    /// A list cannot be read.
    #[error("{0}: unreadable")]
    CrlUnreadable(Crl),
    /// A list is of another issuer than the certificates that it must cover.
    #[error("{0}: of another issuer")]
    CrlIssuer(Crl),
    /// The signature of a list does not verify.
    #[error("{0}: signature does not verify")]
    CrlSignature(Crl),
    /// No collateral, and policy demands it.
    #[error("no collateral")]
    NoCollateral,
    /// A document is not JSON of the expected form.
    #[error("{0}: malformed")]
    DocumentMalformed(Document),
    /// A document is for another TEE, or of another version.
    #[error("{0}: for another TEE or of another version")]
    DocumentKind(Document),
    /// The signature of a document does not verify.
    #[error("{0}: signature does not verify")]
    DocumentSignature(Document),
    /// TCB info of another family-model-stepping.
    #[error("TCB info: for another FMSPC")]
    Fmspc,
    /// TCB info of another provisioning certification enclave.
    #[error("TCB info: for another PCE")]
    Pce,
    /// Not yet valid at the time of verification.
    #[error("{0}: not valid yet")]
    Future(Validity),
    /// No longer valid at the time of verification.
    #[error("{0}: expired")]
    Expired(Validity),
    /// Older than `floors.json` of the image allows.
    #[error("{0} is below the image's floor")]
    Floor(&'static str),
    /// The quoting enclave's report is not signed by the PCK leaf.
    #[error("quoting enclave: the PCK leaf did not sign its report")]
    QeSignature,
    /// The quoting enclave's report does not contain the hash of the attestation key.
    #[error("quoting enclave: report is for another attestation key")]
    QeBinding,
    /// The quoting enclave is not the one that the QE identity describes.
    #[error("quoting enclave: {0}")]
    QeIdentity(&'static str),
    /// The signature of the quote does not verify.
    #[error("quote signature does not verify")]
    QuoteSignature,
    /// The platform is below every level of the TCB info, or a level is malformed.
    #[error("platform is below every TCB level")]
    NoTcbLevel,
    /// The TDX module is not one that the TCB info describes.
    #[error("TDX module: {0}")]
    TdxModule(&'static str),
    /// A TCB status that policy does not accept.
    #[error("{0}")]
    TcbStatus(TcbShortfall),
    /// The TCB status is `Revoked`.
    #[error("TCB status Revoked is not accepted")]
    TcbRevoked,
    /// An advisory that policy denies applies to the platform.
    #[error("an advisory applies that the image's floors.json denies")]
    Advisory,
    /// A property of the platform that policy does not allow.
    #[error("platform: {0}")]
    Platform(&'static str),
    /// Another platform than policy lists.
    #[error("platform {} is not in cvm.vault.platforms (cvmctl: --platform)", hex::encode(.0))]
    PlatformId(Vec<u8>),
    /// The enclave or trust domain can be debugged.
    #[error("debug mode is on")]
    Debug,
    /// A property of an enclave that is never accepted, or that policy does not allow.
    #[error("enclave: {0}")]
    Sgx(&'static str),
    /// A property of a trust domain that is never accepted, or that policy does not allow.
    #[error("trust domain: {0}")]
    Td(&'static str),
    /// Another build than policy lists.
    #[error("mrenclave {} is not in cvm.vault.mrenclave (cvmctl: --mrenclave)", hex::encode(.0))]
    Mrenclave([u8; 32]),
    /// Policy lists no build, so that no enclave can be a node.
    #[error("policy lists no mrenclave")]
    NoMrenclave,
    /// Another value than policy expects.
    #[error("{name}: expected {}, found {}", hex::encode(&**expected), hex::encode(&**found))]
    Measurement {
        /// The name of the field.
        name: &'static str,
        /// The value of the policy.
        expected: Box<[u8; 48]>,
        /// The value of the quote.
        found: Box<[u8; 48]>,
    },
    /// The quote was made for another connection or request.
    #[error("report data differs: the quote was made for another connection or request")]
    ReportData,
    /// dcap-qvl refused the quote for a reason that this version does not know.
    #[error("dcap-qvl refused the quote for a reason that is not classified")]
    Verification,
}

impl VerifyError {
    /// A status that policy does not accept, without details.
    #[must_use]
    pub const fn status(status: TcbStatus) -> Self {
        Self::TcbStatus(TcbShortfall::bare(status))
    }

    /// Whether verification at another time could succeed.
    #[must_use]
    pub fn is_about_time(&self) -> bool {
        matches!(self, Self::Future(_) | Self::Expired(_))
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PckLeaf => "PCK leaf",
            Self::PckAuthority => "PCK authority",
            Self::TcbInfoSigner => "TCB info signer",
            Self::QeIdentitySigner => "QE identity signer",
            Self::Root => "root",
        })
    }
}

impl std::fmt::Display for Crl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Root => "root CRL",
            Self::Pck => "PCK CRL",
        })
    }
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
        })
    }
}

impl std::fmt::Display for Validity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certificate(role) => write!(f, "{role} certificate"),
            Self::Crl(crl) => crl.fmt(f),
            Self::Document(document) => document.fmt(f),
            Self::Collateral => f.write_str("collateral"),
        }
    }
}
