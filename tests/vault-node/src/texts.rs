//! The table of refusals: the HTTP statuses of the evidence exchange and the vault's error texts, each with its source.
//!
//! Clients distinguish failures by substrings of these texts, so the node and its tests use this table. The source is
//! `key-server-protocol.md` with its section, or "vault crate" where that page has the text from the nodes' public sources
//! (enclave-os-mini, crates/enclave-os-vault, 2026-08-21).

/// A refusal with an HTTP status. Clients decide by the status; the text is for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// The HTTP status.
    pub status: u16,
    /// `error` of the JSON body.
    pub text: &'static str,
}

const fn http(status: u16, text: &'static str) -> HttpError {
    HttpError { status, text }
}

/// An unknown path, or not a POST. Source: key-server-protocol.md, section 1.3.
pub const NO_SUCH_PATH: HttpError = http(404, "not found");
/// The challenge names a leaf key that the node does not have, or replaced more than 15 minutes ago. Source:
/// key-server-protocol.md, section 2.7.
pub const UNKNOWN_LEAF: HttpError = http(404, "unknown leaf");
/// Not a JSON message of this protocol. Source: key-server-protocol.md, section 2.7.
pub const MALFORMED: HttpError = http(400, "malformed");
/// Another version than 2, or a mode that is neither `challenge` nor `present`. Source: key-server-protocol.md, section 2.7.
pub const VERSION_OR_MODE: HttpError = http(400, "version or mode");
/// `context` is missing or not 32 bytes. Source: key-server-protocol.md, section 2.7.
pub const CONTEXT: HttpError = http(400, "context is not 32 bytes");
/// The platform makes no quote now. Source: key-server-protocol.md, section 2.7.
pub const NO_QUOTE: HttpError = http(503, "quote provider unavailable");
/// The node's clock has no quorum. Source: key-server-protocol.md, section 2.7.
pub const NO_TRUSTED_TIME: HttpError = http(503, "no trusted time");
/// `quote_time` of a guest's evidence is older than 24 h 05 min, more than 5 min ahead, or no time. Source:
/// key-server-protocol.md, section 2.7.
pub const STALE: HttpError = http(400, "quote_time is stale, ahead or malformed");
/// This connection has no open challenge, or one with another context. Source: key-server-protocol.md, section 2.7.
pub const NOT_PENDING: HttpError = http(400, "no pending client_context");
/// A quote of a type that the node cannot parse. Source: key-server-protocol.md, section 2.7.
pub const NO_REPORT_DATA: HttpError = http(400, "no report_data in the quote");
/// The quote is bound to another key, context or connection: the only reason for a 403. Source: key-server-protocol.md, section
/// 2.7.
pub const REPORT_DATA: HttpError = http(403, "report_data mismatch");
/// The `Authorization` header is not a valid bearer token of this node's issuer. Source: key-server-protocol.md, section 4.3.
pub const BEARER: HttpError = http(401, "invalid bearer");

/// There is no key of this handle. Source: key-server-protocol.md, section 3.8.
pub const NOT_FOUND: &str = "key not found";
/// To ExportKey, DeleteKey, UpdatePolicy and PromotePendingProfile, when the policy does not name the caller. Source: key-server-protocol.md, section 3.8.
pub const DENIED: &str = "caller is not in policy.principals (no OIDC subject or RA-TLS TEE matches the key's PrincipalSet)";
/// The short form: to GetKeyInfo, GetPolicy, ReadAuditLog and the requests about pending profiles. Source: key-server-protocol.md, section 3.8.
pub const NOT_A_PRINCIPAL: &str = "caller is not in policy.principals";
/// To ExportKey and UpdatePolicy after the key's lifetime. Source: key-server-protocol.md, section 3.8.
pub const EXPIRED: &str = "key has expired";
/// The grant did not allow export. Source: key-server-protocol.md, section 3.8.
pub const NOT_EXPORTABLE: &str = "key is not exportable";
/// A handle is never overwritten. Source: key-server-protocol.md, section 3.8.
pub const EXISTS: &str = "handle already exists";
/// Source: key-server-protocol.md, section 3.8.
pub const GRANT_EXPIRED: &str = "key-creation grant has expired";
/// Source: key-server-protocol.md, section 3.8; the end of the sentence: vault crate.
pub const GRANT_CNF: &str = "grant cnf (holder-of-key) does not match the caller's RA-TLS certificate";
/// A grant without `cnf` is bound to the app id of the caller's certificate, which this node does not implement. Source: vault
/// crate.
pub const GRANT_UNBOUND: &str = "caller RA-TLS certificate has no app-id (OID 3.6) and the grant has no cnf binding";
/// Source: vault crate.
pub const GRANT_NO_CERTIFICATE: &str = "key creation requires a mutual-RA-TLS peer certificate";
/// Source: key-server-protocol.md, section 3.8; the end of the sentence: vault crate.
pub const GRANT_OWNER: &str = "grant policy owner does not match the grant subject";
/// Source: vault crate.
pub const NO_HANDLE: &str = "handle must not be empty";
/// Source: vault crate.
pub const RESERVED_HANDLE: &str = "handles starting with '__' are reserved for internal use";
/// Source: vault crate.
pub const NO_MATERIAL: &str = "material must not be empty";
/// To ListKeys without a bearer token. Source: vault crate.
pub const LIST_NEEDS_OIDC: &str = "OIDC authentication required to list keys";
/// Source: vault crate.
pub const PENDING_IMMUTABLE: &str = "PolicyField::PendingProfiles is immutable on this key";
/// Source: vault crate.
pub const TOO_MANY_PENDING: &str = "too many pending profiles (max 16): promote or revoke some first";

