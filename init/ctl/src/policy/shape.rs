//! The structure of a key policy as nodes parse it. A node silently drops any other field.
//!
//! Source: KeyPolicy and what it contains, enclave-os-mini, crates/enclave-os-vault/src/types.rs, commit f19b769, September 2026.

use serde_json::Value;
use vault::operator::NodeText;

/// One kind of value.
pub(super) enum Shape {
    Text,
    Count,
    Flag,
    Words(&'static [&'static str]),
    Object(&'static [Field]),
    List(&'static Shape),
    /// One of several variants, named by the only key of an object.
    Tagged(&'static [(&'static str, &'static Shape)]),
    /// A plain string, or as [`Shape::Tagged`].
    WordOrTagged(&'static [&'static str], &'static [(&'static str, &'static Shape)]),
    Nullable(&'static Shape),
}

/// A field of an object.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: &'static Shape,
    /// The node's default, in JSON. `None`: the field is required.
    pub(super) default: Option<&'static str>,
}

const fn must(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, shape, default: None }
}

const fn may(name: &'static str, shape: &'static Shape, default: &'static str) -> Field {
    Field { name, shape, default: Some(default) }
}

pub(super) const POLICY: Shape = Shape::Object(&[
    must("version", &Shape::Count),
    must("principals", &PRINCIPALS),
    must("operations", &Shape::List(&RULE)),
    may("mutability", &MUTABILITY, USUAL_MUTABILITY),
    may("lifecycle", &LIFECYCLE, r#"{"ttl_seconds":2592000,"auto_migrate_to_next_attestation_profile":false}"#),
]);

/// A profile of guests; `cvmctl profile stage` stages one.
pub(super) const PROFILE: Shape = Shape::Object(&[
    must("name", &Shape::Text),
    must("measurements", &Shape::List(&MEASUREMENT)),
    must("attestation_servers", &Shape::List(&SERVER)),
    may("required_oids", &Shape::List(&OID), "[]"),
    may("acceptable_tcb_statuses", &Shape::Nullable(&Shape::List(&Shape::Text)), "null"),
]);

const PRINCIPALS: Shape = Shape::Object(&[
    must("owner", &PRINCIPAL),
    may("managers", &Shape::List(&PRINCIPAL), "[]"),
    may("auditors", &Shape::List(&PRINCIPAL), "[]"),
    may("tees", &Shape::List(&PRINCIPAL), "[]"),
]);

const PRINCIPAL: Shape = Shape::Tagged(&[("Oidc", &OIDC), ("Fido2", &FIDO2), ("Tee", &PROFILE)]);
const OIDC: Shape = Shape::Object(&[
    must("issuer", &Shape::Text),
    must("sub", &Shape::Text),
    may("required_roles", &Shape::List(&Shape::Text), "[]"),
]);
const FIDO2: Shape = Shape::Object(&[must("rp_id", &Shape::Text), must("credential_id_b64", &Shape::Text)]);
const MEASUREMENT: Shape = Shape::Tagged(&[("Tdx", &TDX), ("Mrenclave", &Shape::Text)]);
const TDX: Shape = Shape::Object(&[must("mrtd", &Shape::Text), must("rtmr1", &Shape::Text), must("rtmr2", &Shape::Text)]);
const SERVER: Shape =
    Shape::Object(&[must("url", &Shape::Text), may("pinned_spki_sha256_hex", &Shape::Nullable(&Shape::Text), "null")]);
const OID: Shape = Shape::Object(&[must("oid", &Shape::Text), must("value", &Shape::Text)]);

const RULE: Shape = Shape::Object(&[
    must("ops", &Shape::List(&OPERATION)),
    must("principals", &Shape::List(&REFERENCE)),
    may("requires", &Shape::List(&CONDITION), "[]"),
]);
const OPERATION: Shape =
    Shape::Words(&["ExportKey", "DeleteKey", "UpdatePolicy", "Wrap", "Unwrap", "Sign", "Mac", "PromoteProfile"]);
const REFERENCE: Shape =
    Shape::WordOrTagged(&["Owner", "AnyTee"], &[("Manager", &Shape::Count), ("Auditor", &Shape::Count), ("Tee", &Shape::Count)]);
const CONDITION: Shape = Shape::Tagged(&[
    ("AttestationMatches", &PROFILE),
    ("ManagerApproval", &Shape::Object(&[must("manager", &Shape::Count), must("fresh_for_seconds", &Shape::Count)])),
    ("TimeWindow", &Shape::Object(&[may("not_before", &Shape::Count, "0"), may("not_after", &Shape::Count, "0")])),
    (
        "OidcStepUp",
        &Shape::Object(&[
            may("required_amr", &Shape::List(&Shape::Text), "[]"),
            may("operation_bound", &Shape::Flag, "false"),
            may("fresh_for_seconds", &Shape::Count, "0"),
        ]),
    ),
]);

const FIELD: Shape =
    Shape::Words(&["Owner", "Managers", "Auditors", "Tees", "Operations", "Lifecycle", "Mutability", "PendingProfiles"]);
const MUTABILITY: Shape = Shape::Object(&[
    may("owner_can", &Shape::List(&FIELD), "[]"),
    may("manager_can", &Shape::List(&FIELD), "[]"),
    may("immutable", &Shape::List(&FIELD), "[]"),
]);
const USUAL_MUTABILITY: &str = r#"{"owner_can":["Managers","Auditors","Tees","Operations","Lifecycle","PendingProfiles"],
    "manager_can":[],"immutable":["Owner","Mutability"]}"#;
const LIFECYCLE: Shape = Shape::Object(&[
    may("ttl_seconds", &Shape::Count, "0"),
    may("auto_migrate_to_next_attestation_profile", &Shape::Flag, "false"),
]);

/// A problem in a policy, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A JSON pointer (RFC 6901).
    pub place: String,
    /// The mistake, and what to do.
    pub what: String,
}

