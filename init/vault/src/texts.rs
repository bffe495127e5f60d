//! Classification of refusals. A vault's answer contains a text and no code, so a substring of the text decides.
//!
//! Source: Enclave Vault node (enclave-os-mini, crates/enclave-os-vault/src: lib.rs, grant.rs, policy.rs), commit f19b769, 2026-08-21,
//! and texts observed from later builds (key-server-protocol.md, section 3.8). An unknown text is classified as unknown.

use crate::Refused;
#[cfg(feature = "operator")]
use crate::operator::Refusal;

/// Refusals of ExportKey.
const EXPORT: [(&str, Refused); 5] = [
    ("key not found", Refused::Absent),
    ("policy.principals", Refused::Denied), // also "caller is in policy.principals but no OperationRule grants .."
    ("no OperationRule", Refused::Denied),
    ("key has expired", Refused::Expired),
    ("not exportable", Refused::NotExportable),
];

/// Further refusals of the operator's requests.
#[cfg(feature = "operator")]
const OPERATOR: [(&str, Refusal); 22] = [
    ("handle already exists", Refusal::Exists),
    // Before "cnf" and others: this text quotes an error about the identity provider.
    ("key-creation grant verification failed", Refusal::GrantSignature),
    ("OIDC is not configured", Refusal::NoIssuer),
    ("grant issuer mismatch", Refusal::GrantIssuer),
    ("grant audience must be", Refusal::GrantAudience),
    ("key-creation grant has expired", Refusal::GrantExpired),
    ("grant cnf (holder-of-key) does not match", Refusal::GrantHolder),
    ("and the grant has no cnf", Refusal::GrantHolder),
    ("does not match grant scope app-id", Refusal::GrantHolder),
    ("requires a mutual-RA-TLS peer certificate", Refusal::GrantHolder),
    ("is outside the grant scope", Refusal::GrantScope),
    ("grant policy owner does not match", Refusal::GrantOwner),
    ("handle must not be empty", Refusal::Handle),
    ("handles starting with '__'", Refusal::Handle),
    ("OIDC authentication required", Refusal::NoBearer),
    ("is immutable", Refusal::Immutable),
    ("is not allowed to change", Refusal::Immutable),
    ("cannot stage/revoke pending profiles", Refusal::Immutable),
    ("may only be changed by the key owner", Refusal::Immutable),
    ("required_oids are append/strengthen-only", Refusal::RequiredOid),
    ("pending profile id", Refusal::NotPending),
    ("too many pending profiles", Refusal::TooManyPending),
];

pub(crate) fn of_export(text: &str) -> Refused {
    EXPORT.iter().find(|(part, _)| text.contains(part)).map_or(Refused::Unknown, |(_, kind)| *kind)
}

#[cfg(feature = "operator")]
pub(crate) fn of_operator(text: &str) -> Refusal {
    let known = OPERATOR.iter().find(|(part, _)| text.contains(part)).map(|(_, kind)| *kind);
    known.unwrap_or_else(|| Refusal::Key(of_export(text)))
}

#[cfg(all(test, feature = "operator"))]
mod tests {
    use super::*;

    /// Complete texts of the node's source.
    #[test]
    fn texts_of_the_node_are_classified() {
        let cases = [
            ("key not found", Refusal::Key(Refused::Absent)),
            (
                "caller is not in policy.principals (no OIDC subject or RA-TLS TEE matches the key's PrincipalSet)",
                Refusal::Key(Refused::Denied),
            ),
            ("caller is not in policy.principals", Refusal::Key(Refused::Denied)),
            ("caller is in policy.principals but no OperationRule grants DeleteKey", Refusal::Key(Refused::Denied)),
            (
                "no OperationRule grants UpdatePolicy to caller with all conditions met: ManagerApproval: no approval token supplied",
                Refusal::Key(Refused::Denied),
            ),
            ("key has expired", Refusal::Key(Refused::Expired)),
            ("key is not exportable", Refusal::Key(Refused::NotExportable)),
            ("handle already exists", Refusal::Exists),
            ("key-creation grant verification failed: no key for kid 'a'", Refusal::GrantSignature),
            ("grant issuer mismatch (got 'https://other')", Refusal::GrantIssuer),
            ("grant audience must be 'privasys-vault-keycreate' (got 'x')", Refusal::GrantAudience),
            ("key-creation grant has expired", Refusal::GrantExpired),
            ("grant cnf (holder-of-key) does not match the caller's RA-TLS certificate", Refusal::GrantHolder),
            ("caller RA-TLS certificate has no app-id (OID 3.6) and the grant has no cnf binding", Refusal::GrantHolder),
            ("handle 'a/b' is outside the grant scope 'c'", Refusal::GrantScope),
            ("grant policy owner does not match the grant subject", Refusal::GrantOwner),
            ("handles starting with '__' are reserved for internal use", Refusal::Handle),
            ("OIDC authentication required to list keys", Refusal::NoBearer),
            ("caller RA-TLS certificate carries no app-id and the grant has no cnf binding", Refusal::GrantHolder),
            ("policy field Owner is immutable", Refusal::Immutable),
            ("caller role Tee cannot stage/revoke pending profiles", Refusal::Immutable),
            ("caller role Auditor is not allowed to change any policy field", Refusal::Immutable),
            ("caller role Owner is not allowed to change policy field Mutability", Refusal::Immutable),
            ("PolicyField::PendingProfiles is immutable on this key", Refusal::Immutable),
            ("required OID 1.2.3 cannot be dropped: required_oids are append/strengthen-only", Refusal::RequiredOid),
            ("pending profile is missing required OID 1.2.3: required_oids are append/strengthen-only", Refusal::RequiredOid),
            ("pending profile id 7 not found", Refusal::NotPending),
            ("too many pending profiles (max 16): promote or revoke some first", Refusal::TooManyPending),
            ("kv put failed: no space", Refusal::Key(Refused::Unknown)),
            ("", Refusal::Key(Refused::Unknown)),
        ];
        for (text, want) in cases {
            assert_eq!(of_operator(text), want, "{text}");
        }
    }
}
