//! Key policies, version 1, as nodes store them: a node drops unknown fields.
//!
//! Source: key-server-protocol.md, section 5; for the rest, types.rs of the vault crate (texts.rs).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::profile::AttestationProfile;
use crate::{Error, Extensions};

/// The default lifetime of a key, in seconds: 30 days.
const DEFAULT_TTL: u64 = 30 * dcap::DAY;
/// The longest lifetime of a key, in seconds: 90 days.
const MAX_TTL: u64 = 90 * dcap::DAY;

/// A key's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) version: u32,
    pub(crate) principals: Principals,
    pub(crate) operations: Vec<Rule>,
    #[serde(default)]
    pub(crate) mutability: Mutability,
    #[serde(default)]
    pub(crate) lifecycle: Lifecycle,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Principals {
    pub(crate) owner: Principal,
    #[serde(default)]
    pub(crate) managers: Vec<Principal>,
    #[serde(default)]
    pub(crate) auditors: Vec<Principal>,
    #[serde(default)]
    pub(crate) tees: Vec<Principal>,
}

/// A user or a guest that rules can name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Principal {
    Oidc {
        issuer: String,
        sub: String,
        #[serde(default)]
        required_roles: Vec<String>,
    },
    /// In the schema, but it never matches.
    Fido2 {
        rp_id: String,
        credential_id_b64: String,
    },
    Tee(AttestationProfile),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) ops: Vec<Operation>,
    pub(crate) principals: Vec<PrincipalRef>,
    #[serde(default)]
    pub(crate) requires: Vec<Value>,
}

/// The operations that a rule can grant. Other requests have fixed rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    ExportKey,
    DeleteKey,
    UpdatePolicy,
    Wrap,
    Unwrap,
    Sign,
    Mac,
    PromoteProfile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PrincipalRef {
    Owner,
    Manager(usize),
    Auditor(usize),
    Tee(usize),
    AnyTee,
}

