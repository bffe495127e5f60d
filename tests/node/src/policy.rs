//! Key policies, version 1, evaluated as nodes evaluate them.

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Measurements};

/// A policy, parsed, with the JSON it came from.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What was given, answered verbatim to `GetPolicy`.
    pub json: Value,
    parsed: Parsed,
}

#[derive(Clone, Debug, Deserialize)]
struct Parsed {
    version: u32,
    principals: Principals,
    operations: Vec<Rule>,
    mutability: Mutability,
    lifecycle: Lifecycle,
}

#[derive(Clone, Debug, Deserialize)]
struct Principals {
    owner: Principal,
    managers: Vec<Principal>,
    auditors: Vec<Principal>,
    tees: Vec<Principal>,
}

#[derive(Clone, Debug, Deserialize)]
enum Principal {
    Oidc {
        issuer: String,
        sub: String,
        #[serde(default)]
        required_roles: Vec<String>,
    },
    Tee {
        measurements: Vec<Measurement>,
    },
}

/// AND inside, OR over the list. `rtmr0`, `rtmr3` and `SevSnp` are what our nodes understand beyond today's real ones.
#[derive(Clone, Debug, Deserialize)]
enum Measurement {
    Tdx { mrtd: String, rtmr1: String, rtmr2: String, rtmr0: Option<String>, rtmr3: Option<String> },
    SevSnp { measurement: String },
}

#[derive(Clone, Debug, Deserialize)]
struct Rule {
    ops: Vec<String>,
    principals: Vec<Named>,
    #[serde(default)]
    requires: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Named {
    Owner,
    AnyManager,
    AnyAuditor,
    AnyTee,
    Manager(usize),
    Auditor(usize),
    Tee(usize),
}

#[derive(Clone, Debug, Deserialize)]
struct Mutability {
    owner_can: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Lifecycle {
    ttl_seconds: Option<u64>,
}

/// Who is asking, as far as this connection proved it.
pub(crate) struct Caller<'a> {
    /// Claims of a checked bearer.
    pub(crate) oidc: Option<&'a Value>,
    /// What the guest's quote, verified on this very connection, measures.
    pub(crate) tee: Option<&'a Measurements>,
}

/// Which principals of one policy a caller is.
pub(crate) struct Roles(Vec<Named>);

/// The parts of a policy that may be changed one by one, and where they are.
const SECTIONS: [(&str, &str); 7] = [
    ("Owner", "/principals/owner"),
    ("Managers", "/principals/managers"),
    ("Auditors", "/principals/auditors"),
    ("Tees", "/principals/tees"),
    ("Operations", "/operations"),
    ("Lifecycle", "/lifecycle"),
    ("Mutability", "/mutability"),
];

impl Policy {
    /// Reads a policy.
    pub fn parse(json: Value) -> Result<Self, Error> {
        let parsed = Parsed::deserialize(&json).map_err(|error| Error::Policy(error.to_string()))?;
        if parsed.version != 1 {
            return Err(Error::Policy(format!("version {}", parsed.version)));
        }
        Ok(Self { json, parsed })
    }

    /// How long a key under this policy was asked to live, in seconds.
    #[must_use]
    pub fn ttl_seconds(&self) -> Option<u64> {
        self.parsed.lifecycle.ttl_seconds
    }

    pub(crate) fn roles(&self, caller: &Caller<'_>) -> Roles {
        let who = &self.parsed.principals;
        let mut roles = Vec::new();
        if who.owner.is(caller) {
            roles.push(Named::Owner);
        }
        let mut add = |list: &[Principal], any: Named, one: fn(usize) -> Named| {
            for (index, _) in list.iter().enumerate().filter(|(_, principal)| principal.is(caller)) {
                roles.extend([any, one(index)]);
            }
        };
        add(&who.managers, Named::AnyManager, Named::Manager);
        add(&who.auditors, Named::AnyAuditor, Named::Auditor);
        add(&who.tees, Named::AnyTee, Named::Tee);
        Roles(roles)
    }

