//! Why a quote is not believed: one kind a rule, in words of our own. Nothing that a peer sent is quoted.

use crate::{QuoteHeaderError, TcbShortfall, TcbStatus};

/// Whose certificate.
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

/// Whose revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crl {
    /// The root's.
    Root,
    /// The PCK authority's.
    Pck,
}

/// A signed JSON document of the collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// TCB levels of a platform.
    TcbInfo,
    /// What the quoting enclave must be.
    QeIdentity,
}

/// What has a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// A certificate.
    Certificate(Role),
    /// A revocation list.
    Crl(Crl),
    /// A document of the collateral.
    Document(Document),
    /// Something of the collateral.
    Collateral,
}

/// Why a quote is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The bytes are not a quote.
    #[error("quote")]
    QuoteHeader(#[from] QuoteHeaderError),
    /// A quote of another kind of machine than is asked for.
    #[error("quote is not an SGX enclave's")]
    NotSgx,
    /// A quote of another kind of machine than is asked for.
    #[error("quote is not a TDX domain's")]
    NotTdx,
    /// The chain ends in another root than the anchor.
    #[error("chain ends in another root")]
    Anchor,
    /// The anchor is no certificate that can be one.
    #[error("anchor unusable")]
    AnchorUnusable,
    /// A chain has not the certificates that Intel's have, in that order.
    #[error("{0}: chain is not as long as Intel's")]
    ChainLength(Role),
    /// A certificate, or the PEM around it, cannot be read.
    #[error("{0}: certificate unreadable")]
    CertificateUnreadable(Role),
    /// Another subject than Intel's.
    #[error("{0}: another name")]
    CertificateName(Role),
    /// Another key than ECDSA P-256, or a use that its place does not have.
    #[error("{0}: certificate of another kind")]
    CertificateKind(Role),
    /// Not signed by the next in the chain.
    #[error("{0}: certificate not signed by its issuer")]
    CertificateSignature(Role),
    /// Revoked.
    #[error("{0}: certificate revoked")]
    Revoked(Role),
    /// The leaf's SGX extension is missing, twice there or malformed.
    #[error("PCK leaf: SGX extension")]
    PckExtension,
    /// A list cannot be read.
    #[error("{0}: unreadable")]
    CrlUnreadable(Crl),
    /// A list is of another issuer than its place calls for.
    #[error("{0}: of another issuer")]
    CrlIssuer(Crl),
    /// A list's signature.
    #[error("{0}: signature")]
    CrlSignature(Crl),
    /// No collateral, and policy demands it.
    #[error("no collateral")]
    NoCollateral,
    /// A document is not the JSON that it has to be.
    #[error("{0}: malformed")]
    DocumentMalformed(Document),
    /// Of another kind of machine, or in another version.
    #[error("{0}: of another kind or version")]
    DocumentKind(Document),
    /// A document's signature.
    #[error("{0}: signature")]
    DocumentSignature(Document),
    /// TCB info of another family-model-stepping.
    #[error("TCB info: for another FMSPC")]
    Fmspc,
    /// TCB info of another provisioning certification enclave.
    #[error("TCB info: for another PCE")]
    Pce,
    /// Not yet valid at the time of verification.
    #[error("{0}: from the future")]
    Future(Validity),
    /// No longer valid at the time of verification.
    #[error("{0}: expired")]
    Expired(Validity),
    /// Older than the image allows.
    #[error("{0} below the image's floor")]
    Floor(&'static str),
    /// The quoting enclave's report is not signed by the PCK leaf.
    #[error("quoting enclave: report signature")]
    QeSignature,
    /// The quoting enclave's report does not vouch for the attestation key.
    #[error("quoting enclave: report is for another attestation key")]
    QeBinding,
    /// Not the quoting enclave that the identity describes.
    #[error("quoting enclave: {0}")]
    QeIdentity(&'static str),
    /// The quote's own signature.
    #[error("quote signature")]
    QuoteSignature,
    /// The platform is below every level of the TCB info, or a level is malformed.
    #[error("platform is on no TCB level")]
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
    #[error("an advisory on the deny-list applies")]
    Advisory,
    /// A property of the platform that policy does not allow.
    #[error("platform: {0}")]
    Platform(&'static str),
    /// Another platform than policy names.
    #[error("platform is not on the list")]
    PlatformPin,
    /// The enclave or trust domain may be debugged.
    #[error("debug")]
    Debug,
    /// Attributes of an enclave.
    #[error("enclave: {0}")]
    Sgx(&'static str),
    /// Attributes of a trust domain.
    #[error("trust domain: {0}")]
    Td(&'static str),
    /// Another build than policy names.
    #[error("{0} is not on the list")]
    Measurement(&'static str),
    /// The quote is not for this connection or request.
    #[error("report data is not of this connection")]
    ReportData,
    /// dcap-qvl refused for a reason that is not classified.
    #[error("verification failed")]
    Verification,
}

impl VerifyError {
    /// A status that policy does not accept, with nothing that explains it.
    #[must_use]
    pub const fn status(status: TcbStatus) -> Self {
        Self::TcbStatus(TcbShortfall::bare(status))
    }

    /// Whether another time of verification could change the answer.
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