/// The parts of a policy that may be changed separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PolicyField {
    Owner,
    Managers,
    Auditors,
    Tees,
    Operations,
    Lifecycle,
    Mutability,
    PendingProfiles,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mutability {
    #[serde(default)]
    pub(crate) owner_can: Vec<PolicyField>,
    #[serde(default)]
    pub(crate) manager_can: Vec<PolicyField>,
    #[serde(default)]
    pub(crate) immutable: Vec<PolicyField>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lifecycle {
    /// 0 means the default.
    #[serde(default)]
    pub(crate) ttl_seconds: u64,
    #[serde(default)]
    pub(crate) auto_migrate_to_next_attestation_profile: bool,
}

impl Default for Mutability {
    fn default() -> Self {
        use PolicyField::{Auditors, Lifecycle, Managers, Mutability, Operations, Owner, PendingProfiles, Tees};
        let owner_can = vec![Managers, Auditors, Tees, Operations, Lifecycle, PendingProfiles];
        Self { owner_can, manager_can: Vec::new(), immutable: vec![Owner, Mutability] }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for PolicyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Policy {
    /// Parses a policy as a node with these extensions stores it.
    pub(crate) fn read(json: Value, extensions: &Extensions) -> Result<Self, Error> {
        let mut policy: Self = serde_json::from_value(json).map_err(|error| Error::Policy(error.to_string()))?;
        policy.normalise(extensions).map(|()| policy)
    }

    /// Sets and limits the key's lifetime, and normalises every profile.
    pub(crate) fn normalise(&mut self, extensions: &Extensions) -> Result<(), Error> {
        let ttl = &mut self.lifecycle.ttl_seconds;
        *ttl = if *ttl == 0 { DEFAULT_TTL } else { (*ttl).min(MAX_TTL) };
        let who = &mut self.principals;
        let lists = [&mut who.managers, &mut who.auditors, &mut who.tees];
        for principal in lists.into_iter().flatten().chain([&mut who.owner]) {
            if let Principal::Tee(profile) = principal {
                profile.normalise(extensions)?;
            }
        }
        Ok(())
    }

    /// Whether this subject is the owner.
    pub(crate) fn is_owned_by(&self, subject: &str) -> bool {
        matches!(&self.principals.owner, Principal::Oidc { sub, .. } if sub == subject)
    }

    /// The attestation profiles of the guests, with their indices.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = (usize, &AttestationProfile)> {
        self.principals.tees.iter().enumerate().filter_map(|(index, principal)| match principal {
            Principal::Tee(profile) => Some((index, profile)),
            _ => None,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A policy of owner-1 for guests with these `Tdx` registers, and with these rules.
    pub(crate) fn policy(tdx: &Value, operations: &Value) -> Value {
        json!({
            "version": 1,
            "principals": {
                "owner": { "Oidc": { "issuer": "i", "sub": "owner-1", "required_roles": ["admin"] } },
                "managers": [], "auditors": [],
                "tees": [{ "Tee": {
                    "name": "guest", "measurements": [{ "Tdx": tdx }],
                    "attestation_servers": [{ "url": "https://as.example/verify", "pinned_spki_sha256_hex": null }],
                    "required_oids": [], "acceptable_tcb_statuses": null,
                } }],
            },
            "operations": operations,
            "mutability": { "owner_can": ["Tees", "Lifecycle"], "manager_can": [], "immutable": ["Owner"] },
            "lifecycle": { "ttl_seconds": 60, "auto_migrate_to_next_attestation_profile": false },
        })
    }

    pub(crate) fn tdx() -> Value {
        json!({ "mrtd": "aa".repeat(48), "rtmr1": "01".repeat(48), "rtmr2": "02".repeat(48) })
    }

    #[test]
    fn fields_that_a_node_does_not_know_are_dropped_silently() {
        let good = policy(&tdx(), &json!([]));
        let mut more = tdx();
        more["rtmr0"] = json!("00".repeat(48));
        more["rtmr3"] = json!("03".repeat(48));
        more["mrtd"] = json!("AA".repeat(48));
        let mut given = policy(&more, &json!([]));
        given["a field of tomorrow"] = json!(1);
        let kept = |extensions: &Extensions| serde_json::to_value(Policy::read(given.clone(), extensions).unwrap()).unwrap();
        assert_eq!(kept(&Extensions::default()), good);
        let with = kept(&Extensions { match_rtmr0_rtmr3: true, ..Extensions::default() });
        more["mrtd"] = json!("aa".repeat(48));
        assert_eq!(with, policy(&more, &json!([])));
    }

    #[test]
    fn defaults_are_those_of_the_node_and_the_life_is_capped() {
        let minimal =
            json!({ "version": 1, "principals": { "owner": { "Oidc": { "issuer": "i", "sub": "s" } } }, "operations": [] });
        let read = |ttl: Option<u64>| {
            let mut given = minimal.clone();
            if let Some(ttl) = ttl {
                given["lifecycle"] = json!({ "ttl_seconds": ttl });
            }
            Policy::read(given, &Extensions::default()).unwrap()
        };
        assert_eq!(read(None).mutability, Mutability::default());
        for (ttl, days) in [(None, 30), (Some(0), 30), (Some(86_400), 1), (Some(400 * 86_400), 90)] {
            assert_eq!(read(ttl).lifecycle.ttl_seconds, days * 86_400, "{ttl:?}");
        }
    }

    #[test]
    fn unknown_policies_are_refused() {
        type Change = fn(&mut Value);
        let snp = |policy: &mut Value| {
            policy["principals"]["tees"][0]["Tee"]["measurements"] = json!([{ "SevSnp": { "measurement": "aa".repeat(48) } }]);
        };
        let cases: [(&str, Change); 5] = [
            ("operation", |policy| policy["operations"] = json!([{ "ops": ["Burn"], "principals": ["Owner"] }])),
            ("principal", |policy| policy["operations"] = json!([{ "ops": [], "principals": ["Anybody"] }])),
            ("ttl", |policy| policy["lifecycle"]["ttl_seconds"] = json!(null)),
            ("owner", |policy| policy["principals"]["owner"] = json!(null)),
            ("SEV-SNP", snp),
        ];
        for (name, change) in cases {
            let mut given = policy(&tdx(), &json!([]));
            change(&mut given);
            assert!(Policy::read(given, &Extensions::default()).is_err(), "{name}");
        }
        let mut given = policy(&tdx(), &json!([]));
        snp(&mut given);
        Policy::read(given, &Extensions { snp_chip: Some(Vec::new()), ..Extensions::default() }).unwrap();
    }
}