    /// Whether a rule names one of `roles` for `operation`. Conditions are unknown here, so a rule with any permits
    /// nobody.
    pub(crate) fn permits(&self, operation: &str, roles: &Roles) -> bool {
        self.parsed.operations.iter().any(|rule| {
            rule.requires.is_empty()
                && rule.ops.iter().any(|name| name == operation)
                && rule.principals.iter().any(|named| roles.0.contains(named))
        })
    }

    /// The first section that `next` changes and its owner may not.
    pub(crate) fn forbidden_change(&self, next: &Policy) -> Option<&'static str> {
        SECTIONS
            .iter()
            .filter(|(_, place)| self.json.pointer(place) != next.json.pointer(place))
            .find(|(section, _)| !self.parsed.mutability.owner_can.iter().any(|may| may == section))
            .map(|(section, _)| *section)
    }
}

impl Roles {
    pub(crate) fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }
}

impl Principal {
    fn is(&self, caller: &Caller<'_>) -> bool {
        match self {
            Self::Oidc { issuer, sub, required_roles } => caller.oidc.is_some_and(|claims| {
                let text = |name: &str| claims.get(name).and_then(Value::as_str);
                let has = |role: &String| {
                    claims.get("roles").and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == role))
                };
                text("iss") == Some(issuer) && text("sub") == Some(sub) && required_roles.iter().all(has)
            }),
            Self::Tee { measurements } => caller.tee.is_some_and(|seen| measurements.iter().any(|wanted| wanted.matches(seen))),
        }
    }
}