impl Problem {
    /// Field names may come from a node, where another client may have staged them, so the place is escaped.
    pub(super) fn at(place: &str, what: impl Into<String>) -> Self {
        Self { place: NodeText::new(place).to_string(), what: what.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Shape {
    /// The shape of a field, of a list's element, or of a variant.
    pub(super) fn part(&self, name: &str) -> Option<&'static Shape> {
        match self {
            Self::Object(fields) => fields.iter().find(|field| field.name == name).map(|field| field.shape),
            Self::Tagged(kinds) | Self::WordOrTagged(_, kinds) => {
                kinds.iter().find(|(tag, _)| *tag == name).map(|(_, shape)| *shape)
            }
            Self::List(shape) => Some(shape),
            Self::Nullable(shape) => shape.part(name),
            Self::Text | Self::Count | Self::Flag | Self::Words(_) => None,
        }
    }

    /// The node's default for the field `name`.
    pub(super) fn default_of(&self, name: &str) -> Option<Value> {
        let Self::Object(fields) = self else { return None };
        let default = fields.iter().find(|field| field.name == name)?.default?;
        serde_json::from_str(default).ok()
    }

    /// Adds to `problems` every place at which a node would drop or refuse a part of `value`. `matched` are the additional registers
    /// that the nodes compare.
    pub(super) fn hold(&self, value: &Value, place: &str, matched: &[String], problems: &mut Vec<Problem>) {
        let expected = match (self, value) {
            (Self::Text, Value::String(_)) | (Self::Flag, Value::Bool(_)) | (Self::Nullable(_), Value::Null) => return,
            (Self::Count, Value::Number(number)) if number.is_u64() => return,
            (Self::Nullable(shape), _) => return shape.hold(value, place, matched, problems),
            (Self::Words(words) | Self::WordOrTagged(words, _), Value::String(word)) if words.contains(&word.as_str()) => return,
            (Self::List(shape), Value::Array(parts)) => {
                for (index, part) in parts.iter().enumerate() {
                    shape.hold(part, &format!("{place}/{index}"), matched, problems);
                }
                return;
            }
            (Self::Object(fields), Value::Object(given)) => {
                return self.hold_fields(fields, given, place, matched, problems);
            }
            (Self::Tagged(_) | Self::WordOrTagged(..), Value::Object(given)) if given.len() == 1 => {
                let known = given.iter().next().and_then(|(tag, value)| Some((tag, self.part(tag)?, value)));
                if let Some((tag, shape, value)) = known {
                    return shape.hold(value, &format!("{place}/{tag}"), matched, problems);
                }
                self.expected()
            }
            _ => self.expected(),
        };
        problems.push(Problem::at(place, format!("expected {expected}")));
    }

    fn hold_fields(
        &self,
        fields: &[Field],
        given: &serde_json::Map<String, Value>,
        place: &str,
        matched: &[String],
        problems: &mut Vec<Problem>,
    ) {
        for field in fields.iter().filter(|field| field.default.is_none() && !given.contains_key(field.name)) {
            problems.push(Problem::at(&format!("{place}/{}", field.name), "missing: nodes refuse a policy without it"));
        }
        for (name, value) in given {
            let place = format!("{place}/{name}");
            let is_register = place.ends_with(&format!("/Tdx/{name}"));
            match self.part(name) {
                Some(shape) => shape.hold(value, &place, matched, problems),
                None if is_register && matched.contains(name) => Self::Text.hold(value, &place, matched, problems),
                None if is_register && ["rtmr0", "rtmr3"].contains(&name.as_str()) => problems.push(Problem::at(
                    &place,
                    format!("nodes silently drop this register, and then accept any value: remove it, or give --nodes-match {name} if your nodes compare it"),
                )),
                None => problems.push(Problem::at(&place, "nodes silently drop this field: remove it")),
            }
        }
    }

    fn expected(&self) -> String {
        let tags = |kinds: &[(&str, &Shape)]| {
            let tags: Vec<_> = kinds.iter().map(|(tag, _)| format!("{{\"{tag}\":..}}")).collect();
            tags.join(" or ")
        };
        match self {
            Self::Text => "a text".to_owned(),
            Self::Count => "a number that is not negative".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Words(words) => format!("one of {}", words.join(", ")),
            Self::Object(_) => "an object".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Tagged(kinds) => tags(kinds),
            Self::WordOrTagged(words, kinds) => format!("{} or {}", words.join(", "), tags(kinds)),
            Self::Nullable(shape) => format!("null or {}", shape.expected()),
        }
    }
}