/// A principal without a rule for this operation. Source: key-server-protocol.md, section 3.8 (`no OperationRule`); vault crate.
#[must_use]
pub fn no_rule(operation: &str) -> String {
    format!("caller is in policy.principals but no OperationRule grants {operation}")
}

/// A principal with a rule whose conditions do not hold. Source: key-server-protocol.md, section 3.8 (`no OperationRule`); vault crate.
#[must_use]
pub fn unmet(operation: &str, why: &str) -> String {
    format!("no OperationRule grants {operation} to caller with all conditions met: {why}")
}

/// Signature, form or claims of a grant. Source: key-server-protocol.md, section 3.8.
#[must_use]
pub fn grant_unverified(why: &str) -> String {
    format!("key-creation grant verification failed: {why}")
}

/// Source: key-server-protocol.md, section 3.8; vault crate.
#[must_use]
pub fn grant_issuer(got: &str) -> String {
    format!("grant issuer mismatch (got '{got}')")
}

/// Source: key-server-protocol.md, section 3.8; vault crate.
#[must_use]
pub fn grant_audience(got: &str) -> String {
    format!("grant audience must be '{}' (got '{got}')", crate::GRANT_AUDIENCE)
}

/// Source: key-server-protocol.md, section 3.8; vault crate.
#[must_use]
pub fn outside_scope(handle: &str, scope: &str) -> String {
    format!("handle '{handle}' is outside the grant scope '{scope}'")
}

/// Source: key-server-protocol.md, section 3.8.
#[must_use]
pub fn immutable(field: &str) -> String {
    format!("policy field {field} is immutable")
}

/// Source: vault crate.
#[must_use]
pub fn not_allowed_to_change(role: &str, field: &str) -> String {
    match role {
        "Tee" | "Auditor" => format!("caller role {role} is not allowed to change any policy field"),
        _ => format!("caller role {role} is not allowed to change policy field {field}"),
    }
}

/// Source: vault crate.
#[must_use]
pub fn not_allowed_to_stage(role: &str) -> String {
    match role {
        "Tee" | "Auditor" => format!("caller role {role} cannot stage/revoke pending profiles"),
        _ => format!("caller role {role} is not allowed to change PendingProfiles"),
    }
}

/// To UpdatePolicy. Source: key-server-protocol.md, section 3.8; the end of the sentence: vault crate.
#[must_use]
pub fn oid_dropped(oid: &str) -> String {
    format!("required OID {oid} cannot be dropped: required_oids are append/strengthen-only")
}

/// To PromotePendingProfile. Source: vault crate.
#[must_use]
pub fn oid_missing(oid: &str) -> String {
    format!("pending profile is missing required OID {oid}: required_oids are append/strengthen-only")
}

/// To PromotePendingProfile and RevokePendingProfile. Source: key-server-protocol.md, section 3.8.
#[must_use]
pub fn no_pending(id: u32) -> String {
    format!("pending profile id {id} not found")
}