impl Measurement {
    fn matches(&self, seen: &Measurements) -> bool {
        let is = |wanted: &str, seen: &[u8; 48]| wanted == hex::encode(seen);
        let may_be = |wanted: &Option<String>, seen: &[u8; 48]| wanted.as_ref().is_none_or(|wanted| is(wanted, seen));
        match (self, seen) {
            (
                Self::Tdx { mrtd, rtmr1, rtmr2, rtmr0, rtmr3 },
                Measurements::Td { mrtd: seen, rtmr: [seen0, seen1, seen2, seen3] },
            ) => is(mrtd, seen) && is(rtmr1, seen1) && is(rtmr2, seen2) && may_be(rtmr0, seen0) && may_be(rtmr3, seen3),
            (Self::SevSnp { measurement }, Measurements::Snp { measurement: seen }) => is(measurement, seen),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(tdx: &Value, operations: &Value) -> Policy {
        Policy::parse(json!({
            "version": 1,
            "principals": {
                "owner": { "Oidc": { "issuer": "i", "sub": "owner-1", "required_roles": ["admin"] } },
                "managers": [], "auditors": [],
                "tees": [{ "Tee": { "name": "guest", "measurements": [{ "Tdx": tdx }] } }],
            },
            "operations": operations,
            "mutability": { "owner_can": ["Tees"], "manager_can": [], "immutable": ["Owner"] },
            "lifecycle": { "ttl_seconds": 60 },
        }))
        .unwrap()
    }

    fn td() -> Measurements {
        Measurements::Td { mrtd: [0xaa; 48], rtmr: [[0; 48], [1; 48], [2; 48], [3; 48]] }
    }

    fn tdx(change: impl FnOnce(&mut Value)) -> Value {
        let mut tdx = json!({ "mrtd": "aa".repeat(48), "rtmr1": "01".repeat(48), "rtmr2": "02".repeat(48) });
        change(&mut tdx);
        tdx
    }

    #[test]
    fn a_td_is_its_measurements_and_no_others() {
        let cases = [
            ("as it is", tdx(|_| ()), true),
            ("other MRTD", tdx(|tdx| tdx["mrtd"] = json!("ab".repeat(48))), false),
            ("other RTMR1", tdx(|tdx| tdx["rtmr1"] = json!("00".repeat(48))), false),
            ("other RTMR2", tdx(|tdx| tdx["rtmr2"] = json!("00".repeat(48))), false),
            ("right RTMR0", tdx(|tdx| tdx["rtmr0"] = json!("00".repeat(48))), true),
            ("RTMR3 was extended", tdx(|tdx| tdx["rtmr3"] = json!("00".repeat(48))), false),
            ("upper case", tdx(|tdx| tdx["mrtd"] = json!("AA".repeat(48))), false),
        ];
        for (name, tdx, want) in cases {
            let caller = Caller { oidc: None, tee: Some(&td()) };
            assert_eq!(!policy(&tdx, &json!([])).roles(&caller).is_nobody(), want, "{name}");
        }
    }

    #[test]
    fn rules_permit_whom_they_name_for_what_they_name() {
        let rule = |principal: &Value, requires: &Value| json!([{ "ops": ["ExportKey"], "principals": [principal], "requires": requires }]);
        let cases = [
            (rule(&json!("AnyTee"), &json!([])), true),
            (rule(&json!({ "Tee": 0 }), &json!([])), true),
            (rule(&json!({ "Tee": 1 }), &json!([])), false),
            (rule(&json!("Owner"), &json!([])), false),
            (rule(&json!("AnyTee"), &json!([{ "Quorum": 2 }])), false),
        ];
        for (rules, want) in cases {
            let policy = policy(&tdx(|_| ()), &rules);
            let roles = policy.roles(&Caller { oidc: None, tee: Some(&td()) });
            assert_eq!(policy.permits("ExportKey", &roles), want, "{rules}");
            assert!(!policy.permits("DeleteKey", &roles), "{rules}");
        }
    }

    #[test]
    fn an_owner_has_the_subject_and_the_roles() {
        let policy = policy(&tdx(|_| ()), &json!([]));
        let cases = [
            (json!({ "iss": "i", "sub": "owner-1", "roles": ["admin"] }), false),
            (json!({ "iss": "i", "sub": "owner-1", "roles": [] }), true),
            (json!({ "iss": "j", "sub": "owner-1", "roles": ["admin"] }), true),
            (json!({ "iss": "i", "sub": "owner-2", "roles": ["admin"] }), true),
        ];
        for (claims, nobody) in cases {
            assert_eq!(policy.roles(&Caller { oidc: Some(&claims), tee: None }).is_nobody(), nobody, "{claims}");
        }
    }

    #[test]
    fn a_policy_of_one_kind_of_guest_is_none_of_the_other() {
        let with = |measurement: Value| {
            let mut json = policy(&tdx(|_| ()), &json!([])).json;
            json["principals"]["tees"][0]["Tee"]["measurements"] = json!([measurement]);
            Policy::parse(json).unwrap()
        };
        let snp = Measurements::Snp { measurement: [0xaa; 48] };
        let launch = |byte: &str| json!({ "SevSnp": { "measurement": byte.repeat(48) } });
        for (measurement, seen, want) in [
            (launch("aa"), &snp, true),
            (launch("ab"), &snp, false),
            (launch("aa"), &td(), false),
            (json!({ "Tdx": tdx(|_| ()) }), &snp, false),
            (json!({ "Tdx": tdx(|_| ()) }), &td(), true),
        ] {
            let caller = Caller { oidc: None, tee: Some(seen) };
            assert_eq!(!with(measurement.clone()).roles(&caller).is_nobody(), want, "{measurement} {seen:?}");
        }
    }

    #[test]
    fn owners_change_only_what_they_may() {
        let old = policy(&tdx(|_| ()), &json!([]));
        let tees = policy(&tdx(|tdx| tdx["mrtd"] = json!("ab".repeat(48))), &json!([]));
        let rules = policy(&tdx(|_| ()), &json!([{ "ops": [], "principals": [] }]));
        assert_eq!(old.forbidden_change(&tees), None);
        assert_eq!(old.forbidden_change(&rules), Some("Operations"));
    }
}
